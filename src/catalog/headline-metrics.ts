/**
 * The numbers by which SAEs are filtered and sorted. Several metrics measure the same thing under different definitions, and several
 * values of one metric are of different pictures; a list must compare like with like, so a rule picks the value that stands for each:
 * the first metric that has one; of its values the published one, else the one over most pictures, else the newest.
 *
 * The definitions of ViT-Prisma's table come first because most entries have them.
 */

import type { MetricValueRecord } from './metric-values.js'

/**
 * Headline -> metrics, best first, and what makes of a value of each the headline's unit: percent, and latents. L0 is at the positions that
 * an SAE was trained on, as far as it was measured there.
 */
export const headlineMetrics = {
  explainedVariance: [
    ['prisma/explained-variance', 1],
    ['explained-variance', 100],
  ],
  l0: [
    ['prisma/l0', 1],
    ['prisma/cls-l0', 1],
    ['l0', 1],
  ],
  ceRecovered: [
    ['prisma/ce-recovered', 1],
    ['ce-recovered', 100],
  ],
  aliveFeatures: [
    ['prisma/alive-features', 1],
    ['alive-share', 100],
  ],
} as const satisfies Record<string, readonly (readonly [metric: string, factor: number])[]>

export type Headline = keyof typeof headlineMetrics
export const headlines = Object.keys(headlineMetrics) as readonly Headline[]

export interface HeadlineValue<Value extends MetricValueRecord = MetricValueRecord> {
  /** Percent, or latents. */
  readonly value: number
  /** Where it is from. */
  readonly of: Value
}

/** The value that stands for a headline; undefined where there is none. */
export function headlineValue<Value extends MetricValueRecord>(
  headline: Headline,
  values: readonly Value[],
): HeadlineValue<Value> | undefined {
  for (const [metric, factor] of headlineMetrics[headline]) {
    const candidates = values.filter((value) => value.metric === metric && value.value !== null)
    const [best] = candidates.sort(byStanding)
    if (best) return { value: best.value! * factor, of: best }
  }
  return undefined
}

function byStanding(a: MetricValueRecord, b: MetricValueRecord): number {
  if (a.source !== b.source) return a.source === 'published' ? -1 : 1
  const newest = (b.measuredAt?.getTime() ?? 0) - (a.measuredAt?.getTime() ?? 0)
  return (b.n ?? 0) - (a.n ?? 0) || newest || b.version - a.version
}
