/**
 * The same pictures with and without edits, side by side, and what changed: the classes, the answer as a whole, any hook point; and how much
 * of it random directions of equal length would have changed.
 */

import type { Static } from 'typebox'
import { type ModelRecord, modelSource } from '../catalog/catalog.js'
import type { HookPointChange, Pair, SteerInput as SteerAnalysis, SteerOutput } from '../engine/analyses/steering/steer-contract.js'
import { bestOf, divergence, entropyOf, probabilitiesOf } from '../engine/distributions.js'
import { matchHookPoints } from '../engine/hook-points.js'
import type { AxisSelection } from '../engine/interventions/selection.js'
import type { HookPointInfo, VisionConfig } from '../engine/models/model.js'
import { elementCount, type Tensor } from '../engine/tensor.js'
import { checkClassify, embedLabels, rankClasses } from './classify.js'
import { stackPictures } from './drawn/stack-pictures.js'
import { type ResolvedEdits, resolveEdits } from './edits/resolve-edits.js'
import { Problems, RequestError } from './errors.js'
import { findModel } from './find-model.js'
import { fixedLimits, type LimitName } from './limits.js'
import { loadInputs } from './load-inputs.js'
import { type Call, type Context, defineOperation } from './operation.js'
import { type CheckedTargets, checkTargets, resolveTargets } from './resolve-targets.js'
import { SteerInputShape, SteerShape } from './schemas/steer.js'
import { type RowSelector, selectedShape, selectRows, takeRows } from './select-rows.js'

export type SteerInput = Static<typeof SteerInputShape>
type Steer = Static<typeof SteerShape>

const DEFAULT_TOP_K = 5

export const steer = defineOperation({
  name: 'steer',
  kind: 'query',
  scope: 'run',
  summary: 'The same pictures with and without edits, side by side, and what changed',
  input: SteerInputShape,
  output: SteerShape,
  example: {
    model: 'emoji-clip',
    inputs: [{ image: `sha256:${'0'.repeat(64)}` }],
    edits: [
      { op: 'feature-add', sae: 'emoji-clip.4-resid-post.vanilla-x8-all', features: [{ feature: 12, strength: 4 }], unit: 'maxActivation' },
    ],
    classify: { labels: ['cat', 'dog', 'flag'] },
    targets: [{ text: 'a red flag' }],
    controls: { n: 32 },
  },

  async run(context, input, call) {
    const model = await findModel(context.catalog, input.model)
    const plan = await planSteer(context, { model, input, call })
    const loaded = await loadInputs(context, { inputs: input.inputs, preprocessing: model.description.preprocessing }, call)
    const { pictures } = loaded as { pictures: readonly Tensor<'float32'>[] }
    const answers = await possibleAnswers(context, { model, input }, call)
    const targets = await resolveTargets(context, plan.targets, call)
    const request: SteerAnalysis = {
      pixels: stackPictures(pictures),
      edits: plan.resolved.edits,
      read: plan.read.map(({ hookPoint }) => hookPoint.name),
      withValues: input.values ?? false,
      targets,
      readBytes: plan.readBytes,
      ...(answers && { answers }),
      ...(input.controls && { controls: { n: input.controls.n, seed: input.controls.seed ?? 0 } }),
    }
    const started = performance.now()
    const found = await context.host.analyse(
      'steer',
      { model: modelSource(model), saes: plan.resolved.editSaes, input: request },
      call.signal,
    )
    call.timing('run', performance.now() - started)
    return answer(found, { model, input, plan, targets: targets.map(({ label }) => label) })
  },
})

/** Refuses what steering would refuse before it looks at pictures. @throws all problems at once */
export async function checkSteer(context: Context, input: SteerInput, call: Call): Promise<void> {
  await planSteer(context, { model: await findModel(context.catalog, input.model), input, call })
}

interface Read {
  readonly hookPoint: HookPointInfo
  readonly keep: readonly AxisSelection[]
}

interface Plan {
  readonly read: readonly Read[]
  readonly readBytes: number
  readonly resolved: ResolvedEdits
  readonly targets: CheckedTargets
}

/** Everything that can be refused before any picture is decoded. @throws all problems at once */
async function planSteer(context: Context, { model, input, call }: { model: ModelRecord; input: SteerInput; call: Call }): Promise<Plan> {
  const nInputs = input.inputs.length
  const maximum = context.config.maxInputsPerRequest
  checkLimit('inputs', { given: nInputs, maximum, what: 'inputs', instead: 'Send several smaller requests.' })
  const given = nInputs * (input.controls?.n ?? 0)
  const fewer = 'Compare with fewer random directions, or send fewer inputs at a time.'
  checkLimit('controls', { given, maximum: fixedLimits.controls, what: 'inputs times random directions', instead: fewer })
  const tower = model.description.vision
  const problems = new Problems()
  const names = problems.collect('read', () => matchHookPoints(input.read ?? [], tower.hookPoints, { model: model.id })) ?? []
  const read = names.map((name): Read => {
    const hookPoint = tower.hookPoints.find((each) => each.name === name)!
    return { hookPoint, keep: selectRows(input as RowSelector, { hookPoint, tower, problems }) }
  })
  const resolved = await resolveEdits(input.edits, { model: model.id, tower, nInputs, context, call }, problems)
  if (input.classify) problems.collect('classify', () => checkClassify(input.classify!, model))
  const targets = checkTargets(input.targets ?? [], { model }, problems)
  problems.throwIfAny()

  const numbersRead = read.reduce((sum, { hookPoint }) => sum + elementCount(selectedShape(hookPoint, 1, [])), 0)
  const instead = 'Read fewer hook points, or send fewer inputs at a time.'
  const readBytes = 4 * numbersRead
  checkLimit('readBytes', {
    given: 2 * nInputs * readBytes,
    maximum: fixedLimits.readBytes,
    what: 'bytes of the hook points in "read"',
    instead,
  })
  if (call.maxNumbers) {
    const { limit, value } = call.maxNumbers
    const binary = 'Ask for "encoding": "base64", or over REST for Accept: application/x-npz; or choose "positions", or leave "values" out.'
    checkLimit(limit, {
      given: nInputs * numbersOfInput(input, { model, read }),
      maximum: value,
      what: 'numbers in the answer',
      instead: binary,
    })
  }
  return { read, readBytes, resolved, targets }
}

/** In the tensors of the answer, for one input. */
function numbersOfInput(input: SteerInput, { model, read }: { model: ModelRecord; read: readonly Read[] }): number {
  const output = input.output === false ? 0 : 2 * elementCount(model.description.vision.output.shape.slice(1) as number[])
  const ofRead = read.reduce((sum, { hookPoint, keep }) => {
    const shape = selectedShape(hookPoint, 1, keep)
    return sum + 3 * elementCount(shape.slice(0, -1)) + (input.values ? 2 * elementCount(shape) : 0)
  }, 0)
  return output + ofRead + (input.controls?.n ?? 0) * Math.max(1, input.targets?.length ?? 0)
}

function checkLimit(limit: LimitName, about: { given: number; maximum: number; what: string; instead: string }): void {
  if (about.given > about.maximum) throw new RequestError('LIMIT_EXCEEDED', { limit, ...about })
}

/** Labels that are given; else what a classifier answers. */
async function possibleAnswers(
  context: Context,
  { model, input: { classify } }: { model: ModelRecord; input: SteerInput },
  call: Call,
): Promise<SteerAnalysis['answers']> {
  const { vision, logitScale = 1, logitBias = 0 } = model.description
  if (classify) {
    const templates = classify.templates ?? [classify.template ?? '{}']
    return { embeddings: await embedLabels(context, { model, labels: classify.labels, templates }, call), logitScale, logitBias }
  }
  const isClassifier = (vision.config as VisionConfig).head.kind === 'classes' && vision.output.shape.length === 2
  return isClassifier ? 'classes' : undefined
}

interface About {
  readonly model: ModelRecord
  readonly input: SteerInput
  readonly plan: Plan
  readonly targets: readonly string[]
}

function answer(found: SteerOutput, { model, input, plan, targets }: About): Steer {
  const labels = input.classify?.labels ?? model.description.classLabels
  const topK = input.topK ?? DEFAULT_TOP_K
  return {
    model: model.id,
    output: input.output === false ? null : found.output,
    images: input.inputs.map((_, image) => ({
      ...ofClasses(found.logits, { image, labels, topK }),
      targets: targets.map((target, at) => {
        const [before, after] = [found.scores!.default, found.scores!.steered].map(({ data }) => data[image * targets.length + at]!)
        return { target, score: both(before!, after!) }
      }),
      controls: found.controls ? comparisons(found.controls, { image, targets }) : null,
    })),
    changes: found.changes.map((change, at) => selected(change, plan.read[at]!.keep)),
    perturbations: found.perturbations.map(({ hookPoint, size, relative }) => ({
      hookPoint,
      size,
      relative,
      mean: meanOfChanged(relative),
    })),
  }
}

function ofClasses(
  logits: Pair | undefined,
  { image, labels, topK }: { image: number; labels: readonly string[] | undefined; topK: number },
): Pick<Steer['images'][number], 'classes' | 'moved' | 'isFlipped' | 'divergence' | 'entropy'> {
  if (!logits) return { classes: null, moved: null, isFlipped: null, divergence: null, entropy: null }
  const nClasses = logits.default.shape[1]!
  const [before, after] = [logits.default, logits.steered].map(({ data }) => data.subarray(image * nClasses, (image + 1) * nClasses))
  const [was, is] = [probabilitiesOf(before!), probabilitiesOf(after!)]
  const ranked = (data: Float32Array) => rankClasses({ dtype: 'float32', shape: [1, nClasses], data }, { labels, topK })[0]!
  const moved = Array.from({ length: nClasses }, (_, index) => index)
    .sort((a, b) => Math.abs(after![b]! - before![b]!) - Math.abs(after![a]! - before![a]!) || a - b)
    .slice(0, topK)
  return {
    classes: { default: ranked(before!), steered: ranked(after!) },
    moved: moved.map((index) => ({
      label: labels?.[index] ?? String(index),
      index,
      logit: both(before![index]!, after![index]!),
      probability: both(was[index]!, is[index]!),
    })),
    isFlipped: after!.every(Number.isFinite) ? bestOf(before!) !== bestOf(after!) : null,
    divergence: finite(divergence(was, is)),
    entropy: both(entropyOf(was), entropyOf(is)),
  }
}

function comparisons(
  { effect, controls }: NonNullable<SteerOutput['controls']>,
  { image, targets }: { image: number; targets: readonly string[] },
) {
  const [, n, nMeasures] = controls.shape as [number, number, number]
  return Array.from({ length: nMeasures }, (_, measure) => {
    const own = effect.data[image * nMeasures + measure]!
    const others = Array.from({ length: n }, (_, control) => controls.data[(image * n + control) * nMeasures + measure]!)
    const nSmaller = others.filter((other) => Math.abs(other) < Math.abs(own)).length
    return { target: targets[measure] ?? null, effect: finite(own), controls: others.map(finite), share: nSmaller / n }
  })
}

function selected(
  { hookPoint, size, relative, cosine, values }: HookPointChange,
  keep: readonly AxisSelection[],
): Steer['changes'][number] {
  const take = (tensor: Tensor<'float32'>) => keep.reduce(takeRows, tensor)
  return {
    hookPoint,
    size: take(size),
    relative: take(relative),
    cosine: take(cosine),
    values: values ? { default: take(values.default), steered: take(values.steered) } : null,
  }
}

/** Of each image; 0 where nothing changed. */
function meanOfChanged({ shape, data }: Tensor<'float32'>): (number | null)[] {
  const length = data.length / shape[0]!
  return Array.from({ length: shape[0]! }, (_, image) => {
    const changed = data.subarray(image * length, (image + 1) * length).filter((value) => value !== 0)
    return changed.length === 0 ? 0 : finite(changed.reduce((sum, value) => sum + value, 0) / changed.length)
  })
}

const finite = (value: number) => (Number.isFinite(value) ? value : null)
const both = (before: number, after: number) => ({ default: finite(before), steered: finite(after), change: finite(after - before) })

/** What the binary forms hold. */
export function steerTensors({ output, changes, perturbations }: Steer): Record<string, Tensor> {
  const ofChanges = changes.flatMap(({ hookPoint, size, relative, cosine, values }) => [
    [`${hookPoint}.size`, size],
    [`${hookPoint}.relative`, relative],
    [`${hookPoint}.cosine`, cosine],
    ...(values
      ? [
          [`${hookPoint}.default`, values.default],
          [`${hookPoint}.steered`, values.steered],
        ]
      : []),
  ]) as [string, Tensor][]
  return {
    ...(output && { 'output.default': output.default, 'output.steered': output.steered }),
    ...Object.fromEntries(ofChanges),
    ...Object.fromEntries(perturbations.flatMap(({ hookPoint, size }): [string, Tensor][] => [[`${hookPoint}.perturbation`, size]])),
  }
}
