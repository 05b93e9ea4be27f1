/** Activation patching, as clients ask for it and read it. */

import { type Static, Type } from 'typebox'
import { components } from '../../engine/analyses/patching/grid.js'
import { patchingMethods } from '../../engine/analyses/patching/patching.js'
import { ClassifyShape } from '../classify.js'
import { fixedLimits } from '../limits.js'
import { ImageInput } from './image.js'
import { ModelId } from './model.js'
import { SaeId } from './sae.js'
import { TargetShape } from './target.js'
import { Encoding, LatentIndex, TensorShape } from './tensor.js'

const Images = (description: string) => Type.Array(ImageInput, { minItems: 1, maxItems: 4096, description })
const Seed = Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1, description: 'Equal seeds, equal numbers; 0 unless given.' })
const Patch = Type.Object(
  { row: Type.Integer({ minimum: 0, maximum: 4095 }), col: Type.Integer({ minimum: 0, maximum: 4095 }) },
  { title: 'PatchInput', additionalProperties: false },
)

const CorruptionShape = Type.Union(
  [
    Type.Object(
      {
        kind: Type.Literal('noise'),
        strength: Type.Optional(
          Type.Number({ exclusiveMinimum: 0, maximum: 100, description: 'Standard deviation, of the normalised picture; 1 unless given.' }),
        ),
        seed: Type.Optional(Seed),
      },
      { description: 'Normal noise added.', additionalProperties: false },
    ),
    Type.Object(
      {
        kind: Type.Literal('blur'),
        radius: Type.Optional(
          Type.Number({
            minimum: 0.1,
            maximum: 100,
            description: 'Standard deviation of the Gaussian, in pixels of the prepared picture; 8 unless given.',
          }),
        ),
      },
      { description: 'Blurred.', additionalProperties: false },
    ),
    Type.Object(
      {
        kind: Type.Literal('mask'),
        patches: Type.Array(Patch, { minItems: 1, maxItems: 65_536, description: 'Become the mean of the picture.' }),
      },
      { description: 'Patches masked.', additionalProperties: false },
    ),
    Type.Object(
      { kind: Type.Literal('mean'), images: Images('Whose mean every picture becomes.') },
      { description: 'The mean of pictures.', additionalProperties: false },
    ),
  ],
  { title: 'Corruption', description: 'How corrupted pictures are made of the clean ones.' },
)

const SourceShape = Type.Union(
  [
    Type.Object({ kind: Type.Literal('other') }, { description: 'The other run of the pair.', additionalProperties: false }),
    Type.Object(
      { kind: Type.Literal('mean'), images: Images('Over which values are averaged.') },
      { description: 'The mean over a set of pictures (mean ablation).', additionalProperties: false },
    ),
    Type.Object(
      {
        kind: Type.Literal('resample'),
        images: Images('From which pictures are drawn.'),
        draws: Type.Optional(
          Type.Integer({ minimum: 1, maximum: 1000, description: 'For each pair; their results are averaged. 1 unless given.' }),
        ),
        seed: Type.Optional(Seed),
      },
      { description: 'Pictures drawn from a set (resample ablation).', additionalProperties: false },
    ),
  ],
  { title: 'PatchingSource', description: 'Whose values are put into a run; `other` unless given.' },
)

const MetricShape = Type.Union(
  [
    Type.Object(
      { kind: Type.Literal('score'), target: TargetShape },
      { description: 'The score of a target: a logit, or with `difference` the difference of two.', additionalProperties: false },
    ),
    Type.Object(
      {
        kind: Type.Literal('probability'),
        target: TargetShape,
      },
      { description: 'The probability of a class, or of a text that is one of the labels of `classify`.', additionalProperties: false },
    ),
    Type.Object(
      { kind: Type.Literal('kl') },
      { description: 'KL(clean || run) in nats, over the classes or the labels of `classify`.', additionalProperties: false },
    ),
    Type.Object({ kind: Type.Literal('cosine') }, { description: "Of the output with the clean run's.", additionalProperties: false }),
  ],
  { title: 'PatchingMetric', description: 'What runs are judged by.' },
)

const Direction = Type.Enum(['denoise', 'noise'], {
  title: 'PatchingDirection',
  description: '`denoise` (unless given): clean values are put into the corrupted run; `noise`: corrupted values into the clean run.',
})

/** Fields of both: grids and paths. */
const pairFields = {
  model: ModelId,
  clean: Images('Clean pictures.'),
  corrupted: Type.Optional(Images('As many: the first is of a pair with the first clean one, and so on.')),
  corruption: Type.Optional(CorruptionShape),
  direction: Type.Optional(Direction),
  source: Type.Optional(SourceShape),
  metric: MetricShape,
  classify: Type.Optional(ClassifyShape),
  positions: Type.Optional(
    Type.Array(Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 }), {
      minItems: 1,
      maxItems: 100_000,
      uniqueItems: true,
      description: 'Where values are put; 0 is CLS where the model has one. Everywhere unless given.',
    }),
  ),
  plot: Type.Optional(Type.Boolean({ description: 'Whether to draw the grid; false unless given.' })),
  encoding: Type.Optional(Encoding),
}

export const PatchingInputShape = Type.Object(
  {
    ...pairFields,
    over: Type.Optional(
      Type.Enum(['heads', 'components', 'positions', 'patches', 'features'], {
        title: 'PatchingOver',
        description:
          '`heads` (unless given): layers x heads, at `hook_z`. `components`: layers x components. `positions`: components x layers x positions. `patches`: rows x columns of the picture. `features`: latents of an SAE.',
      }),
    ),
    layers: Type.Optional(
      Type.Array(Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 }), {
        minItems: 1,
        maxItems: 1000,
        uniqueItems: true,
        description: 'All unless given.',
      }),
    ),
    components: Type.Optional(
      Type.Array(Type.Enum([...components], { title: 'PatchingComponent' }), {
        minItems: 1,
        maxItems: components.length,
        uniqueItems: true,
        description: 'By the ends of their hook points. Unless given `attn_out`, `mlp_out` and `resid_pre`, of positions `resid_pre`.',
      }),
    ),
    sae: Type.Optional(SaeId),
    features: Type.Optional(
      Type.Array(LatentIndex, { minItems: 1, maxItems: fixedLimits.patchedFeatures, uniqueItems: true, 'x-limit': 'patchedFeatures' }),
    ),
    methods: Type.Optional(
      Type.Array(Type.Enum([...patchingMethods], { title: 'PatchingMethod' }), {
        minItems: 1,
        maxItems: patchingMethods.length,
        uniqueItems: true,
        description:
          '`patching` (unless given): every cell is run. `attribution`: its linear approximation, by one gradient. `integrated-gradients`: the gradient averaged along the way. Of several, approximations are answered with their correlation to `patching`.',
      }),
    ),
    steps: Type.Optional(Type.Integer({ minimum: 1, maximum: 256, description: 'Of integrated gradients; 16 unless given.' })),
  },
  { title: 'PatchingInput', additionalProperties: false },
)

export type PatchingRequest = Static<typeof PatchingInputShape>

const tensor = (description: string) => Type.Unsafe<Static<typeof TensorShape>>({ ...TensorShape, description })
const optional = (description: string) => Type.Union([TensorShape, Type.Null()], { description })

const judgedFields = {
  model: ModelId,
  metric: Type.String({ description: 'What the numbers are: the target, or the kind of the metric.' }),
  direction: Direction,
  clean: tensor('The metric of the clean runs, `[pair]`.'),
  corrupted: optional('Of the corrupted runs; null where there are none.'),
}

const cellsFields = {
  values: tensor('The metric of the patched runs, or what the method takes it to be: `[pair, ...axes]`.'),
  normalized: optional(
    '(value - corrupted) / (clean - corrupted): 0 is the corrupted run, 1 the clean one. NaN where the two are equal. Null without corrupted runs.',
  ),
  mean: optional('The same of means over all pairs, `[...axes]`.'),
}

const AxisShape = Type.Object(
  {
    name: Type.Enum(['component', 'layer', 'head', 'position', 'row', 'column', 'feature'], { title: 'PatchingAxisName' }),
    labels: Type.Array(Type.String()),
  },
  { title: 'PatchingAxis', additionalProperties: false },
)

const GridShape = Type.Object(
  { method: Type.Enum([...patchingMethods], { title: 'PatchingMethod' }), ...cellsFields },
  { title: 'PatchingGrid', additionalProperties: false },
)

const CorrelationShape = Type.Object(
  {
    method: Type.Enum([...patchingMethods], { title: 'PatchingMethod' }),
    pearson: Type.Union([Type.Number(), Type.Null()], {
      description: 'Over all cells of all pairs, of how they change the metric; null where nothing varies.',
    }),
    spearman: Type.Union([Type.Number(), Type.Null()], { description: 'The same of ranks.' }),
  },
  { title: 'PatchingCorrelation', additionalProperties: false },
)

const CompletenessShape = Type.Object(
  {
    pair: Type.Integer(),
    what: Type.String({ description: 'What was moved: the hook points of a layer, one after the other, or the features together.' }),
    sum: Type.Number({ description: 'Of what its cells contribute.' }),
    difference: Type.Number({ description: "The metric with all of it the other run's, less that of the run that is patched." }),
    remainder: Type.Number({ description: '`difference - sum`: what too few steps leave.' }),
  },
  { title: 'PatchingCompleteness', additionalProperties: false },
)

export const PatchingShape = Type.Object(
  {
    ...judgedFields,
    axes: Type.Array(AxisShape),
    grids: Type.Array(GridShape, { description: 'By method, in the order of the request.' }),
    correlations: Type.Array(CorrelationShape, { description: 'Of approximations with `patching`, where both were asked for.' }),
    completeness: Type.Union([Type.Array(CompletenessShape), Type.Null()], { description: 'Of integrated gradients.' }),
    plot: Type.Union([Type.String(), Type.Null()], { description: 'The first method as SVG, with `plot`.' }),
  },
  { title: 'Patching', additionalProperties: false },
)

export type PatchingAnswer = Static<typeof PatchingShape>

const layer = Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 })
const component = <Kind extends string>(kind: Kind, description: string) =>
  Type.Object({ component: Type.Literal(kind), layer }, { description, additionalProperties: false })
const inputs = Type.Optional(
  Type.Array(Type.Enum(['q', 'k', 'v'], { title: 'HeadInput' }), {
    minItems: 1,
    maxItems: 3,
    uniqueItems: true,
    description: 'All three unless given.',
  }),
)
const head = { component: Type.Literal('head'), layer, head: Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 }) }

const WriterShape = Type.Union(
  [
    Type.Object(head, { description: 'One head.', additionalProperties: false }),
    component('attn', 'All heads of a layer.'),
    component('mlp', 'An MLP.'),
    Type.Object({ component: Type.Literal('embed') }, { description: 'What enters the first block.', additionalProperties: false }),
  ],
  { title: 'PathWriter', description: 'A component that writes to the residual stream.' },
)

const ReaderShape = Type.Union(
  [
    Type.Object({ ...head, inputs }, { description: 'The queries, keys and values of one head.', additionalProperties: false }),
    Type.Object(
      { component: Type.Literal('attn'), layer, inputs },
      { description: 'Those of all heads of a layer.', additionalProperties: false },
    ),
    component('mlp', 'An MLP.'),
    Type.Object({ component: Type.Literal('output') }, { description: 'The final norm, pooling and head.', additionalProperties: false }),
  ],
  { title: 'PathReader', description: 'A component that reads the residual stream.' },
)

export type WriterInput = Static<typeof WriterShape>
export type ReaderInput = Static<typeof ReaderShape>

export const PathPatchingInputShape = Type.Object(
  {
    ...pairFields,
    senders: Type.Array(WriterShape, {
      minItems: 1,
      maxItems: fixedLimits.pathEnds,
      'x-limit': 'pathEnds',
      description: 'What speaks: each by itself.',
    }),
    receivers: Type.Array(ReaderShape, {
      minItems: 1,
      maxItems: fixedLimits.pathEnds,
      'x-limit': 'pathEnds',
      description: 'What listens: each by itself.',
    }),
    through: Type.Optional(
      Type.Array(WriterShape, {
        maxItems: 4096,
        description: 'Components that the path may lead through. None unless given: the direct path.',
      }),
    ),
    throughAll: Type.Optional(Type.Boolean({ description: 'Whether the path may lead through every component; false unless given.' })),
  },
  { title: 'PathPatchingInput', additionalProperties: false },
)

export type PathPatchingRequest = Static<typeof PathPatchingInputShape>

export const PathPatchingShape = Type.Object(
  {
    ...judgedFields,
    senders: Type.Array(Type.String(), { description: '`L2H1`: head 1 of layer 2; `attn 2`, `mlp 2`, `embed`.' }),
    receivers: Type.Array(Type.String(), { description: 'The same, with inputs after a dot (`L4H0.q`); `output`.' }),
    ...cellsFields,
    plot: Type.Union([Type.String(), Type.Null()], { description: 'As SVG, with `plot`.' }),
  },
  { title: 'PathPatching', additionalProperties: false },
)

export type PathPatchingAnswer = Static<typeof PathPatchingShape>

export type PairsRequest = Pick<
  PatchingRequest,
  'clean' | 'corrupted' | 'corruption' | 'direction' | 'source' | 'metric' | 'classify' | 'model' | 'positions'
>
