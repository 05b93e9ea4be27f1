/**
 * Features as rows: what is looked at one by one, with what is said of it.
 */

import { type FeatureStatistic, type FeatureStatistics, featureStatistics } from '../engine/evaluation/feature-record.js'
import { Prisma, type PrismaClient } from '../generated/prisma/client.js'
import type { Explanation } from './explanations.js'
import { readFeature, readSummary, summaryOf } from './feature-codec.js'
import type { FeatureSetRecord, FeatureSummary, StoredFeature } from './feature-sets.js'

/** In the order of `indices`. One statement. */
export async function featuresAt(prisma: PrismaClient, set: FeatureSetRecord, indices: readonly number[]): Promise<StoredFeature[]> {
  const rows = await rowsAt(prisma, set, { indices, data: Prisma.sql`f.data` })
  return rows.map(({ index, data: bytes, explanations }) => {
    const { statistics, examples, data } = readFeature(bytes)
    return { index, statistics: statisticsOf(set, statistics), examples, data, explanations }
  })
}

/** In the order of `indices`. One statement, which reads the beginning of each row. */
export async function summariesAt(
  prisma: PrismaClient,
  set: FeatureSetRecord,
  { indices, nExamples }: { readonly indices: readonly number[]; readonly nExamples: number },
): Promise<FeatureSummary[]> {
  const rows = await rowsAt(prisma, set, { indices, data: summaryOf(Prisma.sql`f.data`, set.statistics.length) })
  return rows.map(({ index, data, explanations }) => {
    const { statistics, examples } = readSummary(data, nExamples)
    return { index, statistics: statisticsOf(set, statistics), examples, explanations }
  })
}

interface FeatureRow {
  readonly index: number
  readonly data: Uint8Array
  readonly explanations: readonly Explanation[]
}

async function rowsAt(
  prisma: PrismaClient,
  set: FeatureSetRecord,
  { indices, data }: { readonly indices: readonly number[]; readonly data: Prisma.Sql },
): Promise<FeatureRow[]> {
  if (indices.length === 0) return []
  const rows = await prisma.$queryRaw<{ index: number; data: Uint8Array; explanations: StoredExplanation[] | null }[]>`
    select
      f.index,
      ${data} as data,
      (
        select json_agg(json_build_object(
          'id', e.id, 'text', e.text, 'author', e.author, 'method', e.method, 'score', e.score, 'createdAt', e.created_at
        ) order by e.created_at, e.id)
        from explanations e where e.sae_id = ${set.saeId} and e.index = f.index
      ) as explanations
    from features f
    where f.set_id = ${set.id} and f.index = any(${[...indices]}::int[])`
  const found = new Map(rows.map((row) => [row.index, row]))
  return indices.flatMap((index) => {
    const row = found.get(index)
    if (!row) return []
    const explanations = (row.explanations ?? []).map((each) => ({ ...each, saeId: set.saeId, index, createdAt: new Date(each.createdAt) }))
    return [{ index, data: row.data, explanations }]
  })
}

type StoredExplanation = Omit<Explanation, 'createdAt' | 'saeId' | 'index'> & { readonly createdAt: string }

function statisticsOf({ statistics: measured }: FeatureSetRecord, values: readonly number[]): FeatureStatistics {
  const statistics = {} as Record<FeatureStatistic, number | null>
  for (const name of featureStatistics) statistics[name] = null
  for (const [at, name] of measured.entries()) if (Number.isFinite(values[at])) statistics[name] = values[at]!
  return statistics
}
