/**
 * Data sets and their items.
 */

import { type Static, Type } from 'typebox'
import { aboutLengths } from '../../catalog/import/import-dataset.js'

const orNull = () => Type.Union([Type.String(), Type.Null()])

export const DatasetId = Type.String({ 'x-scalar': 'ID', minLength: 1, maxLength: 200, pattern: '^[^\\u0000]*$' })

const FindingShape = Type.Object(
  {
    count: Type.Integer(),
    first: Type.Array(Type.String(), { description: 'The first ones: each a file and, where there is one, a reason.' }),
  },
  { title: 'DatasetFinding', additionalProperties: false },
)

const ReportShape = Type.Object(
  {
    unreadable: FindingShape,
    identical: FindingShape,
    ignored: FindingShape,
  },
  {
    title: 'DatasetReport',
    additionalProperties: false,
    description: 'What was found beside its pictures: unreadable ones (left out), identical ones (kept), files that are no pictures.',
  },
)

export const DatasetShape = Type.Object(
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
    report: Type.Union([ReportShape, Type.Null()]),
    createdAt: Type.String({ format: 'date-time' }),
  },
  { title: 'Dataset', additionalProperties: false },
)

const CaptionShape = Type.Object(
  { text: Type.String(), weight: Type.Number({ description: 'How often it is drawn, relative to the others.' }) },
  { title: 'DatasetCaption', additionalProperties: false },
)

export const DatasetItemShape = Type.Object(
  {
    index: Type.Integer({ description: 'Counts from 0; the order does not change.' }),
    name: Type.String({ description: 'The file within the data set.' }),
    image: Type.Union([Type.String(), Type.Null()], { 'x-scalar': 'ID', description: 'At /v1/images/{id}.' }),
    variants: Type.Array(Type.String(), { description: 'Other images of the same thing.' }),
    label: Type.Union([Type.Integer(), Type.Null()]),
    className: orNull(),
    captions: Type.Array(CaptionShape),
    facets: Type.Unsafe<Record<string, string | number>>({
      type: 'object',
      'x-scalar': 'Json',
      additionalProperties: { type: ['string', 'number'] },
      description: 'What else is known of it.',
    }),
  },
  { title: 'DatasetItem', additionalProperties: false },
)

export type DatasetAnswer = Static<typeof DatasetShape>

const text = (key: keyof typeof aboutLengths, description: string) =>
  Type.Optional(Type.String({ minLength: 1, maxLength: aboutLengths[key], pattern: '^[^\\u0000]*$', description }))

/** What one may say of a data set that is registered. */
export const about = {
  id: text('id', 'Lower-case letters, digits and single hyphens; made from the name where it is not given.'),
  name: text('name', "What it is called; the file's own name where it is not given."),
  license: text('license', 'As on the hub: cc-by-4.0.'),
  description: text('description', 'What it is, and where it is from.'),
}
