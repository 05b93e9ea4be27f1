/**
 * The uploaded pictures.
 */

import { Type } from 'typebox'
import type { ImageRecord } from '../catalog/catalog.js'
import { RequestError } from './errors.js'
import { type Context, defineOperation } from './operation.js'
import { ImageId, ImageShape } from './schemas/image.js'
import { Cursor, DEFAULT_PAGE_SIZE, Limit, pageOf } from './schemas/page.js'

export const images = defineOperation({
  name: 'images',
  kind: 'query',
  scope: 'read',
  summary: 'The uploaded images, newest first',
  input: Type.Object({ limit: Type.Optional(Limit), cursor: Type.Optional(Cursor) }, { title: 'ImagesInput', additionalProperties: false }),
  output: pageOf('ImagePage', ImageShape),
  example: { limit: 10 },

  async run({ catalog }, { limit = DEFAULT_PAGE_SIZE, ...request }) {
    const { items, nextCursor, cursors, totalCount } = await catalog.images.list({ limit, ...request })
    return { items: items.map(describeImage), nextCursor, cursors: [...cursors], totalCount }
  },
})

export const image = defineOperation({
  name: 'image',
  kind: 'query',
  scope: 'read',
  summary: 'An uploaded image: format and size',
  input: Type.Object({ id: ImageId }, { title: 'ImageQuery', additionalProperties: false }),
  output: ImageShape,

  async run({ catalog }, { id }) {
    return describeImage(await findImage(catalog, id))
  },
})

/** @throws IMAGE_UNKNOWN */
export async function findImage(catalog: Context['catalog'], id: string): Promise<ImageRecord> {
  const record = await catalog.images.get(id)
  if (!record) throw new RequestError('IMAGE_UNKNOWN', { image: id })
  return record
}

export function describeImage({ id, format, width, height, bytes, createdAt }: ImageRecord) {
  return { id, format, width, height, bytes, createdAt: createdAt.toISOString() }
}
