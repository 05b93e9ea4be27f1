/**
 * The data sets that numbers are of.
 */

import { Type } from 'typebox'
import type { DatasetRecord } from '../catalog/datasets.js'
import { RequestError } from './errors.js'
import { defineOperation } from './operation.js'
import { Cursor, DEFAULT_PAGE_SIZE, Limit, pageOf, SearchText } from './schemas/page.js'

const orNull = () => Type.Union([Type.String(), Type.Null()])

const DatasetShape = Type.Object(
  {
    id: Type.String({ 'x-scalar': 'ID', description: 'Stable for ever.' }),
    name: Type.String(),
    hash: Type.Union([Type.String(), Type.Null()], {
      description: 'sha256 over labels, captions and pictures in order; null of one that is only known by name, from a published table.',
    }),
    nItems: Type.Integer({ description: 'Pictures.' }),
    nClasses: Type.Integer(),
    classNames: Type.Array(Type.String(), { description: 'By label.' }),
    description: orNull(),
    license: orNull(),
    createdAt: Type.String({ format: 'date-time' }),
  },
  { title: 'Dataset', additionalProperties: false },
)

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
  input: Type.Object(
    { id: Type.String({ 'x-scalar': 'ID', minLength: 1, maxLength: 200, pattern: '^[^\\u0000]*$' }) },
    { title: 'DatasetInput', additionalProperties: false },
  ),
  output: DatasetShape,
  example: { id: 'imagenet-1k-validation' },

  async run({ catalog }, { id }) {
    const record = await catalog.datasets.get(id)
    if (!record) throw new RequestError('DATASET_UNKNOWN', { dataset: id, known: await catalog.datasets.ids() })
    return describeDataset(record)
  },
})

export function describeDataset({ id, name, hash, nItems, nClasses, classNames, description, license, createdAt }: DatasetRecord) {
  return {
    ...{ id, name, hash, nItems, nClasses: nClasses ?? classNames.length, classNames: [...classNames], description, license },
    createdAt: createdAt.toISOString(),
  }
}
