/**
 * Sweeps as a user asks for them, at once or as a job.
 */

import { type Static, Type } from 'typebox'
import { ClassifyShape } from '../classify.js'
import { fixedLimits } from '../limits.js'
import { VectorShape } from './edit.js'
import { ModelId } from './model.js'
import { Targets } from './target.js'
import { Float, Heads, HookPointName, Positions } from './tensor.js'

const SweepDirectionShape = Type.Object(
  {
    vector: VectorShape,
    hookPoint: Type.Optional(
      Type.Unsafe<string>({
        ...HookPointName,
        description: 'Where it is added. Of a feature the hook point that its SAE writes, and of a stored vector its own, unless given.',
      }),
    ),
    label: Type.Optional(
      Type.String({ minLength: 1, maxLength: 200, description: 'What answers and plots call it; made of what it is unless given.' }),
    ),
  },
  { title: 'SweepDirection', additionalProperties: false },
)

export const DEFAULT_CONTROLS = 20

/** Of a request and of a job; pictures are named in each its own way. */
export const sweepFields = {
  model: ModelId,
  directions: Type.Array(SweepDirectionShape, {
    minItems: 1,
    maxItems: fixedLimits.sweepDirections,
    'x-limit': 'sweepDirections',
    description: 'Features or vectors, each swept by itself.',
  }),
  strengths: Type.Array(Float, {
    minItems: 1,
    maxItems: fixedLimits.sweepStrengths,
    uniqueItems: true,
    'x-limit': 'sweepStrengths',
    description: 'In any order; 0 is the picture as it is and need not be among them.',
  }),
  op: Type.Optional(
    Type.Enum(['add', 'feature-add', 'feature-set'], {
      title: 'SweepOp',
      description:
        "What a strength s does. `add`: x + s v, v the vector. `feature-add` and `feature-set`: x + decode(z') - decode(z), where the latent of the feature becomes z + s, or s. `add` unless given.",
    }),
  ),
  unit: Type.Optional(
    Type.Enum(['raw', 'norm', 'maxActivation'], {
      title: 'StrengthUnit',
      description:
        '`raw`: v as given, latents as they are; `norm`: v scaled to length 1, of `add` only; `maxActivation`: multiples of the largest activation that an index has seen of the feature. `raw` unless given.',
    }),
  ),
  positions: Type.Optional(
    Type.Array(Positions, {
      minItems: 1,
      maxItems: fixedLimits.sweepPositions,
      'x-limit': 'sweepPositions',
      description: 'Each is swept by itself; `["all"]` unless given.',
    }),
  ),
  heads: Type.Optional(Heads),
  targets: Type.Optional(
    Type.Unsafe<Static<typeof Targets>>({
      ...Targets,
      description: 'What curves are of. The labels of `classify` unless given.',
    }),
  ),
  classify: Type.Optional(
    Type.Unsafe<Static<typeof ClassifyShape>>({
      ...ClassifyShape,
      description: 'Labels that probabilities and divergences are over, of a model with a text tower. A classifier has its own classes.',
    }),
  ),
  controls: Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: fixedLimits.sweepControls,
      'x-limit': 'sweepControls',
      description: `Random directions of equal norm that each direction is compared with; ${DEFAULT_CONTROLS} unless given.`,
    }),
  ),
  seed: Type.Optional(Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1, description: 'Of the random directions; 0 unless given.' })),
}

const SweepShape = Type.Object(sweepFields)

export type SweepRequest = Static<typeof SweepShape>

const NumberOrNull = Type.Union([Type.Number(), Type.Null()])
const Curve = (description: string) => Type.Array(NumberOrNull, { description })

const ControlBandShape = Type.Object(
  {
    low: Curve('The quantile 0.05 of their scores.'),
    median: Curve('The median.'),
    high: Curve('The quantile 0.95.'),
    beaten: Curve('The share of them that change the score less, in either direction.'),
    shareBeaten: Type.Union([Type.Number(), Type.Null()], { description: 'The same of the largest changes over all strengths.' }),
  },
  {
    title: 'SweepControls',
    additionalProperties: false,
    description: 'Of random directions of equal norm, each the mean over the images.',
  },
)

export const SweepCurveShape = Type.Object(
  {
    direction: Type.Integer({ description: 'Index into `directions`.' }),
    positions: Type.Integer({ description: 'Index into `positions`.' }),
    target: Type.Integer({ description: 'Index into `targets`.' }),
    default: Type.Union([Type.Number(), Type.Null()], { description: 'The score without it.' }),
    scores: Curve('Of each strength. Null where a strength made it infinite or not a number.'),
    probabilities: Type.Union([Curve('Of each strength.'), Type.Null()], {
      description: 'Among the labels of `classify`, or the classes of a classifier; null where the target is none of them.',
    }),
    slope: Type.Union([Type.Number(), Type.Null()], { description: 'Of the score at strength 0, per unit of strength.' }),
    halfEffectStrength: Type.Union([Type.Number(), Type.Null()], {
      description: 'Where the score has first changed by half of its largest change, going from 0 towards that.',
    }),
    largestChange: Type.Union([Type.Number(), Type.Null()], { description: 'Of the score, in either direction.' }),
    controls: Type.Union([ControlBandShape, Type.Null()], { description: 'Null with `controls` 0.' }),
  },
  {
    title: 'SweepCurve',
    additionalProperties: false,
    description: 'Of one direction, at one choice of positions, for one target: the mean over the images.',
  },
)

export const SweepCollateralShape = Type.Object(
  {
    direction: Type.Integer(),
    positions: Type.Integer(),
    scoreChange: Curve('Of each strength the mean, over images and targets, of the absolute change of the score.'),
    divergence: Type.Union([Curve('Mean Kullback-Leibler divergence from the answers without it, in nats.'), Type.Null()]),
    flips: Type.Union([Curve('Share of the images whose most probable answer is another.'), Type.Null()]),
  },
  { title: 'SweepCollateral', additionalProperties: false, description: 'What a direction does to the images of the control set.' },
)

export const SweptDirectionShape = Type.Object(
  {
    label: Type.String(),
    hookPoint: HookPointName,
    norm: Type.Number({ description: 'How long what a strength of 1 adds is; before what an SAE scales its output by.' }),
  },
  { title: 'SweptDirection', additionalProperties: false },
)

export const SweepEstimateShape = Type.Object(
  {
    points: Type.Integer({ description: 'Runs from the hook point on: directions, random ones, positions, strengths, images.' }),
    msPerPoint: Type.Number({ description: 'Measured.' }),
    ms: Type.Number({ description: 'For all points.' }),
  },
  { title: 'SweepEstimate', additionalProperties: false },
)

/** What an answer and a job's report have in common. */
export const sweptFields = {
  model: ModelId,
  op: Type.String(),
  unit: Type.String(),
  strengths: Type.Array(Type.Number(), { description: 'In the order of the request.' }),
  targets: Type.Array(Type.String()),
  directions: Type.Array(SweptDirectionShape),
  positions: Type.Array(Type.String(), { description: 'The choices of positions, in words.' }),
  controls: Type.Integer({ description: 'Random directions.' }),
  seed: Type.Integer(),
  curves: Type.Array(SweepCurveShape, { description: 'Directions in order, of each its positions, of each the targets.' }),
  collateral: Type.Union([Type.Array(SweepCollateralShape), Type.Null()], { description: 'Null without a control set.' }),
  estimate: SweepEstimateShape,
}
