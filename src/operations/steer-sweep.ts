/**
 * Features or vectors in many strengths, at several choices of positions, over some images: how the answer follows the dose, compared with random
 * directions of equal norm, and what it does to images that are not meant.
 */

import { type Static, Type } from 'typebox'
import { planSweep, type SweepPlan } from '../engine/analyses/steering/sweep-plan.js'
import type { Preprocessing } from '../engine/image/preprocessing.js'
import type { Column } from '../engine/io/arrow-table.js'
import type { Tensor } from '../engine/tensor.js'
import { RequestError } from './errors.js'
import { findModel } from './find-model.js'
import { loadInputs } from './load-inputs.js'
import { type Call, type Context, defineOperation } from './operation.js'
import { ImageInput, ImageInputs } from './schemas/image.js'
import { sweepFields, sweptFields } from './schemas/sweep.js'
import { Encoding, TensorShape } from './schemas/tensor.js'
import { type ResolvedSweep, resolveSweep } from './sweep/resolve-sweep.js'
import { expectedTime, requireSize, runSweep } from './sweep/run-sweep.js'
import { type SweptTensors, sweptAnswer, sweptPlot, sweptTable, sweptTensors } from './sweep/sweep-answer.js'

const SweepInput = Type.Object(
  {
    ...sweepFields,
    inputs: ImageInputs,
    controlImages: Type.Optional(
      Type.Array(ImageInput, { description: 'On which nothing should change: collateral is measured on them, and nothing else.' }),
    ),
    plot: Type.Optional(Type.Boolean({ description: 'Whether to draw the curves; false unless given.' })),
    encoding: Type.Optional(Encoding),
  },
  { title: 'SteerSweepInput', additionalProperties: false },
)

const perImage = (description: string) => Type.Union([TensorShape, Type.Null()], { description })

const SteerSweepShape = Type.Object(
  {
    ...sweptFields,
    defaultScores: perImage('Without any direction: `[image, target]`.'),
    scores: perImage('`[image, direction, positions, strength, target]`'),
    probabilities: perImage('The same; NaN of a target that is none of the answers. Null without answers to choose from.'),
    divergences: perImage(
      'Kullback-Leibler divergence of the answers from those without, in nats: `[image, direction, positions, strength]`.',
    ),
    slopes: perImage('`[image, direction, positions, target]`, NaN where there is none.'),
    halfEffectStrengths: perImage('The same.'),
    plot: Type.Union([Type.String(), Type.Null()], { description: 'The curves as SVG, with `plot`.' }),
  },
  { title: 'SteerSweep', additionalProperties: false },
)

export const steerSweep = defineOperation({
  name: 'steerSweep',
  kind: 'query',
  scope: 'run',
  summary: 'Features or vectors in many strengths: dose-response curves, against random directions of equal norm',
  input: SweepInput,
  output: SteerSweepShape,
  example: {
    model: 'emoji-clip',
    directions: [{ vector: { sae: 'emoji-clip.3-resid-post.topk-16-x8-all', feature: 7 } }],
    strengths: [-2, -1, -0.5, 0.5, 1, 2],
    unit: 'maxActivation',
    inputs: [{ image: `sha256:${'0'.repeat(64)}` }],
    classify: { labels: ['cat', 'dog', 'flag'] },
  },

  async run(context, input, call) {
    const { sweep, plan } = await checkSweep(context, input, call)
    const nCurvePoints = plan.directions.length * plan.places.length * plan.strengths.length * plan.targets.length
    const pictures = await loadPictures(context, input, { preprocessing: sweep.model.description.preprocessing, call })
    const pictureOf = async (image: number) => pictures[image]!
    const run = { context, sweep, plan, pictureOf, signal: call.signal }
    // what would take a year is told so, whatever else it is too large for
    const expected = await expectedTime(run)
    requireSize(plan)
    requireNumbers(nCurvePoints * (NUMBERS_OF_CURVES + NUMBERS_OF_IMAGES * plan.nImages), call)
    const { results, measured } = await runSweep(run)
    call.timing('run', measured.ms)
    const answer = sweptAnswer(results, sweep)
    return { ...answer, estimate: expected ?? measured, ...sweptTensors(results), plot: input.plot ? sweptPlot(answer) : null }
  },
})

/** Everything that can be refused before any picture is decoded. @throws all problems at once */
export async function checkSweep(
  context: Context,
  { inputs, controlImages = [], plot: _, encoding: __, ...request }: Static<typeof SweepInput>,
  call: Call,
): Promise<{ readonly sweep: ResolvedSweep; readonly plan: SweepPlan }> {
  requireImages(context, inputs.length + controlImages.length)
  const sweep = await resolveSweep(context, request, { model: await findModel(context.catalog, request.model), call })
  return { sweep, plan: planSweep({ ...sweep, nImages: inputs.length, nCollateral: controlImages.length }) }
}

/** A row for each point of each image. */
export function sweepColumns({
  strengths,
  directions,
  positions,
  targets,
  ...tensors
}: Static<typeof SteerSweepShape>): Record<string, Column> {
  return sweptTable(tensors as SweptTensors, { strengths, directions: directions.map(({ label }) => label), positions, targets })
}

/** Of each point of a curve: its score and probability, what random directions do; and of each image. */
const [NUMBERS_OF_CURVES, NUMBERS_OF_IMAGES] = [6, 3]

function requireImages({ config }: Context, given: number): void {
  const maximum = config.maxInputsPerRequest
  if (given <= maximum) return
  const instead = 'Send several smaller requests, or make it a job (POST /v1/jobs, kind "sweep").'
  throw new RequestError('LIMIT_EXCEEDED', { limit: 'inputs', given, maximum, what: 'images', instead })
}

function requireNumbers(given: number, { maxNumbers }: Call): void {
  if (!maxNumbers || given <= maxNumbers.value) return
  const instead = 'Ask for "encoding": "base64", over REST for Accept: application/x-npz, or make it a job.'
  throw new RequestError('LIMIT_EXCEEDED', {
    limit: maxNumbers.limit,
    given,
    maximum: maxNumbers.value,
    what: 'numbers in the answer',
    instead,
  })
}

async function loadPictures(
  context: Context,
  { inputs, controlImages = [] }: Static<typeof SweepInput>,
  { preprocessing, call }: { readonly preprocessing: Preprocessing; readonly call: Call },
): Promise<readonly Tensor<'float32'>[]> {
  const load = async (about: Pick<Parameters<typeof loadInputs>[1], 'inputs' | 'path'>) => {
    const loaded = await loadInputs(context, { ...about, preprocessing }, call)
    return loaded.kind === 'pictures' ? loaded.pictures : []
  }
  return [...(await load({ inputs })), ...(await load({ inputs: controlImages.map((image) => ({ image })), path: 'controlImages' }))]
}
