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
import { findVector } from './vectors.js'

/** What the requests that can be kept have in common. */
export interface KeptInput {
  readonly inputs: readonly ({ readonly image: ImageInputValue } | { readonly text: string })[]
  readonly edits?: readonly EditInput[]
  readonly encoding?: unknown
}

/** @throws all problems at once: INPUT_INVALID of what cannot be kept, IMAGE_UNKNOWN, VECTOR_UNKNOWN, FEATURES_UNKNOWN */
export async function frozen<Input extends KeptInput>(
  context: Context,
  { encoding: _, ...input }: Input,
  call: Call,
): Promise<Omit<Input, 'encoding'>> {
  const problems = new Problems()
  const inputs = []
  for (const [index, each] of input.inputs.entries()) {
    inputs.push(
      'image' in each ? { image: await keptImage(context, each.image, { path: `inputs[${index}].image`, problems, call }) } : each,
    )
  }
  const edits: EditInput[] = []
  for (const [index, edit] of (input.edits ?? []).entries()) {
    edits.push(
      (await attempt(problems, `edits[${index}]`, () => frozenEdit(context, edit, { path: `edits[${index}]`, problems, call }))) ?? edit,
    )
  }
  problems.throwIfAny()
  return { ...input, inputs, ...(input.edits && { edits }) } as Omit<Input, 'encoding'>
}

/** Equal contents have equal texts, whatever the order of their fields. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, each) => {
    const isRecord = typeof each === 'object' && each !== null && !Array.isArray(each)
    return isRecord ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1))) : each
  })
}

export const runId = (content: unknown) => `run-${createHash('sha256').update(canonical(content)).digest('hex').slice(0, 32)}`

interface At {
  readonly path: string
  readonly problems: Problems
  readonly call: Call
}

async function keptImage({ catalog, host }: Context, image: ImageInputValue, { path, problems, call }: At): Promise<string> {
  const kept = await attempt(problems, path, async () => {
    if (typeof image === 'string') return (await findImage(catalog, image)).id
    const bytes = decodeBase64(image.base64, path)
    const { format, width, height } = await host.inspectImage(bytes, call.signal)
    return (await catalog.images.put(bytes, { format, width, height })).id
  })
  return kept ?? ''
}

async function frozenEdit(context: Context, edit: EditInput, at: At): Promise<EditInput> {
  const { path } = at
  if (edit.op === 'patch' && edit.from.cache !== undefined) {
    const problem = 'is of a cached run, which is forgotten after a while; only what can be computed again can be kept'
    throw new EngineError('INPUT_INVALID', { path: `${path}.from.cache`, problem }, [{ path: `${path}.from.cache`, message: problem }])
  }
  const counted = await inActivations(context, edit, path)
  if (!('vector' in counted) || counted.vector === undefined) return counted
  return { ...counted, vector: await frozenVector(context, counted.vector, at) }
}

async function frozenVector(context: Context, vector: VectorInput, at: At): Promise<VectorInput> {
  if ('id' in vector) return Array.from((await findVector(context.catalog, vector.id)).values)
  if (!('difference' in vector)) return vector
  const { of, from } = vector.difference
  const side = async (images: readonly ImageInputValue[], name: string) => {
    const kept: string[] = []
    for (const [index, image] of images.entries()) {
      kept.push(await keptImage(context, image, { ...at, path: `${at.path}.vector.difference.${name}[${index}]` }))
    }
    return kept
  }
  return { difference: { of: await side(of, 'of'), from: await side(from, 'from') } }
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
