/**
 * Pictures as clients name them and as the catalog describes them.
 */

import { type Static, Type } from 'typebox'

export const ImageId = Type.String({
  'x-scalar': 'ID',
  pattern: '^sha256:[0-9a-f]{64}$',
  description: '`sha256:` and the hash of the file as uploaded.',
  examples: [`sha256:${'0'.repeat(64)}`],
})

/** A picture of a request: an uploaded one by its id, or the file itself. */
export const ImageInput = Type.Union(
  [
    ImageId,
    Type.Object(
      {
        base64: Type.String({
          minLength: 1,
          description: 'A JPEG, PNG or WebP file as base64, without a `data:` prefix.',
        }),
      },
      { additionalProperties: false },
    ),
  ],
  { title: 'ImageInput', description: 'The id of an uploaded image, or `{"base64": "..."}` with the file itself.' },
)

/** The pictures of a request that takes nothing else. */
export const ImageInputs = Type.Array(Type.Object({ image: ImageInput }, { title: 'PictureInput', additionalProperties: false }), {
  minItems: 1,
  description: 'Pictures.',
})

export type ImageInputValue = Static<typeof ImageInput>

export const ImageShape = Type.Object(
  {
    id: ImageId,
    format: Type.Enum(['jpeg', 'png', 'webp'], { title: 'ImageFormat' }),
    width: Type.Integer({ description: 'Pixels, as stored in the file.' }),
    height: Type.Integer(),
    bytes: Type.Integer(),
    createdAt: Type.String({ format: 'date-time' }),
  },
  { title: 'Image', additionalProperties: false },
)
