/** Steering, as clients ask for it and read it. */

import { type Static, Type } from 'typebox'
import { ClassifyShape, ClassScoreShape } from '../classify.js'
import { fixedLimits } from '../limits.js'
import { EditShape } from './edit.js'
import { ImageInputs } from './image.js'
import { ModelId } from './model.js'
import { Targets } from './target.js'
import { Encoding, Heads, HookPointName, Positions, TensorShape } from './tensor.js'

export const SteerInputShape = Type.Object(
  {
    model: ModelId,
    inputs: ImageInputs,
    edits: Type.Array(EditShape, { minItems: 1, maxItems: fixedLimits.edits, 'x-limit': 'edits' }),
    classify: Type.Optional(ClassifyShape),
    targets: Type.Optional(Targets),
    topK: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 100_000,
        description: 'How many classes to list for each input, and how many of what moved; 5 unless given.',
      }),
    ),
    controls: Type.Optional(
      Type.Object(
        {
          n: Type.Integer({ minimum: 1, maximum: fixedLimits.controls }),
          seed: Type.Optional(Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1, description: '0 unless given.' })),
        },
        {
          title: 'SteerControls',
          additionalProperties: false,
          description:
            'How many random directions to compare with: at every edited hook point, at each position as long as what the edits add there.',
        },
      ),
    ),
    read: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 200 }), {
        maxItems: fixedLimits.readPatterns,
        'x-limit': 'readPatterns',
        description: 'Hook points whose change is measured; `*` stands for anything within one dot-separated part.',
      }),
    ),
    positions: Type.Optional(Type.Unsafe<Static<typeof Positions>>({ ...Positions, description: 'Of `read`.' })),
    heads: Type.Optional(Type.Unsafe<Static<typeof Heads>>({ ...Heads, description: 'Of `read`.' })),
    values: Type.Optional(Type.Boolean({ description: 'Whether the values of `read` are answered too; false unless given.' })),
    output: Type.Optional(Type.Boolean({ description: 'Whether to answer `output`; true unless given.' })),
    encoding: Type.Optional(Encoding),
  },
  { title: 'SteerInput', additionalProperties: false },
)

const OrNull = Type.Union([Type.Number(), Type.Null()])

const BothShape = Type.Object(
  { default: OrNull, steered: OrNull, change: OrNull },
  { title: 'DefaultAndSteered', additionalProperties: false, description: 'Null where an edit made it infinite or not a number.' },
)

const PairShape = Type.Object({ default: TensorShape, steered: TensorShape }, { title: 'TensorPair', additionalProperties: false })

const SteeredClassesShape = Type.Object(
  { default: Type.Array(ClassScoreShape), steered: Type.Array(ClassScoreShape) },
  { title: 'SteeredClasses', additionalProperties: false, description: 'The most probable classes of each, best first.' },
)

const MovedClassShape = Type.Object(
  { label: Type.String(), index: Type.Integer(), logit: BothShape, probability: BothShape },
  { title: 'MovedClass', additionalProperties: false },
)

const TargetChangeShape = Type.Object(
  {
    target: Type.String(),
    score: BothShape,
  },
  { title: 'TargetChange', additionalProperties: false },
)

const ComparisonShape = Type.Object(
  {
    target: Type.Union([Type.String(), Type.Null()], { description: 'Null where the effect is not on a target.' }),
    effect: OrNull,
    controls: Type.Array(OrNull, { description: 'The effect of each random direction.' }),
    share: Type.Number({ description: 'Which part of the random directions has a smaller effect, of either sign.' }),
  },
  { title: 'ControlComparison', additionalProperties: false },
)

const SteeredImageShape = Type.Object(
  {
    classes: Type.Union([SteeredClassesShape, Type.Null()]),
    moved: Type.Union([Type.Array(MovedClassShape), Type.Null()], { description: 'The classes whose logits changed most, most first.' }),
    isFlipped: Type.Union([Type.Boolean(), Type.Null()], { description: 'Whether another class is the most probable.' }),
    divergence: Type.Union([Type.Number(), Type.Null()], { description: 'KL(default || steered) over the classes, in nats.' }),
    entropy: Type.Union([BothShape, Type.Null()], { description: 'Of the classes, in nats.' }),
    targets: Type.Array(TargetChangeShape),
    controls: Type.Union([Type.Array(ComparisonShape), Type.Null()], {
      description: 'For each target; without targets, of the divergence, or where there are no classes, of the distance of the outputs.',
    }),
  },
  { title: 'SteeredImage', additionalProperties: false },
)

const tensor = (description: string) => Type.Unsafe<Static<typeof TensorShape>>({ ...TensorShape, description })
const HookPointChangeShape = Type.Object(
  {
    hookPoint: HookPointName,
    size: tensor('|steered - default| of each vector: `[image, pos]`, with heads `[image, pos, head]`.'),
    relative: tensor('The same divided by |default|.'),
    cosine: tensor('Between steered and default.'),
    values: Type.Union([PairShape, Type.Null()], { description: 'Where `values` asks for them.' }),
  },
  { title: 'HookPointChange', additionalProperties: false },
)

const PerturbationShape = Type.Object(
  {
    hookPoint: HookPointName,
    size: tensor('|after - before| the edits there, of each vector.'),
    relative: tensor('The same divided by |before|.'),
    mean: Type.Array(OrNull, { description: 'Of `relative`, over what the edits changed; one for each input.' }),
  },
  { title: 'Perturbation', additionalProperties: false },
)

export const SteerShape = Type.Object(
  {
    model: ModelId,
    output: Type.Union([PairShape, Type.Null()], { description: 'Logits, embeddings or pooled features; null when `output` is false.' }),
    images: Type.Array(SteeredImageShape, { description: 'One for each input.' }),
    changes: Type.Array(HookPointChangeShape, { description: 'Of `read`, in firing order.' }),
    perturbations: Type.Array(PerturbationShape, { description: 'Of each edited hook point, in firing order.' }),
  },
  { title: 'Steer', additionalProperties: false },
)
