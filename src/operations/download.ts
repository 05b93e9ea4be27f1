/** A file as the answer of an operation that is made while it is sent. */

import { Type } from 'typebox'

export interface Download {
  readonly filename: string
  readonly byteLength: number
  readonly chunks: AsyncIterable<Uint8Array>
}

export const DownloadShape = Type.Unsafe<Download>({ description: 'The file.' })
