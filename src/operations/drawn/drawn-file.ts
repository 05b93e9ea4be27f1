/**
 * A picture as the answer of an operation: known by a tag before it is drawn, so that a client that has it already costs nothing.
 */

import { Type } from 'typebox'

export interface DrawnFile {
  /** The same for the same picture; another when anything that it depends on changes. */
  readonly tag: string
  draw(): Promise<Uint8Array>
}

export const DrawnFileShape = Type.Unsafe<DrawnFile>({ description: 'The file.' })

/** A field of every request for such a file. */
export const versionField = {
  v: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 100,
      description:
        'The tag of the file (of an earlier `ETag`, without quotes): the address then stands for just this file, and is cached for ever.',
    }),
  ),
}

/** Part of every tag: a change of how things are drawn is a change of the pictures. */
export const DRAWING_VERSION = 1
