/**
 * Tensors, hook-point names and positions, as clients write and read them.
 */

import { Type } from 'typebox'
import type { Tensor } from '../../engine/tensor.js'

/**
 * A tensor of an answer. Operations return the engine's tensor; the door writes it as the client asked. The schema is the JSON form.
 */
export const TensorShape = Type.Unsafe<Tensor>({
  title: 'Tensor',
  description: 'Row-major. `data` is nested lists, or with `"encoding": "base64"` the little-endian bytes as base64.',
  type: 'object',
  required: ['shape', 'dtype', 'data'],
  additionalProperties: false,
  properties: {
    shape: { type: 'array', items: { type: 'integer', minimum: 0 } },
    dtype: { type: 'string', enum: ['float32', 'float64', 'int32', 'int64', 'uint8', 'bool'] },
    encoding: { type: 'string', enum: ['base64'], description: 'Absent for nested lists.' },
    data: {
      description: 'Nested lists of numbers ("NaN", "Infinity" and "-Infinity" where they are not finite), or a base64 string.',
      'x-scalar': 'TensorData',
    },
  },
})

/** Tensors by hook point. GraphQL has no maps, so there it is a list of pairs, named by `entry`. */
export const Activations = Type.Unsafe<Readonly<Record<string, Tensor>>>({
  description: 'By hook point, in firing order.',
  type: 'object',
  additionalProperties: TensorShape,
  'x-entry': { title: 'Activation', key: 'hookPoint', value: 'tensor' },
})

export const Encoding = Type.Enum(['json', 'base64'], {
  title: 'Encoding',
  description: 'How tensors are written: `json` (nested numbers, the default) or `base64` (little-endian bytes). Binary forms ignore it.',
})

export const HookPointName = Type.String({
  minLength: 1,
  maxLength: 200,
  description: 'As in TransformerLens: `blocks.9.hook_resid_post`.',
})

export const Positions = Type.Union(
  [
    Type.Enum(['all', 'cls', 'patches']),
    Type.Array(Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 }), { minItems: 1, maxItems: 100_000, uniqueItems: true }),
    Type.Array(Type.Boolean(), { minItems: 1, maxItems: 100_000 }),
  ],
  {
    title: 'Positions',
    description:
      '`all`, `cls`, `patches`, a list of indices, or a mask: true or false for each position. Position 0 is CLS where the model has one, then registers, then patches row by row. On attention scores and patterns they are query positions.',
  },
)

export const Heads = Type.Array(Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 }), {
  minItems: 1,
  maxItems: 10_000,
  uniqueItems: true,
  description: 'Head indices. Only at hook points that have a head axis.',
})

const FLOAT32_MAX = 3.4028234663852886e38

/** A number that a float32 can hold. */
export const Float = Type.Number({ minimum: -FLOAT32_MAX, maximum: FLOAT32_MAX })

/** A feature: the latent of an SAE. */
export const LatentIndex = Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1, description: 'Of the feature: the latent of the SAE.' })

export const VectorId = Type.String({
  'x-scalar': 'ID',
  pattern: '^[a-z0-9][a-z0-9._-]{0,99}$',
  description: 'The id of a stored vector: small letters, digits, `.`, `_` and `-`.',
  examples: ['red'],
})

export const CacheId = Type.String({ 'x-scalar': 'ID', minLength: 1, maxLength: 200, description: '`cache` of an answer.' })
