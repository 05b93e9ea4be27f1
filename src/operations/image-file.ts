/**
 * The bytes of an uploaded picture, or a smaller copy for looking at.
 */

import { Type } from 'typebox'
import type { ImageRecord } from '../catalog/catalog.js'
import { RequestError } from './errors.js'
import { findImage } from './images.js'
import { fixedLimits } from './limits.js'
import { defineOperation } from './operation.js'
import { ImageId } from './schemas/image.js'

export interface ImageFile {
  readonly bytes: Uint8Array
  readonly format: ImageRecord['format']
}

export const imageFile = defineOperation({
  name: 'imageFile',
  kind: 'query',
  scope: 'read',
  summary: 'An uploaded image as it was uploaded, or a thumbnail',
  input: Type.Object(
    {
      id: ImageId,
      size: Type.Optional(
        Type.Integer({
          minimum: 1,
          maximum: fixedLimits.thumbnailPixels,
          description: 'Pixels of the longer side of a thumbnail; never enlarged.',
        }),
      ),
    },
    { title: 'ImageFileInput', additionalProperties: false },
  ),
  output: Type.Unsafe<ImageFile>({ description: 'The file.' }),

  async run({ catalog, host, drawnPictures }, { id, size }, { signal }) {
    const { format } = await findImage(catalog, id)
    const read = async () => {
      const bytes = await catalog.images.read(id)
      if (!bytes) throw new RequestError('IMAGE_UNKNOWN', { image: id })
      return bytes
    }
    if (size === undefined) return { bytes: await read(), format }
    const draw = async () => host.draw({ kind: 'thumbnail', file: await read(), size, format }, signal)
    return { bytes: await drawnPictures.get(['thumbnail', id, size], draw), format }
  },
})
