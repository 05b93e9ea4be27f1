/**
 * A list as a Relay connection: `first` and `after` are REST's `limit` and `cursor`, and cursors are the same.
 */

import type { OutputRef } from '@pothos/core'
import type { TSchema } from 'typebox'
import { fixedLimits } from '../operations/limits.js'
import type { Operation } from '../operations/operation.js'
import { DEFAULT_PAGE_SIZE } from '../operations/schemas/page.js'
import type { Builder } from './builder.js'
import type { OutputFields, RootFields, Source, TypesFromSchemas } from './from-schema.js'
import { callOperation } from './operation-field.js'
import type { GraphqlContext } from './types.js'

interface PageAnswer {
  readonly items: readonly Source[]
  readonly cursors: readonly string[]
  readonly nextCursor: string | null
  readonly totalCount: number
}

interface Connection<I extends TSchema, O extends TSchema> {
  /** Answers pages. */
  readonly operation: Operation<I, O>
  readonly node: OutputRef
  readonly name: string
}

/** A field of Query. @returns the type of the connection */
export function connectionField<I extends TSchema, O extends TSchema>(
  builder: Builder,
  types: TypesFromSchemas,
  connection: Connection<I, O>,
): OutputRef {
  const type = connectionType(builder, connection)
  const { operation } = connection
  builder.queryField(operation.name, ((t: RootFields) => t.field(listField(types, t, { operation, type }) as never)) as never)
  return type
}

/** The same list as a field of an object, which gives some of the operation's input: of an SAE its features. */
export function nestedConnectionField<I extends TSchema, O extends TSchema>(
  builder: Builder,
  types: TypesFromSchemas,
  about: {
    readonly operation: Operation<I, O>
    readonly type: OutputRef
    readonly on: OutputRef
    readonly name: string
    /** Input fields from the parent; they are no arguments. */
    readonly given: (parent: Source) => Record<string, unknown>
    readonly givenNames: readonly string[]
  },
): void {
  const { on, name } = about
  builder.objectField(on as never, name, ((t: OutputFields) => t.field(listField(types, t as never, about) as never)) as never)
}

interface ListField<I extends TSchema, O extends TSchema> {
  readonly operation: Operation<I, O>
  readonly type: OutputRef
  readonly given?: (parent: Source) => Record<string, unknown>
  readonly givenNames?: readonly string[]
}

function listField<I extends TSchema, O extends TSchema>(
  types: TypesFromSchemas,
  t: RootFields,
  { operation, type, given = () => ({}), givenNames = [] }: ListField<I, O>,
) {
  const notArguments = new Set(['limit', 'cursor', ...givenNames])
  const filters = Object.entries(types.argumentsOf(operation.input, t)).filter(([name]) => !notArguments.has(name))
  return {
    type,
    nullable: true,
    description: operation.summary,
    args: {
      first: t.arg.int({ description: `At most ${fixedLimits.pageSize}; ${DEFAULT_PAGE_SIZE} unless given.` }),
      after: t.arg.string({ description: 'A cursor of this list.' }),
      ...Object.fromEntries(filters),
    },
    complexity: ({ first }: { first?: number | null }) => ({ field: 5, multiplier: Math.max(1, first ?? DEFAULT_PAGE_SIZE) }),
    resolve: (parent: Source, { first, after, ...rest }: Record<string, unknown>, context: GraphqlContext) =>
      callOperation(operation, { ...rest, ...given(parent), limit: first, cursor: after }, context),
  }
}

function connectionType(builder: Builder, { node, name }: { readonly node: OutputRef; readonly name: string }): OutputRef {
  const edge = builder.objectRef<{ node: Source; cursor: string }>(`${name}Edge`).implement({
    fields: (t) => ({
      cursor: t.exposeString('cursor'),
      node: t.field({ type: node as never, resolve: (parent) => parent.node as never }),
    }),
  })
  return builder.objectRef<PageAnswer>(`${name}Connection`).implement({
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
}
