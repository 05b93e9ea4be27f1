/** Every analysis, by the name that the host knows it by. */

import type { Analysis } from './analysis.js'
import { attentionRollout } from './attention/attention-rollout.js'
import { headContributions } from './attention/head-contributions.js'
import { headSums } from './attention/head-sums.js'
import { directLogitAttribution } from './attribution/direct-logit-attribution.js'
import { featureAttribution } from './attribution/feature-attribution/feature-attribution.js'
import { correlateFeatures } from './compare/correlate-features.js'
import { matchDecoders } from './compare/match-decoders.js'
import { pooledFeatures } from './compare/pooled-features.js'
import { separateFeatures } from './compare/separate-features.js'
import { logitLens } from './lens/logit-lens.js'
import { patching } from './patching/patching.js'
import { pathPatching } from './patching/path-patching.js'
import { steer } from './steering/steer.js'
import { sweep } from './steering/sweep.js'
import { decoderGeometry } from './weights/decoder-geometry.js'
import { featuresToHeads } from './weights/features-to-heads.js'
import { headComposition } from './weights/head-composition.js'
import { streamDirections } from './weights/stream-directions.js'
import { virtualWeights } from './weights/virtual-weights.js'
import { weightCircuits } from './weights/weight-circuits.js'

export const analyses = {
  directLogitAttribution,
  featureAttribution,
  attentionRollout,
  headContributions,
  headSums,
  logitLens,
  patching,
  pathPatching,
  sweep,
  correlateFeatures,
  decoderGeometry,
  featuresToHeads,
  headComposition,
  matchDecoders,
  pooledFeatures,
  separateFeatures,
  virtualWeights,
  weightCircuits,
  steer,
  streamDirections,
} as const satisfies Record<string, Analysis<never, unknown>>

export type AnalysisName = keyof typeof analyses
export type AnalysisInput<Name extends AnalysisName> = (typeof analyses)[Name] extends Analysis<infer Input, unknown> ? Input : never
export type AnalysisOutput<Name extends AnalysisName> = (typeof analyses)[Name] extends Analysis<never, infer Output> ? Output : never
