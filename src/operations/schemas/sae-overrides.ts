/** What a client knows better of an SAE than its files say. */

import { Type } from 'typebox'
import { HookPointName } from './tensor.js'

export const SaeOverridesShape = Type.Object(
  {
    hookPoint: Type.Optional(HookPointName),
    hookPointOut: Type.Optional(HookPointName),
    normalization: Type.Optional(
      Type.Enum(['none', 'layer_norm', 'constant_norm_rescale'], { title: 'InputNormalization', description: "Of the SAE's input." }),
    ),
    k: Type.Optional(Type.Number({ minimum: 0.001, maximum: 2 ** 24, description: 'Of a top-k SAE.' })),
    skip: Type.Optional(
      Type.Enum(['linear', 'linear-and-identity'], {
        title: 'SkipFormula',
        description: "Of a transcoder: x W_skip', or x (I + W_skip'). Measured, where the model is here, unless given.",
      }),
    ),
  },
  {
    title: 'SaeOverrides',
    additionalProperties: false,
    description: 'Of an SAE: what is known better than its files say. It is recorded.',
  },
)
