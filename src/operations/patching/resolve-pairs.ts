/** From pairs and a metric as a user writes them to what the engine takes. */

import type { ModelRecord } from '../../catalog/catalog.js'
import type { Judging } from '../../engine/analyses/patching/judge.js'
import type { Metric } from '../../engine/analyses/patching/metric.js'
import type { ValueSource } from '../../engine/analyses/patching/trials.js'
import type { Target } from '../../engine/analyses/targets.js'
import { EngineError } from '../../engine/errors.js'
import { patchGrid } from '../../engine/hook-points.js'
import { type Corruption, corrupt } from '../../engine/image/corrupt.js'
import type { VisionConfig } from '../../engine/models/model.js'
import type { Tensor } from '../../engine/tensor.js'
import { checkClassify } from '../classify.js'
import { stackPictures } from '../drawn/stack-pictures.js'
import { Problems, RequestError } from '../errors.js'
import { loadInputs } from '../load-inputs.js'
import type { Call, Context } from '../operation.js'
import { type CheckedTargets, checkTargets, resolveTargets } from '../resolve-targets.js'
import type { ImageInputValue } from '../schemas/image.js'
import type { PairsRequest } from '../schemas/patching.js'
import type { TargetInput } from '../schemas/target.js'

/** Pairs whose request has been checked. */
export interface CheckedPairs {
  readonly request: PairsRequest
  readonly model: ModelRecord
  readonly target?: CheckedTargets
  readonly labels?: CheckedTargets
}

/** Everything that can be refused before a picture is decoded; problems go to `problems`. */
export function checkPairs(context: Context, request: PairsRequest, model: ModelRecord, problems: Problems): CheckedPairs {
  const { clean, corrupted, corruption, direction = 'denoise', source = { kind: 'other' as const }, metric, classify } = request
  const refuse = (path: string, problem: string) => problems.add(path, new EngineError('INPUT_INVALID', { path, problem }))
  if (corrupted && corruption) refuse('corruption', 'says how corrupted pictures are made, and "corrupted" gives them; send one of the two')
  if (!corrupted && !corruption && (direction === 'denoise' || source.kind === 'other')) {
    refuse('corrupted', `is missing; send as many pictures as "clean" has, or a "corruption" that makes them`)
  }
  if (corrupted && corrupted.length !== clean.length) {
    refuse('corrupted', `has ${corrupted.length} pictures and "clean" ${clean.length}; they are pairs`)
  }
  if (corruption?.kind === 'mask') checkPatches(corruption.patches, model, refuse)
  checkCount(context, request, problems)

  const hasClasses = classesOf(model)
  const needsAnswers = metric.kind === 'probability' || metric.kind === 'kl'
  if (classify && !needsAnswers) refuse('classify', `is for the metrics "probability" and "kl"; "${metric.kind}" asks no labels`)
  if (classify && needsAnswers && hasClasses) refuse('classify', `${model.id} has classes of its own; leave "classify" out`)
  if (!classify && needsAnswers && !hasClasses) {
    refuse('classify', `is missing: the metric "${metric.kind}" is over possible answers, and ${model.id} has no classes of its own`)
  }
  if (metric.kind === 'probability' && ('difference' in metric.target || 'direction' in metric.target)) {
    refuse('metric.target', 'a probability is one of a class or of a text; for a difference the metric is "score"')
  }
  if (metric.kind === 'probability' && 'text' in metric.target && classify && !classify.labels.includes(metric.target.text)) {
    refuse('metric.target.text', `"${metric.target.text}" is not one of the labels of "classify"`)
  }
  if (classify) problems.collect('classify', () => checkClassify(classify, model))
  if (!hasOneOutput(model)) {
    refuse('model', `${model.id} does not pool its tokens: its output has a row for each position, and no one score for a picture`)
    return { request, model }
  }
  const target = 'target' in metric ? checkedTargets([metric.target], { model, path: 'metric.target' }, problems) : undefined
  const labels =
    classify && needsAnswers && !problems.any ? checkTargets(textsOf(classify), { model, path: 'classify.labels' }, problems) : undefined
  return { request, model, ...(target && { target }), ...(labels && { labels }) }
}

type Refuse = (path: string, problem: string) => void

function checkPatches(
  patches: readonly { readonly row: number; readonly col: number }[],
  { description }: ModelRecord,
  refuse: Refuse,
): void {
  const { rows, columns } = patchGrid(description.vision.config as VisionConfig)
  for (const [at, { row, col }] of patches.entries()) {
    if (row >= rows || col >= columns)
      refuse(`corruption.patches[${at}]`, `row ${row}, col ${col} is out of range; there are ${rows} x ${columns}`)
  }
}

function checkCount({ config }: Context, { clean, corrupted, corruption, source }: PairsRequest, problems: Problems): void {
  const sets = [corruption && 'images' in corruption ? corruption.images : [], source && 'images' in source ? source.images : []]
  const given = clean.length + (corrupted?.length ?? 0) + sets.reduce((sum, { length }) => sum + length, 0)
  const maximum = config.maxInputsPerRequest
  if (given <= maximum) return
  const instead = 'Send several smaller requests.'
  problems.add('clean', new RequestError('LIMIT_EXCEEDED', { limit: 'inputs', given, maximum, what: 'pictures', instead }))
}

/** One target, whose problems are at its own path and not at that of a list. */
function checkedTargets(
  targets: readonly TargetInput[],
  about: { model: ModelRecord; path: string },
  problems: Problems,
): CheckedTargets | undefined {
  const own = new Problems()
  const checked = checkTargets(targets, about, own)
  try {
    own.throwIfAny()
  } catch (error) {
    if (!(error instanceof EngineError || error instanceof RequestError)) throw error
    const found = error.problems.length > 0 ? error.problems : [{ path: about.path, message: error.message }]
    for (const { path, message } of found) problems.add(path.replace(`${about.path}[0]`, about.path), error, message)
    return undefined
  }
  return checked
}

const textsOf = ({
  labels,
  template,
  templates = template === undefined ? undefined : [template],
}: NonNullable<PairsRequest['classify']>) => labels.map((text): TargetInput => ({ text, ...(templates && { templates }) }))

const visionConfig = ({ description }: ModelRecord) => description.vision.config as VisionConfig
const classesOf = (model: ModelRecord) => visionConfig(model).head.kind === 'classes'
const hasOneOutput = ({ description }: ModelRecord) => description.vision.output.axes.length === 2

/** Pictures decoded, texts embedded. */
export async function resolvePairs(
  context: Context,
  checked: CheckedPairs,
  call: Call,
): Promise<Judging & { readonly metricName: string }> {
  const { request, model } = checked
  const pictures = (images: readonly ImageInputValue[], path: string) => loadPictures(context, { images, path, model }, call)
  const clean = await pictures(request.clean, 'clean')
  const corrupted = request.corrupted
    ? await pictures(request.corrupted, 'corrupted')
    : request.corruption && corrupt(clean, await corruptionOf(request.corruption, { model, pictures }))
  const { metric, name } = await metricOf(context, checked, call)
  return {
    clean,
    ...(corrupted && { corrupted }),
    direction: request.direction ?? 'denoise',
    source: await sourceOf(request.source, pictures),
    metric,
    metricName: name,
  }
}

type Pictures = (images: readonly ImageInputValue[], path: string) => Promise<Tensor<'float32'>>

async function loadPictures(
  context: Context,
  { images, path, model }: { images: readonly ImageInputValue[]; path: string; model: ModelRecord },
  call: Call,
): Promise<Tensor<'float32'>> {
  const inputs = images.map((image) => ({ image }))
  const loaded = await loadInputs(context, { inputs, preprocessing: model.description.preprocessing, path }, call)
  return stackPictures(loaded.kind === 'pictures' ? loaded.pictures : [])
}

async function corruptionOf(
  corruption: NonNullable<PairsRequest['corruption']>,
  { model, pictures }: { model: ModelRecord; pictures: Pictures },
): Promise<Corruption> {
  switch (corruption.kind) {
    case 'noise':
      return { kind: 'noise', strength: corruption.strength ?? 1, seed: corruption.seed ?? 0 }
    case 'blur':
      return { kind: 'blur', radius: corruption.radius ?? 8 }
    case 'mask': {
      const { height, width } = visionConfig(model).patchSize
      return {
        kind: 'mask',
        areas: corruption.patches.map(({ row, col }) => ({
          top: row * height,
          left: col * width,
          bottom: (row + 1) * height,
          right: (col + 1) * width,
        })),
      }
    }
    case 'mean':
      return { kind: 'mean', of: await pictures(corruption.images, 'corruption.images') }
    default:
      return corruption satisfies never
  }
}

async function sourceOf(source: PairsRequest['source'], pictures: Pictures): Promise<ValueSource> {
  if (!source || source.kind === 'other') return { kind: 'other' }
  const pixels = await pictures(source.images, 'source.images')
  return source.kind === 'mean' ? { kind: 'mean', pixels } : { kind: 'resample', pixels, seed: source.seed ?? 0, draws: source.draws ?? 1 }
}

async function metricOf(
  context: Context,
  { request: { metric, classify }, target, labels }: CheckedPairs,
  call: Call,
): Promise<{ metric: Metric; name: string }> {
  const among = labels && { among: await resolveTargets(context, labels, call) }
  switch (metric.kind) {
    case 'score': {
      const [resolved] = (await resolveTargets(context, target!, call)) as [Target]
      return { metric: { kind: 'score', target: resolved }, name: resolved.label }
    }
    case 'probability': {
      const [resolved] = (await resolveTargets(context, target!, call)) as [Target]
      const answer = among ? classify!.labels.indexOf((metric.target as { text: string }).text) : resolved.direction.indexOf(1)
      return { metric: { kind: 'probability', answer, ...among }, name: `probability of ${resolved.label}` }
    }
    case 'kl':
      return { metric: { kind: 'kl', ...among }, name: 'divergence from the clean run' }
    case 'cosine':
      return { metric: { kind: 'cosine' }, name: 'cosine with the clean run' }
    default:
      return metric satisfies never
  }
}
