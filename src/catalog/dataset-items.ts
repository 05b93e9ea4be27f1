/** The pictures of a data set: written by the ten thousand, read by the page. */

import type { Caption, Facets } from '../engine/datasets/dataset.js'
import { EngineError } from '../engine/errors.js'
import type { DatasetItem, Prisma, PrismaClient } from '../generated/prisma/client.js'
import { decodeCursor, pageOf } from './cursors.js'
import type { KnownDatasetItem, NewDatasetItem } from './datasets.js'
import type { Page, PageRequest } from './page.js'
import { storableText } from './stored-values.js'

const LIST = 'dataset-items'

/** What an item is shown with. */
export const itemColumns = { index: true, name: true, imageId: true, label: true } as const

export function itemOf({ index, name, imageId, variants, label, captions, facets }: DatasetItem): KnownDatasetItem {
  return {
    ...{ index, name, imageId, variants, label },
    captions: (captions ?? []) as unknown as readonly Caption[],
    facets: (facets ?? {}) as Facets,
  }
}

/** @throws CURSOR_INVALID */
export async function pageOfItems(
  prisma: PrismaClient,
  datasetId: string,
  { limit, cursor }: PageRequest,
): Promise<Page<KnownDatasetItem>> {
  const after = cursor === undefined ? -1 : afterIndex(cursor)
  const [rows, totalCount] = await Promise.all([
    prisma.datasetItem.findMany({ where: { datasetId, index: { gt: after } }, orderBy: { index: 'asc' }, take: limit + 1 }),
    prisma.datasetItem.count({ where: { datasetId } }),
  ])
  return pageOf(rows, { limit, totalCount, list: LIST, key: ({ index }) => [String(index)], item: itemOf })
}

function afterIndex(cursor: string): number {
  const [index = ''] = decodeCursor(LIST, cursor, 1)
  if (!/^\d{1,9}$/.test(index)) throw new EngineError('CURSOR_INVALID', { cursor })
  return Number(index)
}

interface ItemRows {
  readonly datasetId: string
  readonly items: readonly NewDatasetItem[]
  /** Index of the first. */
  readonly start: number
}

/** As one JSON value: ten thousand rows as parameters each would take Prisma seconds. */
export async function insertItems(prisma: Prisma.TransactionClient, { datasetId, items, start }: ItemRows): Promise<void> {
  const rows = items.map(rowOf)
  await prisma.$executeRaw`
    insert into dataset_items (dataset_id, index, name, image_id, variants, label, captions, facets)
    select ${datasetId}, ${start}::int + n::int - 1, row->>'name', row->>'imageId',
      array(select jsonb_array_elements_text(row->'variants')), (row->>'label')::int, row->'captions', row->'facets'
    from jsonb_array_elements(${JSON.stringify(rows)}::jsonb) with ordinality as given (row, n)`
}

function rowOf({ name, imageId, variants = [], label, captions = [], facets = {} }: NewDatasetItem) {
  return {
    ...{ name: storableText(name), imageId, variants, label },
    captions: captions.map(({ text, weight }) => ({ text: storableText(text), weight })),
    facets: Object.fromEntries(
      Object.entries(facets).map(([key, value]) => [storableText(key), typeof value === 'string' ? storableText(value) : value]),
    ),
  }
}
