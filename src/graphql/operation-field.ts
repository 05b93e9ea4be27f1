/**
 * A field of Query or Mutation for an operation.
 */

import type { TSchema } from 'typebox'
import { fixedLimits } from '../operations/limits.js'
import type { Operation } from '../operations/operation.js'
import type { Builder } from './builder.js'
import type { RootFields, TypesFromSchemas } from './from-schema.js'
import { presentTensors } from './tensor-type.js'
import type { GraphqlContext } from './types.js'

/** What a field costs; a query may cost `graphqlComplexity` in all, and most fields cost 1. */
const COST = { read: 5, run: 300, write: 50, admin: 50 } as const

const withBody: ReadonlySet<string> = new Set([
  'attention',
  'attentionPicture',
  'attribution',
  'compareImagePair',
  'compareImages',
  'compareSaes',
  'createJob',
  'createRun',
  'featureAttribution',
  'features',
  'forward',
  'heatmap',
  'logitLens',
  'logitLensPicture',
  'patching',
  'pathPatching',
  'registerDataset',
  'steer',
  'steerSweep',
  'virtualWeights',
])

/**
 * An operation that has a body in REST takes the same JSON here, as `input`; the others take their parameters as arguments.
 */
export function operationField<I extends TSchema, O extends TSchema>(
  builder: Builder,
  types: TypesFromSchemas,
  operation: Operation<I, O>,
): void {
  const { name, kind, scope, summary, input, output } = operation
  const takesBody = withBody.has(name)
  const field = (t: RootFields) =>
    t.field({
      type: types.output(output) as never,
      nullable: true,
      description: summary,
      complexity: { field: takesBody && scope === 'run' ? COST.run : scope === 'run' ? COST.read : COST[scope] },
      args: takesBody ? { input: t.arg({ type: types.input(input) as never, required: true }) } : types.argumentsOf(input, t),
      resolve: ((_parent: unknown, args: Record<string, unknown>, context: GraphqlContext) =>
        callOperation(operation, takesBody ? args.input : args, context)) as never,
    })
  if (kind === 'query') builder.queryField(name, field as never)
  else builder.mutationField(name, field as never)
}

/** Runs an operation and makes its tensors ready to be selected. */
export async function callOperation<I extends TSchema, O extends TSchema>(
  operation: Operation<I, O>,
  args: unknown,
  { invoker, call }: GraphqlContext,
): Promise<unknown> {
  const input = withoutNulls(args) as Record<string, unknown>
  const encoding = input.encoding === 'base64' ? 'base64' : 'nested'
  const maxNumbers = { limit: 'graphqlNumbers', value: fixedLimits.graphqlNumbers } as const
  const output = await invoker.invoke(operation, input, { ...call, ...(encoding === 'nested' && { maxNumbers }) })
  return presentTensors(output, encoding)
}

/** Deeper than any input; a scalar that takes any JSON may go on for ever. */
const MAX_INPUT_DEPTH = 32

/** In GraphQL null stands for an optional value that is not given; elsewhere it would be an error. */
function withoutNulls(value: unknown, depth = 0): unknown {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value) || depth > MAX_INPUT_DEPTH) return value
  if (Array.isArray(value)) {
    return value.some((item) => typeof item === 'object') ? value.map((item) => withoutNulls(item, depth + 1)) : value
  }
  const present = Object.entries(value).filter(([, item]) => item !== null && item !== undefined)
  return Object.fromEntries(present.map(([key, item]) => [key, withoutNulls(item, depth + 1)]))
}
