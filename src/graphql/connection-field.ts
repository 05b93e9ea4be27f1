/**
 * A list as a Relay connection: `first` and `after` are REST's `limit` and `cursor`, and cursors are the same.
 */

import type { OutputRef } from '@pothos/core'
import type { TSchema } from 'typebox'
import { fixedLimits } from '../operations/limits.js'
import type { Operation } from '../operations/operation.js'
import { DEFAULT_PAGE_SIZE } from '../operations/schemas/page.js'
import type { Builder } from './builder.js'
import type { RootFields, Source, TypesFromSchemas } from './from-schema.js'
import { callOperation } from './operation-field.js'
import type { GraphqlContext } from './types.js'

interface PageAnswer {
  readonly items: readonly Source[]
  readonly cursors: readonly string[]
  readonly nextCursor: string | null
  readonly totalCount: number
}

export function connectionField<I extends TSchema, O extends TSchema>(
  builder: Builder,
  types: TypesFromSchemas,
  { operation, node, name }: { readonly operation: Operation<I, O>; readonly node: OutputRef; readonly name: string },
): void {
  const edge = builder.objectRef<{ node: Source; cursor: string }>(`${name}Edge`).implement({
    fields: (t) => ({
      cursor: t.exposeString('cursor'),
      node: t.field({ type: node as never, resolve: (parent) => parent.node as never }),
    }),
  })
  const connection = builder.objectRef<PageAnswer>(`${name}Connection`).implement({
    fields: (t) => ({
      totalCount: t.exposeInt('totalCount'),
      edges: t.field({
        type: [edge],
        resolve: ({ items, cursors }) => items.map((item, index) => ({ node: item, cursor: cursors[index]! })),
      }),
      pageInfo: t.field({
        type: builder.pageInfoRef(),
        resolve: ({ cursors, nextCursor }) => ({
          hasNextPage: nextCursor !== null,
          hasPreviousPage: false,
          startCursor: cursors[0] ?? null,
          endCursor: cursors.at(-1) ?? null,
        }),
      }),
    }),
  })
  const field = (t: RootFields) => {
    const { limit: _limit, cursor: _cursor, ...filters } = types.argumentsOf(operation.input, t)
    return t.field({
      type: connection as never,
      nullable: true,
      description: operation.summary,
      args: {
        first: t.arg.int({ description: `At most ${fixedLimits.pageSize}; ${DEFAULT_PAGE_SIZE} unless given.` }),
        after: t.arg.string({ description: 'A cursor of this list.' }),
        ...filters,
      },
      complexity: (({ first }: { first?: number | null }) => ({ field: 5, multiplier: Math.max(1, first ?? DEFAULT_PAGE_SIZE) })) as never,
      resolve: (async (_parent: unknown, { first, after, ...rest }: Record<string, unknown>, context: GraphqlContext) =>
        callOperation(operation, { ...rest, limit: first, cursor: after }, context)) as never,
    })
  }
  builder.queryField(operation.name, field as never)
}
