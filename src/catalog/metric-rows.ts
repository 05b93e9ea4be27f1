/**
 * A metric's value as a row of `metric_values`, and back.
 */

import { createHash } from 'node:crypto'
import type { MetricValue, Prisma } from '../generated/prisma/client.js'
import { headlines, headlineValue } from './headline-metrics.js'
import type { MetricRecord, MetricValueRecord } from './metric-values.js'

/** The columns that SAEs are filtered and sorted by. */
export function headlinesOf(values: readonly MetricValueRecord[]) {
  const entries = headlines.map((headline) => [headline, headlineValue(headline, values)?.value ?? null] as const)
  return Object.fromEntries(entries) as Record<(typeof headlines)[number], number | null>
}

export function rowOfMetric(saeId: string, given: MetricValueRecord): Prisma.MetricValueCreateManyInput {
  const { metric, version, source, value, low, high, flags, dataset, n, seed, dtype, backend, codeVersion, measuredAt } = given
  const circumstances = [version, source, dataset?.id ?? null, dataset?.hash ?? null, n, seed, dtype, backend, codeVersion]
  return {
    ...{ saeId, metric, version, source, n, seed, dtype, backend, codeVersion, measuredAt },
    circumstances: createHash('sha256').update(JSON.stringify(circumstances)).digest('hex'),
    value,
    low: low ?? null,
    high: high ?? null,
    flags: [...flags],
    datasetId: dataset?.id ?? null,
    datasetHash: dataset?.hash ?? null,
  }
}

export function metricRecordOf(row: MetricValue): MetricRecord {
  const { saeId, metric, version, source, value, low, high, flags, datasetId, datasetHash, n, seed, dtype, backend, codeVersion } = row
  return {
    ...{ saeId, metric, version, source, value, flags, n, seed, dtype, backend, codeVersion },
    ...(low !== null && { low }),
    ...(high !== null && { high }),
    dataset: datasetId === null ? null : { id: datasetId, hash: datasetHash },
    measuredAt: row.measuredAt,
  }
}
