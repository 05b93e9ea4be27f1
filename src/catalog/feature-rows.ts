/**
 * Features as rows: what is looked at one by one, with what is said of it.
 */

import { type FeatureStatistics, tokenKinds } from '../engine/evaluation/feature-record.js'
import { Prisma, type PrismaClient } from '../generated/prisma/client.js'
import type { Explanation } from './explanations.js'
import { picturesEnd, readFeature } from './feature-codec.js'
import type { FeatureSetRecord, StoredFeature } from './feature-sets.js'

/** In the order of `indices`. One statement. */
export async function featuresAt(
  prisma: PrismaClient,
  set: FeatureSetRecord,
  { indices, withAllData }: { readonly indices: readonly number[]; readonly withAllData: boolean },
): Promise<StoredFeature[]> {
  if (indices.length === 0) return []
  const { statistics, about } = set
  const end = picturesEnd({ nStatistics: statistics.length, topLength: about.topLength * tokenKinds.length })
  const rows = await prisma.$queryRaw<{ index: number; data: Uint8Array; explanations: StoredExplanation[] | null }[]>`
    select
      f.index,
      ${withAllData ? Prisma.sql`f.data` : Prisma.sql`substring(f.data from 1 for ${end}::int)`} as data,
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
    const stored = readFeature(row.data)
    const explanations = (row.explanations ?? []).map((each) => ({ ...each, saeId: set.saeId, index, createdAt: new Date(each.createdAt) }))
    return [{ index, statistics: statisticsOf(set, stored.statistics), data: stored.data, explanations }]
  })
}

type StoredExplanation = Omit<Explanation, 'createdAt' | 'saeId' | 'index'> & { readonly createdAt: string }

function statisticsOf({ statistics }: FeatureSetRecord, values: readonly number[]): Partial<FeatureStatistics> {
  return Object.fromEntries(statistics.map((name, at) => [name, Number.isFinite(values[at]) ? values[at]! : null]))
}
