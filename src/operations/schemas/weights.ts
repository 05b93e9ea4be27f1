/** What weights alone say of heads and of features: what clients ask, and what they read. */

import { type Static, Type } from 'typebox'
import { fixedLimits } from '../limits.js'
import { ModelId } from './model.js'
import { SaeId } from './sae.js'
import { Encoding, Heads, HookPointName, LatentIndex, TensorShape } from './tensor.js'

const orNull = <S extends Parameters<typeof Type.Union>[0][number]>(schema: S, description?: string) =>
  Type.Union([schema, Type.Null()], description === undefined ? {} : { description })
const tensor = (description: string) => Type.Unsafe<Static<typeof TensorShape>>({ ...TensorShape, description })

const Layers = (description: string) =>
  Type.Array(Type.Integer({ minimum: 0, maximum: 10_000 }), { minItems: 1, maxItems: 1000, uniqueItems: true, description })

// --- circuits of heads

export const WeightCircuitsInputShape = Type.Object(
  {
    model: ModelId,
    layer: Type.Optional(Layers('Of these blocks; of all unless given.')),
    head: Type.Optional(Type.Unsafe<number[]>({ ...Heads, description: 'These heads of each block; all unless given.' })),
  },
  { title: 'WeightCircuitsInput', additionalProperties: false },
)

const CircuitShape = Type.Object(
  {
    singularValues: Type.Array(Type.Number(), { description: 'Largest first; the others of the dModel x dModel matrix are 0.' }),
    frobenius: Type.Number({ description: 'Root of the sum of squares.' }),
    spectral: Type.Number({ description: 'The largest singular value.' }),
    effectiveRank: Type.Number({ description: 'Exponential of the entropy of the singular values (Roy and Vetterli 2007).' }),
    stableRank: Type.Number({ description: 'Sum of squares over the largest square.' }),
    eigenvalueScore: Type.Number({
      description: 'Sum of the real parts of the eigenvalues over the sum of their sizes, -1 to 1. Of OV: the copying score.',
    }),
    positiveEigenvalues: Type.Number({ description: 'Share of the eigenvalues that are not 0 with a positive real part.' }),
  },
  { title: 'WeightCircuit', additionalProperties: false },
)

export const WeightCircuitsShape = Type.Object(
  {
    model: ModelId,
    heads: Type.Array(
      Type.Object(
        {
          layer: Type.Integer(),
          head: Type.Integer(),
          ov: Type.Unsafe<Static<typeof CircuitShape>>({ ...CircuitShape, description: 'W_O W_V: what it writes of what it looks at.' }),
          qk: Type.Unsafe<Static<typeof CircuitShape>>({
            ...CircuitShape,
            description: "W_Q' W_K: where it looks; not divided by sqrt(dHead).",
          }),
        },
        { title: 'HeadCircuits', additionalProperties: false },
      ),
    ),
  },
  { title: 'WeightCircuits', additionalProperties: false },
)

// --- composition

export const HeadCompositionInputShape = Type.Object(
  {
    model: ModelId,
    from: Type.Optional(Layers('Blocks whose heads write; all unless given.')),
    to: Type.Optional(Layers('Blocks whose heads read; all unless given.')),
    topK: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, description: 'How many pairs to list; 20 unless given.' })),
    encoding: Type.Optional(Encoding),
  },
  { title: 'HeadCompositionInput', additionalProperties: false },
)

const HeadKeyShape = Type.Object({ layer: Type.Integer(), head: Type.Integer() }, { title: 'HeadKey', additionalProperties: false })

export const HeadCompositionShape = Type.Object(
  {
    model: ModelId,
    from: Type.Array(Type.Integer()),
    to: Type.Array(Type.Integer()),
    baseline: Type.Number({ description: 'Root mean square of the score were the writer turned at random: 1 / sqrt(dModel).' }),
    strongest: Type.Array(
      Type.Object(
        {
          from: HeadKeyShape,
          to: HeadKeyShape,
          kind: Type.Enum(['q', 'k', 'v'], { title: 'CompositionKind' }),
          score: Type.Number(),
          ratio: Type.Number({ description: 'Over the baseline.' }),
        },
        { title: 'HeadPair', additionalProperties: false },
      ),
      { description: 'Largest score first.' },
    ),
    q: tensor('[to, head, from, head]: what queries take of what a head of an earlier block writes. NaN where it is not earlier.'),
    k: tensor('The same of keys.'),
    v: tensor('The same of values.'),
  },
  { title: 'HeadComposition', additionalProperties: false },
)

// --- geometry of a decoder

export const SaeGeometryInputShape = Type.Object(
  {
    sae: SaeId,
    mlpLayer: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 10_000,
        description:
          "The block whose neurons' output weights rows are compared with; unless given, the one whose MLP output the SAE writes.",
      }),
    ),
    full: Type.Optional(Type.Boolean({ description: 'Whether to answer the numbers of each feature; false unless given.' })),
    encoding: Type.Optional(Encoding),
  },
  { title: 'SaeGeometryInput', additionalProperties: false },
)

const SpreadShape = Type.Object(
  {
    min: Type.Number(),
    lowerQuartile: Type.Number(),
    median: Type.Number(),
    upperQuartile: Type.Number(),
    max: Type.Number(),
    mean: Type.Number(),
  },
  { title: 'Spread', additionalProperties: false },
)

const spread = (description: string) => Type.Unsafe<Static<typeof SpreadShape>>({ ...SpreadShape, description })
const full = (description: string) => orNull(TensorShape, `${description} Null unless "full".`)

export const SaeGeometryShape = Type.Object(
  {
    sae: SaeId,
    model: ModelId,
    hookPoint: Type.Unsafe<string>({ ...HookPointName, description: 'What its decoder writes.' }),
    width: Type.Integer(),
    norms: spread('Lengths of the decoder rows.'),
    nearest: spread('Of each row the largest cosine with another one.'),
    above90: Type.Number({ description: 'Share of the rows with another one at a cosine above 0.9.' }),
    effectiveDimension: Type.Number({
      description: 'Participation ratio of the second moments of the unit rows: dOut where they fill all dimensions alike.',
    }),
    answer: orNull(
      Type.Object(
        {
          rank: Type.Integer({ description: 'Dimensions of the residual stream that the answer of the model is read from.' }),
          share: orNull(SpreadShape, 'Of the squared length of a row, how much lies in them; null where they are all dimensions.'),
          expected: orNull(Type.Number(), 'The same of a row turned at random: rank / dModel.'),
          classCosine: orNull(SpreadShape, 'Of a classifier: the largest cosine of a row with the direction of a class.'),
        },
        { title: 'AnswerAlignment', additionalProperties: false },
      ),
      'How rows lie to what the answer is read by, through the gain of the final LayerNorm. Null where the SAE does not write to the residual stream, or the answer is not read from one token or their mean.',
    ),
    neurons: orNull(
      Type.Object(
        {
          layer: Type.Integer(),
          cosine: Type.Unsafe<Static<typeof SpreadShape>>({ ...SpreadShape, description: 'Size of the cosine with the best neuron.' }),
          above90: Type.Number({ description: 'Share of the rows of which it is above 0.9.' }),
          expected: Type.Number({ description: 'About what the best of as many directions at random has: sqrt(2 ln(2 n) / d).' }),
        },
        { title: 'NeuronAlignment', additionalProperties: false },
      ),
    ),
    rowNorms: full('float32 [features].'),
    nearestLatents: full('int32 [features]: the nearest other row; -1 of a row without a length.'),
    nearestCosines: full('float32 [features].'),
    answerShares: full('float32 [features].'),
    classIndices: full('int32 [features]: the class with the largest cosine.'),
    classCosines: full('float32 [features].'),
    neuronIndices: full('int32 [features]: the neuron whose cosine is farthest from 0.'),
    neuronCosines: full('float32 [features], with their signs.'),
  },
  { title: 'SaeGeometry', additionalProperties: false },
)

// --- virtual weights

const Features = Type.Array(LatentIndex, {
  minItems: 1,
  maxItems: fixedLimits.virtualFeatures,
  uniqueItems: true,
  'x-limit': 'virtualFeatures',
  description: 'Of the upstream SAE; all of them unless given, and then the largest edges of all.',
})

export const VirtualWeightsInputShape = Type.Object(
  {
    upstream: Type.Unsafe<string>({ ...SaeId, description: 'The SAE whose features write to the residual stream.' }),
    downstream: Type.Optional(Type.Unsafe<string>({ ...SaeId, description: 'The SAE whose features read from it.' })),
    heads: Type.Optional(Layers('Blocks whose heads read from it, instead of a downstream SAE; needs "features".')),
    features: Type.Optional(Features),
    topK: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 1000,
        description: 'Edges of each feature, or of all together where none are named; 10 unless given.',
      }),
    ),
    encoding: Type.Optional(Encoding),
  },
  { title: 'VirtualWeightsInput', additionalProperties: false },
)

const ReadingShape = Type.Object(
  {
    feature: LatentIndex,
    layer: Type.Integer(),
    head: Type.Integer(),
    kind: Type.Enum(['q', 'k', 'v'], { title: 'HeadReadingKind', description: 'Queries, keys or values.' }),
    length: Type.Number({ description: 'Of the row, made of length 1, through the weights.' }),
    ratio: Type.Number({ description: 'Over the root mean square of directions at random.' }),
  },
  { title: 'HeadReading', additionalProperties: false },
)

export const VirtualWeightsShape = Type.Object(
  {
    model: ModelId,
    upstream: SaeId,
    downstream: orNull(SaeId),
    edges: orNull(
      Type.Array(
        Type.Object(
          {
            from: Type.Unsafe<number>({ ...LatentIndex, description: 'Upstream feature.' }),
            to: Type.Unsafe<number>({ ...LatentIndex, description: 'Downstream feature.' }),
            weight: Type.Number({
              description: 'What its pre-activation gains for each unit of the upstream activation, LayerNorm scales taken as 1.',
            }),
            cosine: Type.Number({ description: 'Of the row as it arrives with the column of the encoder.' }),
          },
          { title: 'VirtualWeight', additionalProperties: false },
        ),
      ),
      'Feature by feature, or of all, the largest size first; null without a downstream SAE.',
    ),
    readings: orNull(Type.Array(ReadingShape), 'Of each feature the heads that read it most, by ratio; null unless asked for by "heads".'),
    q: orNull(TensorShape, '[features, layers, heads]: lengths; null unless asked for by "heads".'),
    k: orNull(TensorShape),
    v: orNull(TensorShape),
  },
  { title: 'VirtualWeights', additionalProperties: false },
)
