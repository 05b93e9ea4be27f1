/**
 * A request as it is kept: whatever it names that can change or go away is replaced by what it is now. Pictures are stored and named by their
 * hashes, stored vectors become their numbers, and multiples of the largest activations become activations.
 */

import { createHash } from 'node:crypto'
import { EngineError } from '../engine/errors.js'
import { largestActivations } from './edits/edit-saes.js'
import { Problems } from './errors.js'
import { findImage } from './images.js'
import { decodeBase64 } from './load-inputs.js'
import type { Call, Context } from './operation.js'
import type { EditInput, VectorInput } from './schemas/edit.js'
import type { ImageInputValue } from './schemas/image.js'
import type { SweepRequest } from './schemas/sweep.js'
import { findVector } from './vectors.js'

type SweptDirection = SweepRequest['directions'][number]

/** Whatever a request has beside pictures that does not stay as it is. */
export interface KeptInput {
  readonly edits?: readonly EditInput[]
  /** Of a sweep. */
  readonly directions?: readonly SweptDirection[]
  readonly unit?: string
  readonly encoding?: unknown
}

/** @throws all problems at once: INPUT_INVALID of what cannot be kept, IMAGE_UNKNOWN, VECTOR_UNKNOWN, FEATURES_UNKNOWN */
export async function frozen<Input extends KeptInput>(
  context: Context,
  { encoding: _, ...input }: Input,
  call: Call,
): Promise<Omit<Input, 'encoding'>> {
  const problems = new Problems()
  const kept = (await withPicturesKept(input, '', { context, problems, call })) as Omit<Input, 'encoding'>
  const each = <T>(list: readonly T[], name: string, freeze: (item: T, path: string) => Promise<T>) =>
    inTurn(list, async (item, index) => {
      const path = `${name}[${index}]`
      return (await attempt(problems, path, () => freeze(item, path))) ?? item
    })
  const { edits, directions, unit } = kept
  if (directions && unit === 'maxActivation') problems.add('unit', new EngineError('INPUT_INVALID', { path: 'unit', problem: OF_AN_INDEX }))
  const frozenParts = {
    ...(edits && { edits: await each(edits, 'edits', (edit, path) => frozenEdit(context, edit, path)) }),
    ...(directions && { directions: await each(directions, 'directions', (direction) => frozenDirection(context, direction)) }),
  }
  problems.throwIfAny()
  return { ...kept, ...frozenParts }
}

/** Equal contents have equal texts, whatever the order of their fields. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, each) => {
    const isRecord = typeof each === 'object' && each !== null && !Array.isArray(each)
    return isRecord ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1))) : each
  })
}

export const runId = (content: unknown) => `run-${createHash('sha256').update(canonical(content)).digest('hex').slice(0, 32)}`

const OF_AN_INDEX =
  '"maxActivation" counts in what an index has seen, which another index changes; only what can be computed again can be kept. Give strengths as activations ("raw")'

interface At {
  readonly context: Context
  readonly problems: Problems
  readonly call: Call
}

/** The fields of requests that hold pictures: one, or a list of them. */
const pictureFields: ReadonlySet<string> = new Set(['image', 'images', 'controlImages', 'clean', 'corrupted', 'of', 'from'])

/** A request, or part of one, with every picture named by its id. */
async function withPicturesKept(value: unknown, path: string, at: At): Promise<unknown> {
  if (Array.isArray(value)) {
    // numbers by the thousand hold no pictures
    if (!value.some((item) => typeof item === 'object')) return value
    return inTurn(value, (item, index) => withPicturesKept(item, `${path}[${index}]`, at))
  }
  if (typeof value !== 'object' || value === null) return value
  const kept: Record<string, unknown> = {}
  for (const [name, field] of Object.entries(value)) {
    const place = path === '' ? name : `${path}.${name}`
    const keep = (item: unknown, where: string) => (isPicture(item) ? keptImage(item, where, at) : withPicturesKept(item, where, at))
    if (!pictureFields.has(name)) kept[name] = await withPicturesKept(field, place, at)
    else if (Array.isArray(field)) kept[name] = await inTurn(field, (item, index) => keep(item, `${place}[${index}]`))
    else kept[name] = await keep(field, place)
  }
  return kept
}

const isPicture = (value: unknown): value is ImageInputValue =>
  typeof value === 'string' || (typeof value === 'object' && value !== null && 'base64' in value)

async function inTurn<T, R>(items: readonly T[], make: (item: T, index: number) => Promise<R>): Promise<R[]> {
  const made: R[] = []
  for (const [index, item] of items.entries()) made.push(await make(item, index))
  return made
}

async function keptImage(image: ImageInputValue, path: string, { context, problems, call }: At): Promise<string> {
  const { catalog, host } = context
  const kept = await attempt(problems, path, async () => {
    if (typeof image === 'string') return (await findImage(catalog, image)).id
    const bytes = decodeBase64(image.base64, path)
    const { format, width, height } = await host.inspectImage(bytes, call.signal)
    return (await catalog.images.put(bytes, { format, width, height })).id
  })
  return kept ?? ''
}

async function frozenEdit(context: Context, edit: EditInput, path: string): Promise<EditInput> {
  if (edit.op === 'patch' && edit.from.cache !== undefined) {
    const problem = 'is of a cached run, which is forgotten after a while; only what can be computed again can be kept'
    throw new EngineError('INPUT_INVALID', { path: `${path}.from.cache`, problem }, [{ path: `${path}.from.cache`, message: problem }])
  }
  const counted = await inActivations(context, edit, path)
  if (!('vector' in counted) || counted.vector === undefined) return counted
  return { ...counted, vector: await frozenVector(context, counted.vector) }
}

/** With the name and the place that a stored vector gives it. */
async function frozenDirection(context: Context, direction: SweptDirection): Promise<SweptDirection> {
  const { vector } = direction
  if (Array.isArray(vector) || !('id' in vector)) return direction
  const { id, hookPoint, values } = await findVector(context.catalog, vector.id)
  return { hookPoint, label: id, ...direction, vector: Array.from(values) }
}

async function frozenVector(context: Context, vector: VectorInput): Promise<VectorInput> {
  return 'id' in vector ? Array.from((await findVector(context.catalog, vector.id)).values) : vector
}

/** Strengths in units of an index, in activations. */
async function inActivations({ catalog }: Context, edit: EditInput, path: string): Promise<EditInput> {
  if (!('unit' in edit) || edit.unit !== 'maxActivation') return edit
  if (edit.op === 'add') {
    const { vector } = edit
    // what is of no feature is refused where the edit is checked
    if (Array.isArray(vector) || !('sae' in vector)) return edit
    const [most] = await largestActivations(catalog, { sae: vector.sae, features: [vector.feature] }, () => `${path}.unit`)
    return { ...edit, unit: 'raw', strength: (edit.strength ?? 1) * most! }
  }
  const features = edit.features.map(({ feature }) => feature)
  const most = await largestActivations(catalog, { sae: edit.sae, features }, (index) => `${path}.features[${index}].feature`)
  const numbers = ['strength', 'value', 'min', 'max'] as const
  const changed = (edit.features as readonly Record<string, number>[]).map((each, index) => ({
    ...each,
    ...Object.fromEntries(numbers.flatMap((name) => (each[name] === undefined ? [] : [[name, each[name] * most[index]!]]))),
  }))
  return { ...edit, unit: 'raw', features: changed } as unknown as EditInput
}

async function attempt<T>(problems: Problems, path: string, make: () => Promise<T>): Promise<T | undefined> {
  try {
    return await make()
  } catch (error) {
    return problems.collect(path, () => {
      throw error
    })
  }
}
