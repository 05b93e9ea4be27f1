/**
 * Edits as a user writes them: one shape for each operation, told apart by `op`.
 */

import { type Static, type TProperties, Type } from 'typebox'
import { MAX_FEATURES } from '../../engine/interventions/validate-features.js'
import { ClassifyTemplates } from '../classify.js'
import { fixedLimits } from '../limits.js'
import { ImageInput } from './image.js'
import { SaeId } from './sae.js'
import { CacheId, Float, Heads, HookPointName, LatentIndex, Positions, VectorId } from './tensor.js'

export const MAX_VECTOR = 1_000_000

export const Numbers = Type.Array(Float, { minItems: 1, maxItems: MAX_VECTOR, description: 'As long as the last axis of the hook point.' })

const Text = Type.String({ minLength: 1, maxLength: 500 })
const Pictures = Type.Array(ImageInput, { minItems: 1, maxItems: fixedLimits.differenceImages, 'x-limit': 'differenceImages' })

/** A direction: its numbers, or where they come from. */
export const VectorShape = Type.Union(
  [
    Numbers,
    Type.Object({ id: VectorId }, { additionalProperties: false }),
    Type.Object({ sae: SaeId, feature: LatentIndex }, { additionalProperties: false }),
    Type.Object({ text: Text, minus: Type.Optional(Text), templates: ClassifyTemplates }, { additionalProperties: false }),
    Type.Object(
      { difference: Type.Object({ of: Pictures, from: Pictures }, { additionalProperties: false }) },
      { additionalProperties: false },
    ),
  ],
  {
    title: 'VectorInput',
    description:
      'Numbers, as many as the last axis of the hook point is long; or `{"id": ...}`, a stored vector; or `{"sae": ..., "feature": ...}`, the row of the decoder that the feature writes; `{"text": ..., "minus": ...}`, the direction of the residual stream that CLIP reads as the text (less another one); `{"difference": {"of": [images], "from": [images]}}`, the mean of the hook point over the one set less that over the other, at the positions and heads of the edit.',
  },
)

export type VectorInput = Static<typeof VectorShape>

const target = {
  hookPoint: HookPointName,
  positions: Type.Optional(Positions),
  heads: Type.Optional(Heads),
}

/** On the latents z of an SAE, at the hook point that it writes. */
const ofFeatures = {
  hookPoint: Type.Optional(
    Type.Unsafe<string>({
      ...HookPointName,
      description: 'The hook point that the SAE writes, which need not be said; another one is an error.',
    }),
  ),
  positions: Type.Optional(Positions),
  sae: SaeId,
  keepError: Type.Optional(
    Type.Boolean({
      description:
        "Whether what the SAE does not explain stays: x + decode(z') - decode(z), which is true unless given; or x becomes decode(z').",
    }),
  ),
}

const FeatureUnit = Type.Optional(
  Type.Enum(['raw', 'maxActivation'], {
    title: 'FeatureUnit',
    description:
      '`raw`: activations as they are; `maxActivation`: in multiples of the largest activation that an index has seen of each feature. `raw` unless given.',
  }),
)

const changed = <P extends TProperties>(properties: P) =>
  Type.Array(Type.Object({ feature: LatentIndex, ...properties }, { additionalProperties: false }), {
    minItems: 1,
    maxItems: MAX_FEATURES,
    description: 'Each feature once.',
  })

const featureEdit = <Op extends string, P extends TProperties>(op: Op, description: string, properties: P) =>
  Type.Object({ ...ofFeatures, op: Type.Literal(op), ...properties }, { description, additionalProperties: false })

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
      vector: VectorShape,
      strength: Type.Optional(Type.Unsafe<number>({ ...Float, description: '1 unless given.' })),
      unit: Type.Optional(
        Type.Enum(['raw', 'norm', 'maxActivation'], {
          title: 'StrengthUnit',
          description:
            '`raw`: v as given; `norm`: v scaled to length 1; `maxActivation`: v times the largest activation that an index has seen of the feature. `raw` unless given.',
        }),
      ),
    }),
    edit('set', 'v', { vector: VectorShape }),
    edit('set', 'every element becomes `value`', { value: Float }),
    edit('scale', 'strength x', { strength: Float }),
    edit('zero', '0', {}),
    edit('mean', 'the mean over the inputs of this request, or `vector` where a mean was stored', { vector: Type.Optional(VectorShape) }),
    edit('project-out', 'x - (x u) u, where u = v / |v|', { vector: VectorShape }),
    edit('clamp-projection', 'x + (clamp(x u, min, max) - x u) u, where u = v / |v|', {
      vector: VectorShape,
      min: Type.Optional(Float),
      max: Type.Optional(Float),
    }),
    edit('patch', 'the value that the hook point has in another run', { from: PatchSourceShape }),
    featureEdit('feature-add', 'z + strength', { features: changed({ strength: Float }), unit: FeatureUnit }),
    featureEdit('feature-set', 'value', { features: changed({ value: Float }), unit: FeatureUnit }),
    featureEdit('feature-scale', 'strength z', { features: changed({ strength: Float }) }),
    featureEdit('feature-clamp', 'clamp(z, min, max)', {
      features: changed({ min: Type.Optional(Float), max: Type.Optional(Float) }),
      unit: FeatureUnit,
    }),
    featureEdit('feature-ablate', '0', { features: changed({}) }),
    featureEdit('reconstruct', 'z: the SAE is put in the way, which without its error changes x', {}),
  ],
  {
    title: 'Edit',
    description:
      'Replaces the value x of a hook point for everything downstream. Several edits apply in order. `feature-...` and `reconstruct` change the latents z of an SAE, at the hook point that it writes.',
  },
)

export type EditInput = Static<typeof EditShape>

export const Edits = Type.Array(EditShape, { maxItems: fixedLimits.edits, 'x-limit': 'edits' })
