/**
 * Data sets: what was looked at when numbers were measured. A data set is its content: pictures, labels and captions in an order that does
 * not change, under one hash.
 */

import { EngineError } from '../engine/errors.js'
import type { Dataset, Prisma, PrismaClient } from '../generated/prisma/client.js'
import type { Page, PageRequest } from './catalog.js'
import { decodeCursor, pageOf } from './cursors.js'
import { likeLiteral, storableText } from './stored-values.js'

const LIST = 'datasets'
/** Items of one insert. */
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
  /** By label; empty where items have none. */
  readonly classNames: readonly string[]
  readonly description: string | null
  readonly license: string | null
  readonly createdAt: Date
}

export interface DatasetItemRecord {
  readonly index: number
  /** The file within the data set. */
  readonly name: string
  /** `sha256:<64 hex digits>` in the blob store; null where the picture is not stored. */
  readonly imageId: string | null
  readonly label: number | null
}

export interface NewDataset extends Omit<DatasetRecord, 'createdAt' | 'nItems'> {
  /** In order of index, from 0. */
  readonly items: readonly Omit<DatasetItemRecord, 'index'>[]
}

export interface DatasetCatalog {
  /** In order of id. */
  list(request: PageRequest & { readonly text?: string }): Promise<Page<DatasetRecord>>
  get(id: string): Promise<DatasetRecord | undefined>
  ids(): Promise<readonly string[]>
  ofHash(hash: string): Promise<DatasetRecord | undefined>
  /** The same content twice is one data set, the first. @throws INPUT_INVALID when the id is of another one */
  register(dataset: NewDataset): Promise<DatasetRecord>
  /** Those of `indices` that there are; in order of index. */
  items(id: string, indices: readonly number[]): Promise<readonly DatasetItemRecord[]>
  /** The same, with the names of the labels, in one statement. Nothing when there is no data set of this content. */
  itemsOf(dataset: { readonly id: string; readonly hash: string }, indices: readonly number[]): Promise<DatasetItems>
  remove(id: string): Promise<boolean>
}

export interface DatasetItems {
  readonly items: readonly DatasetItemRecord[]
  /** By label. */
  readonly classNames: readonly string[]
}

export function datasetCatalog(prisma: PrismaClient): DatasetCatalog {
  const get: DatasetCatalog['get'] = async (id) => (await prisma.dataset.findUnique({ where: { id } })) ?? undefined
  const ofHash: DatasetCatalog['ofHash'] = async (hash) => (await prisma.dataset.findUnique({ where: { hash } })) ?? undefined

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
      return pageOf(rows, { limit, totalCount, list: LIST, key: (dataset: Dataset) => [dataset.id], item: (dataset) => dataset })
    },

    async ids() {
      return (await prisma.dataset.findMany({ select: { id: true }, orderBy: { id: 'asc' } })).map(({ id }) => id)
    },

    async register({ items, classNames, name, ...dataset }) {
      const data = { ...dataset, name: storableText(name), classNames: classNames.map(storableText), nItems: items.length }
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

    async items(datasetId, indices) {
      const rows = await prisma.datasetItem.findMany({
        where: { datasetId, index: { in: [...new Set(indices)] } },
        orderBy: { index: 'asc' },
      })
      return rows.map(({ index, name, imageId, label }) => ({ index, name, imageId, label }))
    },

    async itemsOf({ id, hash }, indices) {
      const row = await prisma.dataset.findUnique({
        where: { id, hash },
        select: {
          classNames: true,
          items: {
            where: { index: { in: [...new Set(indices)] } },
            orderBy: { index: 'asc' },
            select: { index: true, name: true, imageId: true, label: true },
          },
        },
      })
      return row ?? { items: [], classNames: [] }
    },

    async remove(id) {
      return (await prisma.dataset.deleteMany({ where: { id } })).count > 0
    },
  }
}

interface ItemRows {
  readonly datasetId: string
  readonly items: NewDataset['items']
  /** Index of the first. */
  readonly start: number
}

/** As one JSON value: ten thousand rows as parameters each would take Prisma seconds. */
async function insertItems(prisma: Prisma.TransactionClient, { datasetId, items, start }: ItemRows): Promise<void> {
  const rows = items.map(({ name, imageId, label }) => ({ name: storableText(name), imageId, label }))
  await prisma.$executeRaw`
    insert into dataset_items (dataset_id, index, name, image_id, label)
    select ${datasetId}, ${start}::int + n::int - 1, row->>'name', row->>'imageId', (row->>'label')::int
    from jsonb_array_elements(${JSON.stringify(rows)}::jsonb) with ordinality as given (row, n)`
}
