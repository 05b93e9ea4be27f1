/** Saved runs, as clients ask for them and read them. */

import { type TSchema, Type } from 'typebox'
import { Json } from '../schemas/job.js'
import { ModelId } from '../schemas/model.js'
import { type RunKind, runKinds, savables } from './savable.js'

export const RunId = Type.String({
  'x-scalar': 'ID',
  minLength: 1,
  maxLength: 100,
  description: '`run-` and 32 hex digits, made of what is saved.',
  examples: [`run-${'0'.repeat(32)}`],
})

export const RunKindShape = Type.Enum([...runKinds], { title: 'RunKind', description: 'The operation that is asked, by its name.' })

/** Alternatives by `kind`; GraphQL has none among inputs. */
export const SaveRunShape = Type.Unsafe<{ readonly kind: RunKind; readonly input: unknown }>(
  Type.Union(
    runKinds.map((kind) => {
      const input: TSchema = { ...savables[kind].operation.input, 'x-scalar': 'Json' }
      return Type.Object({ kind: Type.Literal(kind), input }, { additionalProperties: false })
    }),
    { title: 'SaveRunInput', description: 'A request, and the operation that it is one of.' },
  ),
)

const summaryFields = {
  id: RunId,
  kind: RunKindShape,
  model: ModelId,
  codeVersion: Type.String({ description: 'What saved it.' }),
  isCurrent: Type.Boolean({ description: 'Whether these weights are here, so that the answer can be computed again.' }),
  createdAt: Type.String({ format: 'date-time' }),
}

export const RunSummaryShape = Type.Object(summaryFields, { title: 'RunSummary', additionalProperties: false })

export const RunShape = Type.Object(
  {
    ...summaryFields,
    input: Json('The request, complete: pictures by their hashes, stored vectors as numbers, strengths in activations.'),
    weights: Type.Object(
      {
        model: Type.String({ description: 'sha256 of the weights.' }),
        processing: Type.Array(Type.String(), { description: 'What was done to them when they were loaded.' }),
        saes: Type.Array(Type.Object({ sae: Type.String(), sha256: Type.String() }, { title: 'SaeWeights', additionalProperties: false })),
      },
      { title: 'RunWeights', additionalProperties: false },
    ),
  },
  { title: 'Run', additionalProperties: false },
)

const answerOf = <Answer extends TSchema>(answer: Answer) => Type.Union([answer, Type.Null()], { description: 'Of this kind.' })

export const RunResultShape = Type.Object(
  {
    id: RunId,
    kind: RunKindShape,
    forward: answerOf(savables.forward.operation.output),
    steer: answerOf(savables.steer.operation.output),
    steerSweep: answerOf(savables.steerSweep.operation.output),
    patching: answerOf(savables.patching.operation.output),
    pathPatching: answerOf(savables.pathPatching.operation.output),
  },
  { title: 'RunResult', additionalProperties: false },
)
