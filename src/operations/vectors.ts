/**
 * Directions at hook points that are kept under a name: to be added, projected out, clamped.
 */

import { createHash } from 'node:crypto'
import { type Static, Type } from 'typebox'
import type { VectorRecord } from '../catalog/vectors.js'
import { EngineError } from '../engine/errors.js'
import { tensorBytes } from '../engine/io/element-types.js'
import type { TowerDescription } from '../engine/models/model.js'
import { float32 } from '../engine/tensor.js'
import { Problems, RequestError } from './errors.js'
import { findModel } from './find-model.js'
import { type Context, defineOperation } from './operation.js'
import { Numbers } from './schemas/edit.js'
import { ModelId } from './schemas/model.js'
import { Cursor, DEFAULT_PAGE_SIZE, Limit, pageOf } from './schemas/page.js'
import { Encoding, HookPointName, TensorShape, VectorId } from './schemas/tensor.js'

const fields = {
  id: VectorId,
  model: ModelId,
  hookPoint: HookPointName,
  length: Type.Integer({ description: 'How many numbers it has.' }),
  norm: Type.Number({ description: 'Its length as a vector.' }),
  description: Type.Union([Type.String(), Type.Null()], { description: 'How it was made.' }),
  createdAt: Type.String({ format: 'date-time' }),
}
export const VectorSummaryShape = Type.Object(fields, { title: 'VectorSummary', additionalProperties: false })
const VectorShape = Type.Object({ ...fields, values: TensorShape }, { title: 'Vector', additionalProperties: false })

export const createVector = defineOperation({
  name: 'createVector',
  kind: 'mutation',
  scope: 'write',
  summary: 'Keep a direction at a hook point of a model; edits name it by its id',
  input: Type.Object(
    {
      id: Type.Optional(Type.Unsafe<string>({ ...VectorId, description: 'Made from the content unless given.' })),
      model: ModelId,
      hookPoint: HookPointName,
      values: Type.Unsafe<Static<typeof Numbers>>(Numbers),
      description: Type.Optional(
        Type.String({ minLength: 1, maxLength: 10_000, pattern: '^[^\\u0000]*$', description: 'How it was made.' }),
      ),
    },
    { title: 'CreateVectorInput', additionalProperties: false },
  ),
  output: VectorSummaryShape,

  async run({ catalog }, { id, model: modelId, hookPoint, values: numbers, description = null }) {
    const model = await findModel(catalog, modelId)
    const values = Float32Array.from(numbers)
    requireFit({ vision: model.description.vision, text: model.description.text }, { model: modelId, hookPoint, length: values.length })
    const vector = { id: id ?? idOf({ modelId, hookPoint, values }), modelId, hookPoint, values, description }
    return summarize(await catalog.vectors.create(vector))
  },
})

export const vectors = defineOperation({
  name: 'vectors',
  kind: 'query',
  scope: 'read',
  summary: 'The stored directions, by id',
  input: Type.Object(
    {
      model: Type.Optional(ModelId),
      hookPoint: Type.Optional(HookPointName),
      limit: Type.Optional(Limit),
      cursor: Type.Optional(Cursor),
    },
    { title: 'VectorsInput', additionalProperties: false },
  ),
  output: pageOf('VectorPage', VectorSummaryShape),
  example: { model: 'emoji-clip', limit: 10 },

  async run({ catalog }, { limit = DEFAULT_PAGE_SIZE, ...request }) {
    const { items, nextCursor, cursors, totalCount } = await catalog.vectors.list({ limit, ...request })
    return { items: items.map(summarize), nextCursor, cursors: [...cursors], totalCount }
  },
})

export const vector = defineOperation({
  name: 'vector',
  kind: 'query',
  scope: 'read',
  summary: 'A stored direction, with its numbers',
  input: Type.Object({ id: VectorId, encoding: Type.Optional(Encoding) }, { title: 'VectorByIdInput', additionalProperties: false }),
  output: VectorShape,

  async run({ catalog }, { id }) {
    const found = await findVector(catalog, id)
    return { ...summarize(found), values: float32([found.values.length], found.values) }
  },
})

export const deleteVector = defineOperation({
  name: 'deleteVector',
  kind: 'mutation',
  scope: 'write',
  summary: 'Forget a stored direction; the answer is what it was',
  input: Type.Object({ id: VectorId }, { title: 'DeleteVectorInput', additionalProperties: false }),
  output: VectorSummaryShape,

  async run({ catalog }, { id }) {
    const was = await findVector(catalog, id)
    await catalog.vectors.remove(id)
    return summarize(was)
  },
})

/** @throws VECTOR_UNKNOWN, with the nearest ids */
export async function findVector(catalog: Context['catalog'], id: string): Promise<VectorRecord> {
  const found = await catalog.vectors.get(id)
  if (!found) throw new RequestError('VECTOR_UNKNOWN', { vector: id, known: await catalog.vectors.ids() })
  return found
}

/** The same direction is always of the same name. */
function idOf({ modelId, hookPoint, values }: Pick<VectorRecord, 'modelId' | 'hookPoint' | 'values'>): string {
  const hash = createHash('sha256')
    .update(JSON.stringify([modelId, hookPoint]))
    .update(tensorBytes(float32([values.length], values)))
  return `vector-${hash.digest('hex').slice(0, 16)}`
}

/** @throws HOOK_POINT_UNKNOWN; INPUT_INVALID for a vector of another length than the hook point's last axis */
function requireFit(
  towers: { readonly vision: TowerDescription; readonly text: TowerDescription | undefined },
  { model, hookPoint, length }: { model: string; hookPoint: string; length: number },
): void {
  const lengths = [towers.vision, towers.text].flatMap((tower) => {
    const found = tower?.hookPoints.find(({ name }) => name === hookPoint)
    return found ? [found.shape.at(-1) as number] : []
  })
  const problems = new Problems()
  if (lengths.length === 0) {
    const known = towers.vision.hookPoints.map(({ name }) => name)
    problems.add('hookPoint', new EngineError('HOOK_POINT_UNKNOWN', { hookPoint, model, known }))
  } else if (!lengths.includes(length)) {
    const problem = `has ${length} numbers; ${hookPoint} needs ${[...new Set(lengths)].join(' or ')}, the length of its last axis`
    problems.add('values', new EngineError('INPUT_INVALID', { path: 'values', problem }))
  }
  problems.throwIfAny()
}

function summarize({ id, modelId: model, hookPoint, values, description, createdAt }: VectorRecord) {
  const norm = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0))
  return { id, model, hookPoint, length: values.length, norm, description, createdAt: createdAt.toISOString() }
}
