/**
 * Features in Postgres. A page is found in the columns of statistics and their orders, and only its rows are read.
 */

import { EngineError } from '../engine/errors.js'
import { nearest } from '../engine/nearest.js'
import type { PrismaClient } from '../generated/prisma/client.js'
import { decodeCursor, pageOf } from './cursors.js'
import { matchingExplanations } from './explanations.js'
import { FeatureColumns } from './feature-columns.js'
import { copyFeatures } from './feature-copy.js'
import { countOf, pageOfFeatures, type RankedFeature, within } from './feature-order.js'
import { featuresAt, summariesAt } from './feature-rows.js'
import { featureSetRecordOf } from './feature-set-rows.js'
import type { FeatureCatalog, FeatureListRequest, FeatureSetRecord, FeatureSummary } from './feature-sets.js'
import type { Page } from './page.js'
import { RecentAnswers } from './recent-answers.js'

/** The sets of an SAE, newest first, believed for a moment. */
export type RecentFeatureSets = RecentAnswers<readonly FeatureSetRecord[]>

export function recentFeatureSets(prisma: PrismaClient): RecentFeatureSets {
  return new RecentAnswers<readonly FeatureSetRecord[]>(async (saeId) => {
    const rows = await prisma.featureSet.findMany({ where: { saeId }, orderBy: [{ measuredAt: 'desc' }, { id: 'desc' }] })
    return rows.map(featureSetRecordOf)
  })
}

interface FoundFeatures {
  readonly ranked: readonly RankedFeature[]
  readonly totalCount: number
}

interface Parts {
  readonly prisma: PrismaClient
  readonly databaseUrl: string
  readonly sets: RecentFeatureSets
}

export function featureCatalog({ prisma, databaseUrl, sets }: Parts): FeatureCatalog {
  const columns = new FeatureColumns(prisma)

  /** The set in the place of one that was replaced since it was asked for; undefined when it was not. */
  async function replacementOf(set: FeatureSetRecord): Promise<FeatureSetRecord | undefined> {
    sets.forget(set.saeId)
    const now = (await sets.get(set.saeId))?.find(({ dataset }) => dataset.id === set.dataset.id)
    return now?.id === set.id ? undefined : now
  }

  async function maskOf(
    { saeId, width }: FeatureSetRecord,
    { ranges = {}, text }: FeatureListRequest,
    found: ReadonlyMap<string, Float32Array>,
  ) {
    const bounds = Object.entries(ranges).map(([name, range]) => ({ values: found.get(name)!, range }))
    const mask = within(width, bounds)
    if (text === undefined) return mask
    const matching = await prisma.$queryRaw<{ index: number }[]>(matchingExplanations(saeId, text))
    const described = new Uint8Array(width)
    for (const { index } of matching) if (index < width) described[index] = mask[index]!
    return described
  }

  /** Up to `limit` features from a rank on; undefined when the set is not there any more. */
  async function featuresFrom(rank: number, set: FeatureSetRecord, request: FeatureListRequest): Promise<FoundFeatures | undefined> {
    const { limit, sort = 'index', order = 'asc', ranges = {}, text } = request
    const bounded = Object.keys(ranges)
    const names = [...new Set(sort === 'index' ? bounded : [sort, ...bounded])]
    requireStatistics(set, names)
    if (sort !== 'index' && bounded.length === 0 && text === undefined) {
      const ranked = await columns.ranked(set, { sort, order, from: rank, to: rank + limit })
      if (ranked) return { ranked, totalCount: set.width }
    }
    const found = await columns.of(set, names)
    if (!found) return undefined
    const mask = await maskOf(set, request, found)
    const values = found.get(sort)
    const sorted = values && columns.order(set, { name: sort, values })
    return { ranked: pageOfFeatures({ ...(sorted && { sorted }), order, mask, from: rank, limit }), totalCount: countOf(mask) }
  }

  /** Undefined when the set is not there any more. */
  async function pageIn(set: FeatureSetRecord, request: FeatureListRequest): Promise<Page<FeatureSummary> | undefined> {
    const { limit, cursor, sort = 'index', order = 'asc', nExamples = 0 } = request
    const list = `features ${set.id} ${sort} ${order}`
    const from = cursor === undefined ? 0 : rankOf(decodeCursor(list, cursor, 1)[0]!, { set, cursor }) + 1
    const found = await featuresFrom(from, set, { ...request, limit: limit + 1 })
    if (!found) return undefined
    const { ranked, totalCount } = found
    const wanted = ranked.slice(0, limit).map(({ index }) => index)
    const features = new Map((await summariesAt(prisma, set, { indices: wanted, nExamples })).map((feature) => [feature.index, feature]))
    if (features.size < wanted.length) return undefined
    return pageOf(ranked, {
      ...{ limit, totalCount, list },
      key: ({ rank }) => [String(rank)],
      item: ({ index }) => features.get(index)!,
    })
  }

  /** Those of `indices` that there are, of the set or of the one in its place. */
  async function those<T>(set: FeatureSetRecord, indices: readonly number[], read: (set: FeatureSetRecord) => Promise<T[]>): Promise<T[]> {
    const features = await read(set)
    const isWhole = features.length === indices.filter((index) => index >= 0 && index < set.width).length
    const now = isWhole ? undefined : await replacementOf(set)
    return now ? read(now) : features
  }

  return {
    async load(set, rows) {
      try {
        const id = await copyFeatures(databaseUrl, set, rows)
        return featureSetRecordOf(await prisma.featureSet.findUniqueOrThrow({ where: { id } }))
      } finally {
        sets.forget(set.saeId)
      }
    },

    async sets(saeId) {
      return (await sets.get(saeId))!
    },

    async list(set, request) {
      const page = await pageIn(set, request)
      if (page) return page
      const now = await replacementOf(set)
      const again = now && request.cursor === undefined ? await pageIn(now, request) : undefined
      if (again) return again
      // pages of the old set do not go on in the new one
      if (request.cursor !== undefined) throw new EngineError('CURSOR_INVALID', { cursor: request.cursor })
      return { items: [], nextCursor: null, cursors: [], totalCount: 0 }
    },

    async summaries(set, indices, nExamples) {
      return those(set, indices, (of) => summariesAt(prisma, of, { indices, nExamples }))
    },

    async get(set, indices) {
      return those(set, indices, (of) => featuresAt(prisma, of, indices))
    },

    async statistic(set, name) {
      requireStatistics(set, [name])
      const found = await columns.of(set, [name])
      return found?.get(name) ?? new Float32Array(set.width).fill(Number.NaN)
    },

    async remove({ id, saeId }) {
      try {
        await prisma.featureSet.deleteMany({ where: { id } })
      } finally {
        sets.forget(saeId)
      }
    },
  }
}

function requireStatistics(
  { statistics, dataset }: { readonly statistics: readonly string[]; readonly dataset: { readonly id: string } },
  names: readonly string[],
): void {
  for (const name of names) {
    if (statistics.includes(name)) continue
    const [near] = nearest(name, statistics)
    const hint = near === undefined ? `They are ${statistics.join(', ')}.` : `Did you mean "${near}"?`
    throw new EngineError('INPUT_INVALID', { path: name, problem: `the features on ${dataset.id} have no statistic "${name}". ${hint}` })
  }
}

function rankOf(text: string, { set, cursor }: { readonly set: FeatureSetRecord; readonly cursor: string }): number {
  const rank = /^\d+$/.test(text) ? Number(text) : -1
  if (rank < 0 || rank >= set.width) throw new EngineError('CURSOR_INVALID', { cursor })
  return rank
}
