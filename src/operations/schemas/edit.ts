/**
 * Edits as a user writes them: one shape for each operation, told apart by `op`.
 */

import { type Static, type TProperties, Type } from 'typebox'
import { fixedLimits } from '../limits.js'
import { SaeId } from './sae.js'
import { CacheId, Float, Heads, HookPointName, LatentIndex, Positions, VectorId } from './tensor.js'

export const MAX_VECTOR = 1_000_000

export const Numbers = Type.Array(Float, { minItems: 1, maxItems: MAX_VECTOR, description: 'As long as the last axis of the hook point.' })

/** A direction: its numbers, a stored vector, or the row of a feature in its SAE's decoder. */
const Vector = Type.Union(
  [
    Numbers,
    Type.Object({ id: VectorId }, { additionalProperties: false }),
    Type.Object({ sae: SaeId, feature: LatentIndex }, { additionalProperties: false }),
  ],
  {
    title: 'VectorInput',
    description:
      'Numbers, as many as the last axis of the hook point is long; or `{"id": ...}`, a stored vector; or `{"sae": ..., "feature": ...}`, the row of the decoder that the feature writes.',
  },
)

export type VectorInput = Static<typeof Vector>

const target = {
  hookPoint: HookPointName,
  positions: Type.Optional(Positions),
  heads: Type.Optional(Heads),
}

const edit = <Op extends string, P extends TProperties>(op: Op, description: string, properties: P) =>
  Type.Object({ ...target, op: Type.Literal(op), ...properties }, { description, additionalProperties: false })

export const PatchSourceShape = Type.Object(
  {
    input: Type.Optional(
      Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1, description: 'Index of an input: of this request, or of the cached run.' }),
    ),
    cache: Type.Optional(CacheId),
  },
  {
    title: 'PatchSource',
    additionalProperties: false,
    minProperties: 1,
    description: 'Another input of this request (`input`), or a cached run (`cache`; with `input`, one row of it for every input).',
  },
)

export const EditShape = Type.Union(
  [
    edit('add', 'x + strength v', {
      vector: Vector,
      strength: Type.Optional(Type.Unsafe<number>({ ...Float, description: '1 unless given.' })),
      unit: Type.Optional(
        Type.Enum(['raw', 'norm', 'maxActivation'], {
          title: 'StrengthUnit',
          description:
            '`raw`: v as given; `norm`: v scaled to length 1; `maxActivation`: v times the largest activation that an index has seen of the feature. `raw` unless given.',
        }),
      ),
    }),
    edit('set', 'v', { vector: Vector }),
    edit('set', 'every element becomes `value`', { value: Float }),
    edit('scale', 'strength x', { strength: Float }),
    edit('zero', '0', {}),
    edit('mean', 'the mean over the inputs of this request, or `vector` where a mean was stored', { vector: Type.Optional(Vector) }),
    edit('project-out', 'x - (x u) u, where u = v / |v|', { vector: Vector }),
    edit('clamp-projection', 'x + (clamp(x u, min, max) - x u) u, where u = v / |v|', {
      vector: Vector,
      min: Type.Optional(Float),
      max: Type.Optional(Float),
    }),
    edit('patch', 'the value that the hook point has in another run', { from: PatchSourceShape }),
  ],
  {
    title: 'Edit',
    description: 'Replaces the value x of a hook point for everything downstream. Several edits apply in order.',
  },
)

export type EditInput = Static<typeof EditShape>

export const Edits = Type.Array(EditShape, { maxItems: fixedLimits.edits, 'x-limit': 'edits' })
