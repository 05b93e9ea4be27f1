/**
 * Features in Postgres. A page is found in the columns of statistics, which are kept in memory while they are asked for, and only its rows
 * are read.
 */

import { LRUCache } from 'lru-cache'
import { EngineError } from '../engine/errors.js'
import type { FeatureStatistic, FeatureStatistics } from '../engine/evaluation/feature-record.js'
import { nearest } from '../engine/nearest.js'
import { type FeatureSet, Prisma, type PrismaClient } from '../generated/prisma/client.js'
import { decodeCursor, pageOf } from './cursors.js'
import { type Explanation, matchingExplanations } from './explanations.js'
import { picturesEnd, readFeature } from './feature-codec.js'
import { copyFeatures } from './feature-copy.js'
import { countOf, orderBy, pageOfFeatures, within } from './feature-order.js'
import type { FeatureCatalog, FeatureListRequest, FeatureSetAbout, FeatureSetRecord, StoredFeature } from './feature-sets.js'

const LIST = 'features'
/** Of columns and orders: a column of 49,152 features has 196 kB. */
const CACHE_BYTES = 128 * 2 ** 20

export function featureCatalog(prisma: PrismaClient, databaseUrl: string): FeatureCatalog {
  // a set never changes, so what is cached is never stale
  const columns = new LRUCache<string, Float32Array>({ maxSize: CACHE_BYTES / 2, sizeCalculation: ({ byteLength }) => byteLength + 1 })
  const orders = new LRUCache<string, Uint32Array>({ maxSize: CACHE_BYTES / 2, sizeCalculation: ({ byteLength }) => byteLength + 1 })

  /** In one statement, those that are not known yet. */
  async function columnsOf(set: FeatureSetRecord, names: readonly string[]): Promise<Map<string, Float32Array>> {
    const found = new Map<string, Float32Array>()
    for (const name of names) {
      const known = columns.get(`${set.id} ${name}`)
      if (known) found.set(name, known)
    }
    const missing = names.filter((name) => !found.has(name))
    if (missing.length === 0) return found
    const rows = await prisma.featureStatistic.findMany({ where: { setId: set.id, name: { in: missing } } })
    for (const { name, values } of rows) {
      const column = new Float32Array(values.slice().buffer)
      columns.set(`${set.id} ${name}`, column)
      found.set(name, column)
    }
    return found
  }

  function orderOf(set: FeatureSetRecord, { sort, order, values }: { sort: string; order: 'asc' | 'desc'; values: Float32Array }) {
    const key = `${set.id} ${sort} ${order}`
    const known = orders.get(key)
    if (known) return known
    const made = orderBy(values, order)
    orders.set(key, made)
    return made
  }

  async function maskOf(set: FeatureSetRecord, { ranges = {}, text }: FeatureListRequest, found: ReadonlyMap<string, Float32Array>) {
    const mask = within(
      set.width,
      Object.entries(ranges).map(([name, range]) => ({ values: found.get(name)!, range })),
    )
    if (text === undefined) return mask
    const matching = await prisma.$queryRaw<{ index: number }[]>(matchingExplanations(set.saeId, text))
    const described = new Uint8Array(set.width)
    for (const { index } of matching) if (index < set.width) described[index] = mask[index]!
    return described
  }

  const get = (set: FeatureSetRecord, indices: readonly number[]) => featuresAt(prisma, set, { indices })

  return {
    get,

    async load(set, rows) {
      const id = await copyFeatures(databaseUrl, set, rows)
      return featureSetRecordOf(await prisma.featureSet.findUniqueOrThrow({ where: { id } }))
    },

    async sets(saeId) {
      return (await prisma.featureSet.findMany({ where: { saeId }, orderBy: [{ measuredAt: 'desc' }, { id: 'desc' }] })).map(
        featureSetRecordOf,
      )
    },

    async list(set, request) {
      const { limit, cursor, sort = 'index', order = 'asc', ranges = {}, withAllData = false } = request
      const list = `${LIST} ${set.id} ${sort} ${order}`
      const after = cursor === undefined ? undefined : indexOf(decodeCursor(list, cursor, 1)[0]!, { set, cursor })
      const names = [...new Set([...(sort === 'index' ? [] : [sort]), ...Object.keys(ranges)])]
      requireStatistics(set, names)
      const found = await columnsOf(set, names)
      const mask = await maskOf(set, request, found)
      const values = found.get(sort)
      const indices = pageOfFeatures({
        ...{ width: set.width, order, mask, limit: limit + 1 },
        ...(values && { permutation: orderOf(set, { sort, order, values }) }),
        ...(after !== undefined && { after }),
      })
      const shown = await featuresAt(prisma, set, { indices: indices.slice(0, limit), onlyPictures: !withAllData })
      const features = new Map(shown.map((feature) => [feature.index, feature]))
      return pageOf(indices, {
        ...{ limit, totalCount: countOf(mask), list },
        key: (index) => [String(index)],
        item: (index) => features.get(index)!,
      })
    },

    async statistic(set, name) {
      requireStatistics(set, [name])
      return (await columnsOf(set, [name])).get(name)!
    },

    async remove({ id }) {
      await prisma.featureSet.deleteMany({ where: { id } })
    },
  }
}

/** In the order of `indices`. One statement. */
async function featuresAt(
  prisma: PrismaClient,
  set: FeatureSetRecord,
  { indices, onlyPictures = false }: { readonly indices: readonly number[]; readonly onlyPictures?: boolean },
): Promise<StoredFeature[]> {
  if (indices.length === 0) return []
  const { statistics, about } = set
  const end = picturesEnd({ nStatistics: statistics.length, topLength: about.topLength })
  const rows = await prisma.$queryRaw<{ index: number; data: Uint8Array; explanations: StoredExplanation[] | null }[]>`
    select
      f.index,
      ${onlyPictures ? Prisma.sql`substring(f.data from 1 for ${end}::int)` : Prisma.sql`f.data`} as data,
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

function indexOf(text: string, { set, cursor }: { readonly set: FeatureSetRecord; readonly cursor: string }): number {
  const index = /^\d+$/.test(text) ? Number(text) : -1
  if (index < 0 || index >= set.width) throw new EngineError('CURSOR_INVALID', { cursor })
  return index
}

export function featureSetRecordOf(row: FeatureSet): FeatureSetRecord {
  const { id, saeId, datasetId, datasetHash, width, statisticNames, about, seed, dtype, backend, codeVersion, measuredAt } = row
  return {
    ...{ id, saeId, width, seed, dtype, backend, codeVersion, measuredAt },
    dataset: { id: datasetId, hash: datasetHash },
    statistics: statisticNames as FeatureStatistic[],
    about: about as unknown as FeatureSetAbout,
  }
}
