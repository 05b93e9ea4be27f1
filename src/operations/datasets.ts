/**
 * The data sets that numbers are of, and the pictures in them.
 */

import { Type } from 'typebox'
import type { DatasetRecord } from '../catalog/datasets.js'
import { RequestError } from './errors.js'
import { type Context, defineOperation } from './operation.js'
import { type DatasetAnswer, DatasetId, DatasetItemShape, DatasetShape } from './schemas/dataset.js'
import { Cursor, DEFAULT_PAGE_SIZE, Limit, pageOf, SearchText } from './schemas/page.js'

export const datasets = defineOperation({
  name: 'datasets',
  kind: 'query',
  scope: 'read',
  summary: 'The data sets, by id',
  input: Type.Object(
    {
      text: Type.Optional(Type.Unsafe<string>({ ...SearchText, description: 'Data sets whose id or name contains this.' })),
      limit: Type.Optional(Limit),
      cursor: Type.Optional(Cursor),
    },
    { title: 'DatasetsInput', additionalProperties: false },
  ),
  output: pageOf('DatasetPage', DatasetShape),
  example: { limit: 10 },

  async run({ catalog }, { limit = DEFAULT_PAGE_SIZE, ...request }) {
    const { items, nextCursor, cursors, totalCount } = await catalog.datasets.list({ limit, ...request })
    return { items: items.map(describeDataset), nextCursor, cursors: [...cursors], totalCount }
  },
})

export const dataset = defineOperation({
  name: 'dataset',
  kind: 'query',
  scope: 'read',
  summary: 'A data set: what it is and how large',
  input: Type.Object({ id: DatasetId }, { title: 'DatasetInput', additionalProperties: false }),
  output: DatasetShape,
  example: { id: 'imagenet-1k-validation' },

  async run({ catalog }, { id }) {
    return describeDataset(await findDataset(catalog, id))
  },
})

export const datasetItems = defineOperation({
  name: 'datasetItems',
  kind: 'query',
  scope: 'read',
  summary: 'The pictures of a data set in their order, with what is known of each',
  input: Type.Object(
    { dataset: DatasetId, limit: Type.Optional(Limit), cursor: Type.Optional(Cursor) },
    { title: 'DatasetItemsInput', additionalProperties: false },
  ),
  output: pageOf('DatasetItemPage', DatasetItemShape),
  example: { dataset: 'emoji-twemoji', limit: 10 },

  async run({ catalog }, { dataset: id, limit = DEFAULT_PAGE_SIZE, ...request }) {
    const { classNames } = await findDataset(catalog, id)
    const { items, nextCursor, cursors, totalCount } = await catalog.datasets.itemPage(id, { limit, ...request })
    return {
      items: items.map(({ imageId, variants, captions, label, ...item }) => ({
        ...item,
        image: imageId,
        variants: [...variants],
        label,
        className: label === null ? null : (classNames[label] ?? null),
        captions: captions.map(({ text, weight }) => ({ text, weight })),
      })),
      nextCursor,
      cursors: [...cursors],
      totalCount,
    }
  },
})

/** @throws DATASET_UNKNOWN */
export async function findDataset(catalog: Context['catalog'], id: string): Promise<DatasetRecord> {
  const record = await catalog.datasets.get(id)
  if (!record) throw new RequestError('DATASET_UNKNOWN', { dataset: id, known: await catalog.datasets.ids() })
  return record
}

export function describeDataset({ report, classNames, nClasses, createdAt, ...record }: DatasetRecord): DatasetAnswer {
  const { id, name, hash, nItems, description, license } = record
  return {
    ...{ id, name, hash, nItems, nClasses: nClasses ?? classNames.length, classNames: [...classNames], description, license },
    report: report as DatasetAnswer['report'],
    createdAt: createdAt.toISOString(),
  }
}
