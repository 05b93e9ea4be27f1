/** Direct logit attribution, as clients ask for it and read it. */

import { type Static, Type } from 'typebox'
import { fixedLimits } from '../limits.js'
import { ImageInputs } from './image.js'
import { ModelId } from './model.js'
import { SaeId } from './sae.js'
import { Targets } from './target.js'
import { Encoding, TensorShape } from './tensor.js'

export const AttributionInputShape = Type.Object(
  {
    model: ModelId,
    inputs: ImageInputs,
    targets: Targets,
    by: Type.Optional(
      Type.Array(
        Type.Enum(['head', 'source', 'token', 'neuron'], {
          title: 'AttributionBy',
          description:
            '`head`: each head. `source`: each head, by the token that it reads from. `token`: each component, by the token that it writes to. `neuron`: the neurons with the largest parts, of each layer.',
        }),
        { maxItems: 4, uniqueItems: true, description: 'What components are taken apart into. Nothing more unless given.' },
      ),
    ),
    saes: Type.Optional(
      Type.Array(SaeId, {
        minItems: 1,
        maxItems: fixedLimits.saes,
        uniqueItems: true,
        'x-limit': 'saes',
        description: 'Whose features are answered, each SAE by itself: at the residual stream, or at what attention or an MLP writes.',
      }),
    ),
    topK: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 2 ** 24,
        description: 'How many neurons of each layer, and features of each SAE; 10 unless given.',
      }),
    ),
    encoding: Type.Optional(Encoding),
  },
  { title: 'AttributionInput', additionalProperties: false },
)

const tensor = (description: string) => Type.Unsafe<Static<typeof TensorShape>>({ ...TensorShape, description })
const optional = (description: string) => Type.Union([TensorShape, Type.Null()], { description })

const PartShape = Type.Object(
  {
    name: Type.String({ description: '`embed`, `pos_embed`, `blocks.3.attn`, `blocks.3.mlp`, or the name of a parameter.' }),
    kind: Type.Enum(['embedding', 'position', 'attention', 'mlp', 'bias'], { title: 'AttributionPartKind' }),
    layer: Type.Union([Type.Integer(), Type.Null()], { description: 'Null before the first block and after the last.' }),
  },
  { title: 'AttributionPart', additionalProperties: false },
)

const amount = {
  value: Type.Number({ description: 'Of the score.' }),
  activation: Type.Number({ description: 'Mean over the tokens that the score reads: of a model that pools CLS, the activation at CLS.' }),
}

const NeuronShape = Type.Object(
  { layer: Type.Integer(), neuron: Type.Integer(), ...amount },
  { title: 'AttributionNeuron', additionalProperties: false },
)
const FeatureShape = Type.Object({ index: Type.Integer(), ...amount }, { title: 'AttributionFeature', additionalProperties: false })

const SaePartShape = Type.Object(
  {
    sae: SaeId,
    hookPoint: Type.String({ description: 'What the SAE stands for; of a transcoder, what it predicts.' }),
    features: Type.Array(Type.Array(Type.Array(FeatureShape)), {
      description: 'For each input and target the features with the largest parts, by size.',
    }),
    sum: tensor('[input, target]: all features together.'),
    bias: tensor(
      "[input, target]: what the decoder adds without features: its bias, the mean that a normalisation took away, a transcoder's skip.",
    ),
    error: tensor('[input, target]: what the SAE leaves out. sum + bias + error is the part of the hook point.'),
  },
  { title: 'AttributionSae', additionalProperties: false },
)

export const AttributionShape = Type.Object(
  {
    model: ModelId,
    targets: Type.Array(Type.String(), { description: 'Names of the targets, in the order of the request.' }),
    score: tensor('[input, target]: a logit, or the temperature times a cosine.'),
    parts: Type.Array(PartShape, { description: 'What the components are of, in the order in which the model computes them.' }),
    components: tensor(
      '[input, target, part]: what each part writes to the score. They sum to it, with the scale of the final norm frozen.',
    ),
    remainder: tensor('[input, target]: the score minus the sum of the components: rounding.'),
    heads: optional('[input, target, layer, head]; null unless asked for by `head`.'),
    sources: optional('[input, target, layer, head, pos]: each head by the token that it reads from; null unless asked for by `source`.'),
    tokens: optional(
      '[input, target, part, pos]: by the token that a part writes to; of `parts` all but the biases at the end that no token carries. Null unless asked for by `token`.',
    ),
    neurons: Type.Union(
      [Type.Array(Type.Array(Type.Array(NeuronShape, { description: 'By layer, and within a layer by size.' }))), Type.Null()],
      { description: 'For each input and target; null unless asked for by `neuron`, and of a model without MLPs.' },
    ),
    saes: Type.Union([Type.Array(SaePartShape), Type.Null()], { description: 'In the order of the request; null unless SAEs were named.' }),
  },
  { title: 'Attribution', additionalProperties: false },
)
