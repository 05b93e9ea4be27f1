/** Every analysis, by the name that the host knows it by. */

import type { Analysis } from './analysis.js'
import { attentionRollout } from './attention-rollout.js'
import { correlateFeatures } from './correlate-features.js'
import { decoderGeometry } from './decoder-geometry.js'
import { directLogitAttribution } from './direct-logit-attribution.js'
import { featureAttribution } from './feature-attribution/feature-attribution.js'
import { featuresToHeads } from './features-to-heads.js'
import { headComposition } from './head-composition.js'
import { headContributions } from './head-contributions.js'
import { headSums } from './head-sums.js'
import { logitLens } from './logit-lens.js'
import { matchDecoders } from './match-decoders.js'
import { patching } from './patching.js'
import { pathPatching } from './path-patching.js'
import { pooledFeatures } from './pooled-features.js'
import { separateFeatures } from './separate-features.js'
import { steer } from './steer.js'
import { streamDirections } from './stream-directions.js'
import { sweep } from './sweep.js'
import { virtualWeights } from './virtual-weights.js'
import { weightCircuits } from './weight-circuits.js'

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
