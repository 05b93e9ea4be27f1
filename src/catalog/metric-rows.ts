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

export function metricRecordOf(row: MetricRow): MetricRecord {
  const { saeId, metric, version, source, value, low, high, flags, datasetId, datasetHash, n, seed, dtype, backend, codeVersion } = row
  return {
    ...{ saeId, metric, version, source, value, flags, n, seed, dtype, backend, codeVersion },
    ...(low !== null && { low }),
    ...(high !== null && { high }),
    dataset: datasetId === null ? null : { id: datasetId, hash: datasetHash },
    measuredAt: row.measuredAt,
  }
}

/** Of several SAEs, each in the order of `MetricCatalog.list`: hundreds of values, which one value of JSON brings sooner than rows. */
export async function metricsOfSaes(
  prisma: PrismaClient,
  saeIds: readonly string[],
): Promise<ReadonlyMap<string, readonly MetricRecord[]>> {
  const [row] = await prisma.$queryRaw<[{ found: StoredMetric[] | null }]>`
    select json_agg(json_build_object(
      'saeId', sae_id, 'metric', metric, 'version', version, 'source', source, 'value', value, 'low', low, 'high', high, 'flags', flags,
      'datasetId', dataset_id, 'datasetHash', dataset_hash, 'n', n, 'seed', seed, 'dtype', dtype, 'backend', backend,
      'codeVersion', code_version, 'measuredAt', measured_at
    ) order by metric, source, measured_at desc, circumstances) as found
    from metric_values where sae_id = any(${[...saeIds]}::text[])`
  const found = new Map<string, MetricRecord[]>(saeIds.map((id) => [id, []]))
  for (const { measuredAt, ...stored } of row.found ?? []) {
    const record = metricRecordOf({ ...stored, measuredAt: measuredAt === null ? null : new Date(measuredAt) })
    found.get(stored.saeId)!.push(record)
  }
  return found
}

type StoredMetric = Omit<MetricRow, 'measuredAt'> & { readonly measuredAt: string | null }
