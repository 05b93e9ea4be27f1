/**
 * Data sets: what was looked at when numbers were measured. A data set is its content: pictures, labels and captions in an order that does
 * not change, under one hash.
 */

import type { Caption, DatasetReport, Facets } from '../engine/datasets/dataset.js'
import { EngineError } from '../engine/errors.js'
import { type Dataset, Prisma, type PrismaClient } from '../generated/prisma/client.js'
import { decodeCursor, pageOf } from './cursors.js'
import { insertItems, itemColumns, itemOf, pageOfItems } from './dataset-items.js'
import { DatasetPictures } from './dataset-pictures.js'
import type { Page, PageRequest } from './page.js'
import { RecentAnswers } from './recent-answers.js'
import { likeLiteral, storableJson, storableText } from './stored-values.js'

const LIST = 'datasets'
/** Items of one statement. */
const CHUNK = 10_000
/** A data set of millions of items takes a while. */
const REGISTER_MS = 10 * 60_000

export interface DatasetRecord {
  /** The slug; stable for ever. */
  readonly id: string
  readonly name: string
  /** sha256 in hex, as the engine's `Dataset` has it; null of one that is only known by name, from a published table. */
  readonly hash: string | null
  readonly nItems: number
  /** By label; empty where items have none, or classes have no names. */
  readonly classNames: readonly string[]
  /** Null where items have no labels. */
  readonly nClasses: number | null
  readonly description: string | null
  readonly license: string | null
  /** What was left out, found twice or ignored; null where that is not known. */
  readonly report: DatasetReport | null
  readonly createdAt: Date
}

/** One picture of a data set, as it is shown. */
export interface DatasetItemRecord {
  readonly index: number
  /** The file within the data set. */
  readonly name: string
  /** `sha256:<64 hex digits>` in the blob store; null where the picture is not stored. */
  readonly imageId: string | null
  readonly label: number | null
}

/** All that is known of one picture. */
export interface KnownDatasetItem extends DatasetItemRecord {
  /** Ids of other pictures of the same thing. */
  readonly variants: readonly string[]
  readonly captions: readonly Caption[]
  readonly facets: Facets
}

/** What is not given is empty. */
export type NewDatasetItem = Omit<DatasetItemRecord, 'index'> & Partial<Pick<KnownDatasetItem, 'variants' | 'captions' | 'facets'>>

export interface NewDataset extends Omit<DatasetRecord, 'createdAt' | 'nItems' | 'nClasses' | 'report'> {
  /** As many as there are names, where that is not given. */
  readonly nClasses?: number | null
  readonly report?: DatasetReport
  /** In order of index, from 0. */
  readonly items: readonly NewDatasetItem[]
}

export interface DatasetCatalog {
  /** In order of id. */
  list(request: PageRequest & { readonly text?: string }): Promise<Page<DatasetRecord>>
  get(id: string): Promise<DatasetRecord | undefined>
  ids(): Promise<readonly string[]>
  ofHash(hash: string): Promise<DatasetRecord | undefined>
  /** The same content twice is one data set, the first. @throws INPUT_INVALID when the id is of another one */
  register(dataset: NewDataset): Promise<DatasetRecord>
  /** In order of index. */
  itemPage(id: string, request: PageRequest): Promise<Page<KnownDatasetItem>>
  /** All of them in order of index, read in large pages. */
  allItems(id: string): AsyncGenerator<KnownDatasetItem>
  /** Those of `indices` that there are; in order of index. */
  items(id: string, indices: readonly number[]): Promise<readonly DatasetItemRecord[]>
  /** The same in any order, from memory where they were read before, with the names of the labels. Nothing when there is no data set of this content. */
  itemsOf(dataset: { readonly id: string; readonly hash: string }, indices: readonly number[]): Promise<DatasetItems>
  /** With what features keep of its pictures: their mean embeddings. Statistics stay. */
  remove(id: string): Promise<boolean>
}

export interface DatasetItems {
  readonly items: readonly DatasetItemRecord[]
  /** By label. */
  readonly classNames: readonly string[]
}

export function datasetCatalog(prisma: PrismaClient): DatasetCatalog {
  const found = async (where: Prisma.DatasetWhereUniqueInput) => {
    const row = await prisma.dataset.findUnique({ where })
    return row ? recordOf(row) : undefined
  }
  const get: DatasetCatalog['get'] = (id) => found({ id })
  const ofHash: DatasetCatalog['ofHash'] = (hash) => found({ hash })
  const recent = new RecentAnswers(get)
  const pictures = new DatasetPictures(prisma)

  return {
    get,
    ofHash,

    async list({ limit, cursor, text }) {
      const [after] = cursor === undefined ? [] : decodeCursor(LIST, cursor, 1)
      const containing = (text: string) => ({ contains: likeLiteral(text), mode: 'insensitive' }) as const
      const filter = text === undefined ? {} : { OR: [{ id: containing(text) }, { name: containing(text) }] }
      const [rows, totalCount] = await Promise.all([
        prisma.dataset.findMany({
          where: after === undefined ? filter : { AND: [filter, { id: { gt: after } }] },
          orderBy: { id: 'asc' },
          take: limit + 1,
        }),
        prisma.dataset.count({ where: filter }),
      ])
      return pageOf(rows, { limit, totalCount, list: LIST, key: ({ id }) => [id], item: recordOf })
    },

    async ids() {
      return (await prisma.dataset.findMany({ select: { id: true }, orderBy: { id: 'asc' } })).map(({ id }) => id)
    },

    async register({ items, classNames, name, nClasses, report, ...dataset }) {
      const data = {
        ...dataset,
        name: storableText(name),
        classNames: classNames.map(storableText),
        nClasses: nClasses ?? (classNames.length > 0 ? classNames.length : null),
        nItems: items.length,
        report: report === undefined ? Prisma.DbNull : (storableJson(report) as Prisma.InputJsonObject),
      }
      await prisma.$transaction(
        async (transaction) => {
          const { count } = await transaction.dataset.createMany({ data: [data], skipDuplicates: true })
          for (let start = 0; count > 0 && start < items.length; start += CHUNK) {
            await insertItems(transaction, { datasetId: dataset.id, items: items.slice(start, start + CHUNK), start })
          }
        },
        { timeout: REGISTER_MS },
      )
      const registered = (dataset.hash === null ? undefined : await ofHash(dataset.hash)) ?? (await get(dataset.id))
      if (registered && registered.hash === dataset.hash) return registered
      throw new EngineError('INPUT_INVALID', { path: 'id', problem: `"${dataset.id}" is the id of another data set. Choose another.` })
    },

    itemPage: (id, request) => pageOfItems(prisma, id, request),

    async *allItems(datasetId) {
      for (let from = 0; ; ) {
        const where = { datasetId, index: { gte: from } }
        const rows = await prisma.datasetItem.findMany({ where, orderBy: { index: 'asc' }, take: CHUNK })
        yield* rows.map(itemOf)
        if (rows.length < CHUNK) return
        from = rows.at(-1)!.index + 1
      }
    },

    async items(datasetId, indices) {
      const rows = await prisma.datasetItem.findMany({
        where: { datasetId, index: { in: [...new Set(indices)] } },
        orderBy: { index: 'asc' },
        select: itemColumns,
      })
      return rows
    },

    async itemsOf({ id, hash }, indices) {
      const dataset = await recent.get(id)
      if (dataset?.hash !== hash) return { items: [], classNames: [] }
      return { items: await pictures.of(dataset, indices), classNames: dataset.classNames }
    },

    async remove(id) {
      try {
        const [{ count }] = await prisma.$transaction([
          prisma.dataset.deleteMany({ where: { id } }),
          prisma.featureSet.updateMany({ where: { datasetId: id }, data: { embeddingsSha256: null, embeddingsPlace: null } }),
        ])
        return count > 0
      } finally {
        recent.forget(id)
      }
    },
  }
}

function recordOf({ report, nClasses, ...row }: Dataset): DatasetRecord {
  return { ...row, nClasses, report: report as DatasetReport | null }
}
