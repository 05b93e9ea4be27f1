/** Every analysis, by the name that the host knows it by. */

import type { Analysis } from './analysis.js'
import { directLogitAttribution } from './direct-logit-attribution.js'
import { logitLens } from './logit-lens.js'

export const analyses = {
  directLogitAttribution,
  logitLens,
} as const satisfies Record<string, Analysis<never, unknown>>

export type AnalysisName = keyof typeof analyses
export type AnalysisInput<Name extends AnalysisName> = (typeof analyses)[Name] extends Analysis<infer Input, unknown> ? Input : never
export type AnalysisOutput<Name extends AnalysisName> = (typeof analyses)[Name] extends Analysis<never, infer Output> ? Output : never
