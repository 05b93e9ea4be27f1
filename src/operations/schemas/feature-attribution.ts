/** Feature attribution, as clients ask for it and read it. */

import { type Static, Type } from 'typebox'
import { fixedLimits } from '../limits.js'
import { ImageInputs } from './image.js'
import { ModelId } from './model.js'
import { SaeId } from './sae.js'
import { TargetShape } from './target.js'
import { LatentIndex } from './tensor.js'

const Position = Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1, description: 'Of the token: 0 is CLS where the model has one.' })

const threshold = (title: string, { most, maximum, share }: { most: number; maximum: number; share: number }) =>
  Type.Object(
    {
      most: Type.Optional(Type.Integer({ minimum: 1, maximum, description: `At most so many; ${most} unless given.` })),
      share: Type.Optional(
        Type.Number({ minimum: 0, maximum: 1, description: `No more than make up this share of all, by size; ${share} unless given.` }),
      ),
    },
    { title, additionalProperties: false, description: 'The most important ones are kept.' },
  )

/** Unless given. */
export const attributionDefaults = { nodes: { most: 60, share: 0.8 }, edges: { most: 200, share: 0.9 } } as const

export const FeatureAttributionInputShape = Type.Object(
  {
    model: ModelId,
    inputs: Type.Unsafe<Static<typeof ImageInputs>>({
      ...ImageInputs,
      maxItems: fixedLimits.attributedInputs,
      'x-limit': 'attributedInputs',
      description: 'Pictures, each with a graph of its own.',
    }),
    target: Type.Optional(TargetShape),
    feature: Type.Optional(
      Type.Object(
        { sae: SaeId, index: LatentIndex, position: Position },
        { title: 'FeatureAtPosition', additionalProperties: false, description: 'In place of `target`: a feature at a position.' },
      ),
    ),
    saes: Type.Optional(
      Type.Array(SaeId, {
        maxItems: fixedLimits.saes,
        uniqueItems: true,
        'x-limit': 'saes',
        description: 'SAEs and transcoders whose features are nodes, one at a hook point; beside that of `feature`.',
      }),
    ),
    heads: Type.Optional(Type.Boolean({ description: 'Whether heads are nodes; if not, attention is passed through. True unless given.' })),
    freeze: Type.Optional(
      Type.Object(
        {
          attention: Type.Optional(Type.Boolean({ description: 'Attention patterns.' })),
          norms: Type.Optional(
            Type.Boolean({ description: "The scales of LayerNorms, of SAEs' inputs, and the length of the embedding." }),
          ),
        },
        { title: 'FreezeInput', additionalProperties: false, description: 'What counts as a constant; true unless given.' },
      ),
    ),
    nodes: Type.Optional(threshold('NodeThreshold', { ...attributionDefaults.nodes, maximum: 500 })),
    edges: Type.Optional(threshold('EdgeThreshold', { ...attributionDefaults.edges, maximum: 10_000 })),
  },
  { title: 'FeatureAttributionInput', additionalProperties: false },
)

const orNull = <S extends Parameters<typeof Type.Union>[0][number]>(schema: S, description?: string) =>
  Type.Union([schema, Type.Null()], description === undefined ? {} : { description })

const InputsShape = Type.Object(
  {
    value: Type.Number({ description: "What is read, before biases: of a feature its pre-activation without the encoder's bias." }),
    fromNodes: Type.Number({
      description: 'What all nodes before it add, kept or not. The rest are biases of the model and, through MLPs, what is not linear.',
    }),
    fromKept: Type.Number({ description: 'What the kept nodes add.' }),
  },
  { title: 'AttributionInputs', additionalProperties: false },
)

const NodeShape = Type.Object(
  {
    kind: Type.Enum(['feature', 'error', 'head', 'token'], { title: 'AttributionNodeKind' }),
    hookPoint: Type.String({ description: 'Where it is.' }),
    position: Position,
    attribution: Type.Number({
      description: 'Gradient of the target times what is there: what of the target goes through this node, in all.',
    }),
    sae: orNull(SaeId, 'Of a feature and an error.'),
    index: orNull(Type.Integer(), 'Of a feature.'),
    activation: orNull(Type.Number(), 'Of a feature.'),
    layer: orNull(Type.Integer(), 'Of a head.'),
    head: orNull(Type.Integer()),
    inputs: orNull(InputsShape, 'Of a feature and a head.'),
  },
  { title: 'FeatureAttributionNode', additionalProperties: false },
)

const EdgeShape = Type.Object(
  {
    from: Type.Integer({ description: 'A place in `nodes`.' }),
    to: Type.Integer({ description: 'A place in `nodes`; -1: the target.' }),
    weight: Type.Number({
      description:
        "What the one adds to the other directly, past all nodes in between: to a feature's pre-activation, to what the target takes of a head, to the target.",
    }),
    influence: Type.Number({ description: 'What of the target goes along this edge.' }),
  },
  { title: 'FeatureAttributionEdge', additionalProperties: false },
)

const GraphShape = Type.Object(
  {
    value: Type.Number({ description: "What is attributed: a score; of a feature its pre-activation without the encoder's bias." }),
    inputs: InputsShape,
    completeness: orNull(Type.Number(), 'The share of `value` that the kept nodes add to it directly. Null where it is 0.'),
    keptShare: Type.Number({ description: 'The share of all attributions, by size, that the kept nodes have.' }),
    sources: Type.Object(
      {
        tokens: Type.Number(),
        errors: Type.Number({ description: 'What the SAEs leave out.' }),
        biases: Type.Number({ description: 'Of the model, of encoders, and what decoders add without features.' }),
        remainder: Type.Number({ description: 'Rounding where all that is not frozen is linear; else what gradients do not say.' }),
      },
      { title: 'AttributionSources', additionalProperties: false, description: 'Where `value` comes from in the end; they sum to it.' },
    ),
    features: Type.Array(
      Type.Object(
        { sae: SaeId, hookPoint: Type.String(), sum: Type.Number(), size: Type.Number() },
        {
          title: 'AttributionOfSae',
          additionalProperties: false,
          description: 'All features of an SAE together: their sum, and that of their sizes.',
        },
      ),
    ),
    nodes: Type.Array(NodeShape, { description: 'In the order in which the model computes them.' }),
    edges: Type.Array(EdgeShape, { description: 'By the size of their influence, the largest first.' }),
  },
  { title: 'FeatureAttributionGraph', additionalProperties: false },
)

export const FeatureAttributionShape = Type.Object(
  {
    model: ModelId,
    target: Type.String({ description: 'Its name.' }),
    graphs: Type.Array(GraphShape, { description: 'One for each input.' }),
  },
  { title: 'FeatureAttribution', additionalProperties: false },
)
