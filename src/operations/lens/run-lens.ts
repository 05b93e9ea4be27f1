/** One run of the lens, planned and answered: what data and pictures have in common. */

import { type ModelRecord, modelSource } from '../../catalog/catalog.js'
import type { LogitLensOutput } from '../../engine/analyses/lens/arrange-lens.js'
import { isResidual, logitsOfImage } from '../../engine/analyses/lens/logit-lens.js'
import { poolsTokens } from '../../engine/analyses/lens/read-out.js'
import { EngineError } from '../../engine/errors.js'
import { matchHookPoints } from '../../engine/hook-points.js'
import type { VisionConfig } from '../../engine/models/model.js'
import type { Tensor } from '../../engine/tensor.js'
import { stackPictures } from '../drawn/stack-pictures.js'
import { type ResolvedEdits, resolveEdits } from '../edits/resolve-edits.js'
import { type Problems, RequestError } from '../errors.js'
import { fixedLimits } from '../limits.js'
import type { Call, Context } from '../operation.js'
import type { EditInput } from '../schemas/edit.js'
import type { LabelInput } from '../schemas/lens.js'
import { type ChosenLabels, chooseLabels, lensLabels, targetIndex } from './lens-labels.js'

export interface LensPlan {
  readonly model: ModelRecord
  readonly config: VisionConfig
  readonly hookPoints: readonly string[]
  readonly labels: ChosenLabels
  readonly target: number | undefined
  readonly nLogits: number
  readonly edited: ResolvedEdits
}

export interface LensRequest extends LabelInput {
  readonly edits?: readonly EditInput[]
}

interface Asked {
  readonly model: ModelRecord
  readonly nInputs: number
  readonly call: Call
}

/** Everything that can be refused before anything runs goes to `problems`, beside what is thrown. @throws DATASET_UNKNOWN */
export async function planLens(
  context: Context,
  input: LensRequest,
  { model, nInputs, call }: Asked,
  problems: Problems,
): Promise<LensPlan> {
  const { vision } = model.description
  const config = vision.config as VisionConfig
  const hookPoints = residualPoints(input.hookPoints ?? ['blocks.*.hook_resid_post'], model, problems)
  const labels = await chooseLabels(context, input, model, problems)
  const target = targetIndex(input.target, labels.names, problems)
  if (input.target === undefined && labels.names.length > 0 && !poolsTokens(config)) {
    const problem = `is missing: ${model.id} gives no one answer for a picture that could be the target`
    problems.add('target', new EngineError('INPUT_INVALID', { path: 'target', problem }))
  }
  const nLabels = labels.texts && { nLabels: labels.names.length }
  const nLogits = logitsOfImage(config, { nHookPoints: hookPoints.length, ...nLabels })
  const maximum = fixedLimits.lensLogits
  if (nLogits > maximum) {
    const what = 'logits of one picture (hook points times tokens times labels)'
    const instead = 'Choose fewer "hookPoints" or fewer labels.'
    problems.add('hookPoints', new RequestError('LIMIT_EXCEEDED', { limit: 'lensLogits', given: nLogits, maximum, what, instead }))
  }
  const edited = await resolveEdits(input.edits ?? [], { model: model.id, tower: vision, nInputs, context, call }, problems)
  return { model, config, hookPoints, labels, target, nLogits, edited }
}

function residualPoints(patterns: readonly string[], model: ModelRecord, problems: Problems): string[] {
  const { hookPoints } = model.description.vision
  const names = problems.collect('hookPoints', () => matchHookPoints(patterns, hookPoints, { model: model.id, path: 'hookPoints' })) ?? []
  const odd = names.filter((name) => !isResidual(name))
  if (odd.length > 0) {
    const problem = `${odd.slice(0, 3).join(', ')} ${odd.length > 1 ? 'are' : 'is'} not the residual stream; the lens reads hook_resid_pre, hook_resid_mid and hook_resid_post`
    problems.add('hookPoints', new EngineError('INPUT_INVALID', { path: 'hookPoints', problem }))
  }
  return names
}

export interface LensRun {
  readonly pictures: readonly Tensor<'float32'>[]
  readonly topK: number
  readonly withLogits?: boolean
}

export async function runLens(context: Context, plan: LensPlan, { pictures, topK, withLogits = false }: LensRun, call: Call) {
  const { model, hookPoints, labels: chosen, target, nLogits, edited } = plan
  const labels = await lensLabels(context, chosen, model, call)
  const started = performance.now()
  const input = {
    pixels: stackPictures(pictures),
    hookPoints,
    edits: edited.edits,
    topK,
    withLogits,
    nLogits,
    ...(labels && { labels }),
    ...(target !== undefined && { target }),
  }
  const output: LogitLensOutput = await context.host.analyse(
    'logitLens',
    { model: modelSource(model), saes: edited.editSaes, input },
    call.signal,
  )
  call.timing('run', performance.now() - started)
  return output
}
