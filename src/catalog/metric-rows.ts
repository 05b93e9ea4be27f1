/**
 * A metric's value as a row of `metric_values`, and back.
 */

import { createHash } from 'node:crypto'
import type { MetricValue, Prisma, PrismaClient } from '../generated/prisma/client.js'
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

type MetricRow = Omit<MetricValue, 'circumstances'>

/** Written out: a list of SAEs makes hundreds, and each spread object is garbage. */
export function metricRecordOf(row: MetricRow): MetricRecord {
  const { saeId, metric, version, source, value, low, high, flags, datasetId, datasetHash, n, seed, dtype, backend, codeVersion } = row
  return {
    saeId,
    metric,
    version,
    source,
    value,
    flags,
    n,
    seed,
    dtype,
    backend,
    codeVersion,
    ...(low !== null && { low }),
    ...(high !== null && { high }),
    dataset: datasetId === null ? null : { id: datasetId, hash: datasetHash },
    measuredAt: row.measuredAt,
  }
}

/** Of several SAEs, each in the order of `MetricCatalog.list`: hundreds of rows, for which Prisma's own way takes twice as long. */
export async function metricsOfSaes(
  prisma: PrismaClient,
  saeIds: readonly string[],
): Promise<ReadonlyMap<string, readonly MetricRecord[]>> {
  const rows = await prisma.$queryRaw<MetricRow[]>`
    select sae_id as "saeId", metric, version, source, value, low, high, flags, dataset_id as "datasetId", dataset_hash as "datasetHash",
      n, seed, dtype, backend, code_version as "codeVersion", measured_at as "measuredAt"
    from metric_values where sae_id = any(${[...saeIds]}::text[])
    order by metric, source, measured_at desc, circumstances`
  const found = new Map<string, MetricRecord[]>(saeIds.map((id) => [id, []]))
  for (const row of rows) found.get(row.saeId)!.push(metricRecordOf(row))
  return found
}
