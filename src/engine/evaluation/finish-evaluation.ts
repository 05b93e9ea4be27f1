/**
 * From the sums of batches to values of metrics. A metric is a function of sums over batches; its interval is the jackknife's: the function is
 * evaluated without each batch in turn (Tukey 1958), with Student's t for as many batches.
 */

import type { EvaluatedSae, EvaluationShard, Sums } from './evaluation-shard.js'
import { type MetricFlag, type MetricValue, metricDefinitions } from './metric-definitions.js'
import { type Computed, metricFormulas, type Totals } from './metric-formulas.js'
import { type ScatterName, scatters } from './pooled-scatter.js'
import { studentT } from './student-t.js'

/** Below this many batches an interval says so. */
const FEW_BATCHES = 10

/**
 * Values of all metrics that were measured, by SAE, in the order of the definitions.
 * Empty for a shard without batches.
 */
export function finishEvaluation(shard: EvaluationShard): Readonly<Record<string, readonly MetricValue[]>> {
  const order = [...shard.batches.keys()].sort((a, b) => a - b)
  return Object.fromEntries(shard.saes.map((sae) => [sae.id, order.length === 0 ? [] : valuesOf(shard, sae, order)]))
}

function valuesOf(shard: EvaluationShard, sae: EvaluatedSae, order: readonly number[]): MetricValue[] {
  const rows = order.map((batch) => shard.batches.get(batch)!)
  const sums = rows.map((row) => ({ ...prefixed('clean', row.clean), ...row.sums[sae.id]!, images: row.nImages }))
  const total = addUp(sums)
  const { whole, without } = scatters(rows.map(({ clusters }) => clusters[sae.target]!))
  const fired = shard.fired[sae.id]!.reduce((count, is) => count + is, 0)
  const totalsOf = (of: Sums, scatter: Readonly<Partial<Record<ScatterName, number>>>): Totals => ({
    sums: of,
    scatter,
    fired,
    dSae: sae.dSae,
  })
  const full = totalsOf(total, whole)
  const rest = rows.length < 2 ? [] : sums.map((row, at) => totalsOf(subtract(total, row), without[at]!))
  return metricDefinitions.flatMap((definition): MetricValue[] => {
    const formula = metricFormulas[definition.id]!
    const computed = formula(full)
    if (!computed) return []
    const flags = flagsOf(computed)
    const isOfTexts = definition.family === 'prisma-compat' && definition.needs.includes('class-scores')
    if (isOfTexts && shard.prismaScores === 'other-texts') flags.push('other-prompts')
    const value = Number.isFinite(computed.value) ? computed.value : null
    const interval =
      value === null || computed.isMaximum
        ? undefined
        : jackknife(
            value,
            rest.map((totals) => formula(totals)!.value),
          )
    if (!computed.isMaximum && value !== null && rows.length < FEW_BATCHES) flags.push('few-batches')
    return [{ metric: definition.id, version: definition.version, value, ...interval, flags, n: total.images! }]
  })
}

function flagsOf({ value, denominator, least = 0 }: Computed): MetricFlag[] {
  if (denominator !== undefined && denominator === 0) return ['not-defined']
  if (!Number.isFinite(value)) return ['not-finite']
  return denominator !== undefined && Math.abs(denominator) < least ? ['ill-conditioned'] : []
}

/** @param without  the statistic without each batch in turn */
function jackknife(value: number, without: readonly number[]): { low: number; high: number } | undefined {
  const n = without.length
  if (n < 2 || !without.every(Number.isFinite)) return undefined
  const mean = without.reduce((sum, each) => sum + each, 0) / n
  const variance = (without.reduce((sum, each) => sum + (each - mean) ** 2, 0) * (n - 1)) / n
  const half = studentT(n - 1) * Math.sqrt(variance)
  return { low: value - half, high: value + half }
}

function addUp(rows: readonly Sums[]): Record<string, number> {
  const total: Record<string, number> = {}
  for (const row of rows) for (const [name, value] of Object.entries(row)) total[name] = (total[name] ?? 0) + value
  return total
}

const subtract = (total: Sums, row: Sums): Sums =>
  Object.fromEntries(Object.entries(total).map(([name, value]) => [name, value - row[name]!]))

const prefixed = (prefix: string, sums: Sums): Sums =>
  Object.fromEntries(Object.entries(sums).map(([name, value]) => [`${prefix}.${name}`, value]))
