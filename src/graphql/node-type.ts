/**
 * Types that have an identity: found again by `node(id)`. Ids are the same as in REST.
 */

import type { TSchema } from 'typebox'
import type { Operation } from '../operations/operation.js'
import type { Builder } from './builder.js'
import type { Source, TypesFromSchemas } from './from-schema.js'
import { callOperation } from './operation-field.js'

/** @param about  `operation` takes `{ id }` and answers the node */
export function nodeType<I extends TSchema, O extends TSchema>(
  builder: Builder,
  types: TypesFromSchemas,
  { name, operation }: { readonly name: string; readonly operation: Operation<I, O> },
) {
  const ref = builder.objectRef<Source>(name)
  builder.node(ref, {
    id: { resolve: (source) => source.id as string },
    // the plugin's cache gives `nodes` a promise for a node that `node` is still loading, and then does not know its type
    loadWithoutCache: (id, context) => callOperation(operation, { id }, context) as Promise<Source>,
    fields: (t) => {
      const { id: _, ...fields } = types.outputFields(operation.output, t as never)
      return fields as never
    },
  })
  types.use(name, ref)
  return ref
}
