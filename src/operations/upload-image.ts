/**
 * Stores a picture under the hash of its bytes.
 */

import { Type } from 'typebox'
import { describeImage } from './images.js'
import { defineOperation } from './operation.js'
import { ImageShape } from './schemas/image.js'

export const uploadImage = defineOperation({
  name: 'uploadImage',
  kind: 'mutation',
  scope: 'write',
  summary: 'Store an image under the hash of its bytes; the same bytes twice are one image',
  input: Type.Object(
    { file: Type.Unsafe<Uint8Array>({ description: 'A JPEG, PNG or WebP file.', 'x-scalar': 'Upload' }) },
    { title: 'UploadImageInput', additionalProperties: false },
  ),
  output: ImageShape,

  async run({ catalog, host }, { file }, { signal }) {
    const { format, width, height } = await host.inspectImage(file, signal)
    return describeImage(await catalog.images.put(file, { format, width, height }))
  },
})
