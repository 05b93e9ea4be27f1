/**
 * How much one request may ask for. Each limit has a name, which a refusal shows together with the value; `capabilities` lists them all.
 */

import type { Config } from '../config.js'

/** What no setting changes. */
export const fixedLimits = {
  /** Characters of one text. */
  textCharacters: 10_000,
  /** Patterns in `read`. */
  readPatterns: 256,
  /** Bytes of activations that one run may read, before `positions` and `heads` select. */
  readBytes: 512 * 2 ** 20,
  edits: 64,
  /** Pictures of all differences that the edits of a request name. */
  differenceImages: 512,
  /** Inputs times random directions that steering is compared with. */
  controls: 1_024,
  /** SAEs that read one run. */
  saes: 16,
  /** Pictures that one search may have to embed. */
  searchPictures: 4_096,
  /** Activations of features that one request may be answered. */
  featureActivations: 4_000_000,
  sweepDirections: 64,
  sweepStrengths: 1_001,
  /** Choices of positions. */
  sweepPositions: 1_024,
  /** Random directions for each direction of a sweep. */
  sweepControls: 256,
  /** What a sweep may take when it is answered at once. */
  sweepSeconds: 60,
  /** What a sweep may take as a job, by one worker: a week. */
  sweepJobSeconds: 604_800,
  /** Scores that a sweep holds in memory: points times targets. */
  sweepScores: 10_000_000,
  /** Points of its curves: directions times choices of positions, strengths and targets. */
  sweepCurvePoints: 200_000,
  /** Logits that a lens computes for one picture: hook points times tokens times labels. */
  lensLogits: 2 ** 26,
  /** Pictures of a data set whose facets are read for one request. */
  facetItems: 100_000,
  /** Pictures of a data set that heads are looked at over. */
  headPictures: 512,
  /** Weights of attention that one request holds: heads times positions squared. */
  attentionWeights: 2 ** 27,
  /** Pixels of all heatmaps of one picture together. */
  sheetPixels: 2 ** 25,
  /** Runs of one request of patching: cells times pairs times draws, and of gradients their steps. */
  patchedRuns: 20_000,
  /** Features of an SAE that one request patches. */
  patchedFeatures: 512,
  /** Pictures of one request of feature attribution: each takes dozens of runs. */
  attributedInputs: 32,
  /** Senders, and receivers, of paths. */
  pathEnds: 512,
  labels: 2_000,
  /** What one request may ask of the answer: classes, texts, differences. */
  targets: 32,
  templates: 100,
  /** Labels times templates: texts that one zero-shot classification encodes. */
  prompts: 20_000,
  /** Numbers in one JSON answer over REST; as base64 or in a binary form there is no such limit. */
  jsonNumbers: 2_000_000,
  /** Numbers in one answer over GraphQL, written as JSON; as base64 there is no such limit. */
  graphqlNumbers: 100_000,
  /** Images of one set of a comparison. */
  comparedImages: 512,
  /** Features that are active in the images of a comparison: 400 MB of them. */
  comparedActivations: 32_000_000,
  /** Cosines, or virtual weights, between features of SAEs: two wide ones against each other, twice over. */
  decoderCosines: 5_000_000_000,
  /** Features whose virtual weights are asked for by name. */
  virtualFeatures: 256,
  /** Heads whose circuits one request may ask for. */
  circuits: 512,
  /** Items on one page of a list. */
  pageSize: 100,
  /** Files in the zip file of a data set. */
  datasetFiles: 50_000,
  /** Lines of a job's log in one answer. */
  logLines: 1000,
  /** Pixels of a thumbnail's longer side. */
  thumbnailPixels: 1024,
  /** Pixels of the longer side of a picture that is drawn. */
  picturePixels: 2048,
  /** Rows, and columns, of a heatmap of the caller's own numbers. */
  heatmapSide: 128,
  /** Characters of a GraphQL document; values belong into variables. */
  graphqlCharacters: 65_536,
  graphqlDepth: 16,
  graphqlComplexity: 2_000,
} as const

export type LimitName =
  | keyof typeof fixedLimits
  | 'bodyBytes'
  | 'datasetBytes'
  | 'imagePixels'
  | 'inputs'
  | 'queueLength'
  | 'requestsPerMinute'

/** Every limit of a server with this configuration. */
export function limitsOf(config: Config): Readonly<Record<LimitName, number>> {
  return {
    bodyBytes: config.maxBodyBytes,
    datasetBytes: config.maxDatasetBytes,
    imagePixels: config.maxImagePixels,
    inputs: config.maxInputsPerRequest,
    queueLength: config.queueLimit,
    requestsPerMinute: config.rateLimitPerMinute,
    ...fixedLimits,
  }
}
