/** Every analysis, by the name that the host knows it by. */

import type { Analysis } from './analysis.js'
import { attentionRollout } from './attention-rollout.js'
import { directLogitAttribution } from './direct-logit-attribution.js'
import { headContributions } from './head-contributions.js'
import { headSums } from './head-sums.js'
import { logitLens } from './logit-lens.js'

export const analyses = {
  directLogitAttribution,
  attentionRollout,
  headContributions,
  headSums,
  logitLens,
} as const satisfies Record<string, Analysis<never, unknown>>

export type AnalysisName = keyof typeof analyses
export type AnalysisInput<Name extends AnalysisName> = (typeof analyses)[Name] extends Analysis<infer Input, unknown> ? Input : never
export type AnalysisOutput<Name extends AnalysisName> = (typeof analyses)[Name] extends Analysis<never, infer Output> ? Output : never
