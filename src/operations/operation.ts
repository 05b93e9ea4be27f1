/**
 * What a user can ask. An operation is declared once, with the schemas of its input and output, and both doors (REST and GraphQL) are
 * made from the declaration. This room alone knows engine and catalog both.
 */

import type { Static, TSchema } from 'typebox'
import type { Catalog } from '../catalog/catalog.js'
import type { Config } from '../config.js'
import type { EngineHost } from '../engine/host/host.js'
import type { ClassEmbeddings } from './class-embeddings.js'
import type { DrawnPictures } from './drawn/drawn-pictures.js'
import type { PictureEmbeddings } from './search/picture-embeddings.js'

export interface Context {
  readonly host: EngineHost
  readonly catalog: Catalog
  readonly config: Config
  /** Text embeddings of class labels that were asked for before. */
  readonly classEmbeddings: ClassEmbeddings
  readonly drawnPictures: DrawnPictures
  readonly pictureEmbeddings: PictureEmbeddings
}

/** One call: cancelled when the client goes away; `timing` adds a Server-Timing entry in milliseconds. */
export interface Call {
  readonly signal: AbortSignal
  timing(name: TimingName, ms: number): void
  /** Who calls; everyone where no key is needed. */
  readonly caller?: { readonly keyId?: string; readonly scopes: readonly Scope[] }
  /** Under which the same request, sent again, is the same. */
  readonly idempotencyKey?: string
  /** How many numbers the door can write in the form the client asked for: few as JSON or in GraphQL, without a bound as bytes. */
  readonly maxNumbers?: { readonly limit: 'jsonNumbers' | 'graphqlNumbers'; readonly value: number }
}

export type TimingName = 'decode' | 'queue' | 'load' | 'compile' | 'run' | 'encode'

export type Scope = 'read' | 'run' | 'write' | 'admin'

export interface Operation<Input extends TSchema = TSchema, Output extends TSchema = TSchema> {
  /** As in GraphQL: `forward`. */
  readonly name: string
  readonly kind: 'query' | 'mutation'
  readonly scope: Scope
  readonly summary: string
  readonly input: Input
  readonly output: Output
  /** An input for the documentation: a real one, accepted by `input`. */
  readonly example?: Static<Input>
  run(context: Context, input: Static<Input>, call: Call): Promise<Static<Output>>
}

/** Declares an operation; the types of `run` follow from the schemas. */
export function defineOperation<Input extends TSchema, Output extends TSchema>(
  declaration: Operation<Input, Output>,
): Operation<Input, Output> {
  return declaration
}
