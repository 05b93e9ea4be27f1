/**
 * The bytes of an uploaded picture, or a smaller copy for looking at.
 */

import sharp from 'sharp'
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

  async run({ catalog, config }, { id, size }) {
    const { format } = await findImage(catalog, id)
    const bytes = await catalog.images.read(id)
    if (!bytes) throw new RequestError('IMAGE_UNKNOWN', { image: id })
    if (size === undefined) return { bytes, format }
    // what was accepted as an upload is shown, however odd
    const small = await sharp(bytes, { limitInputPixels: config.maxImagePixels, failOn: 'truncated' })
      .resize({ width: size, height: size, fit: 'inside', withoutEnlargement: true })
      .toFormat(format)
      .toBuffer()
    return { bytes: small, format }
  },
})
