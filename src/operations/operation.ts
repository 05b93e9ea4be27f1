/**
 * What a user can ask. An operation is declared once, with the schemas of its input and output, and both doors (REST and GraphQL) are
 * made from the declaration. This room alone knows engine and catalog both.
 */

import type { Static, TSchema } from 'typebox'
import type { Catalog } from '../catalog/catalog.js'
import type { Config } from '../config.js'
import type { EngineHost } from '../engine/host/host.js'

export interface Context {
  readonly host: EngineHost
  readonly catalog: Catalog
  readonly config: Config
}

/** One call: cancelled when the client goes away; `timing` adds a Server-Timing entry in milliseconds. */
export interface Call {
  readonly signal: AbortSignal
  timing(name: 'decode' | 'queue' | 'load' | 'compile' | 'run' | 'encode', ms: number): void
}

export interface Operation<Input extends TSchema = TSchema, Output extends TSchema = TSchema> {
  /** As in GraphQL: `forward`. */
  readonly name: string
  readonly kind: 'query' | 'mutation'
  readonly scope: 'read' | 'run' | 'write' | 'admin'
  readonly summary: string
  readonly input: Input
  readonly output: Output
  run(context: Context, input: Static<Input>, call: Call): Promise<Static<Output>>
}
