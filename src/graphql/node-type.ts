/**
 * Types that have an identity: found again by `node(id)`. Ids are the same as in REST.
 */

import type { TSchema } from 'typebox'
import type { Operation } from '../operations/operation.js'
import type { Builder } from './builder.js'
import type { Source, TypesFromSchemas } from './from-schema.js'
import { callOperation } from './operation-field.js'

const forms = [
  ['Image', /^sha256:/],
  ['Job', /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/],
  ['Feature', /^[^./]+\.[^./]+\.[^./]+\/\d+$/],
  ['Sae', /^[^./]+\.[^./]+\.[^./]+$/],
] as const

/** What an id is of, one sees by its form. */
export function typenameOf(id: string): string {
  return forms.find(([, form]) => form.test(id))?.[0] ?? 'Model'
}

interface About<I extends TSchema, O extends TSchema> {
  readonly name: string
  /** Answers the node. */
  readonly operation: Operation<I, O>
  /** The operation's input; `{ id }` unless given. */
  readonly inputOf?: (id: string) => Record<string, unknown>
}

export function nodeType<I extends TSchema, O extends TSchema>(
  builder: Builder,
  types: TypesFromSchemas,
  { name, operation, inputOf = (id) => ({ id }) }: About<I, O>,
) {
  const ref = builder.objectRef<Source>(name)
  builder.node(ref, {
    id: { resolve: (source) => source.id as string },
    // the plugin's cache gives `nodes` a promise for a node that `node` is still loading, and then does not know its type
    loadWithoutCache: (id, context) => callOperation(operation, inputOf(id), context) as Promise<Source>,
    fields: (t) => {
      const { id: _, ...fields } = types.outputFields(operation.output, t as never)
      return fields as never
    },
  })
  types.use(name, ref)
  return ref
}
