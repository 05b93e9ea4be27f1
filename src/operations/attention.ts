/**
 * Attention: patterns of heads, statistics and kinds of heads, rollout, and what heads contribute to an SAE feature.
 */

import { type ModelRecord, modelSource } from '../catalog/catalog.js'
import { headStatistics } from '../engine/analyses/attention/head-statistics.js'
import { addHeadSums, type HeadSums } from '../engine/analyses/attention/head-sums.js'
import { EngineError } from '../engine/errors.js'
import type { Tensor } from '../engine/tensor.js'
import { type ContributionsOf, checkContributions, contributionsTo, describeContributions } from './attention/contributions.js'
import { datasetPictures } from './attention/dataset-pictures.js'
import { type ChosenHeads, checkIndex, checkWeights, chooseHeads } from './attention/plan-heads.js'
import { stackPictures } from './drawn/stack-pictures.js'
import { type ResolvedEdits, resolveEdits } from './edits/resolve-edits.js'
import { Problems, RequestError } from './errors.js'
import { findDownloadedSae } from './feature-facts/find-feature.js'
import { findModel } from './find-model.js'
import { loadInputs } from './load-inputs.js'
import { type Call, type Context, defineOperation } from './operation.js'
import { type AttentionAnswer, type AttentionInput, AttentionInputShape, AttentionShape } from './schemas/attention.js'
import { takeRows } from './select-rows.js'

const [DEFAULT_PICTURES, PICTURES_PER_CALL, DEFAULT_TOP_K] = [64, 32, 10]

export const attention = defineOperation({
  name: 'attention',
  kind: 'query',
  scope: 'run',
  summary: 'Attention: patterns of heads, their statistics and kinds, rollout, and what heads contribute to an SAE feature',
  input: AttentionInputShape,
  output: AttentionShape,
  example: { model: 'emoji-clip', inputs: [{ image: `sha256:${'0'.repeat(64)}` }], layers: [3], heads: [2], statistics: true },

  async run(context, input, call) {
    const model = await findModel(context.catalog, input.model)
    const sae = input.contributions && (await findDownloadedSae(context.catalog, input.contributions.sae))
    const problems = new Problems()
    const plan = await planAttention(
      context,
      { input, model, call, contributions: sae && { ...input.contributions!, model, sae } },
      problems,
    )
    problems.throwIfAny()

    const inputs = input.inputs ?? []
    const { pictures } = (
      inputs.length === 0 ? { pictures: [] } : await loadInputs(context, { inputs, preprocessing: model.description.preprocessing }, call)
    ) as { pictures: Tensor<'float32'>[] }
    const started = performance.now()
    const found = plan.contributions && (await contributionsTo(context, plan.contributions, { pixels: stackPictures(pictures), call }))
    const sums = input.statistics ? await sumsOf(context, { input, model, plan, pictures, call }) : undefined
    if (sums) requireFinite(sums)
    const answer: AttentionAnswer = {
      model: model.id,
      patterns: plan.withPatterns ? await patternsOf(context, { model, plan, pictures, call }) : null,
      heads: [...plan.chosen.heads],
      pictures: sums?.nImages ?? null,
      statistics: sums
        ? headStatistics(sums, plan.chosen.config)
            .filter(({ head }) => plan.chosen.heads.includes(head))
            .map(({ types, ...head }) => ({ ...head, types: [...types] }))
        : null,
      rollout: input.rollout ? await rolloutOf(context, { input, model, plan, pictures, call }) : null,
      contributions: found ? describeContributions(found, plan.contributions!, input.topK ?? DEFAULT_TOP_K) : null,
    }
    call.timing('run', performance.now() - started)
    return answer
  },
})

/** What the binary forms hold. */
export function attentionTensors({ patterns, rollout, contributions }: AttentionAnswer): Record<string, Tensor> {
  const { heads, sources, attnBias, mlp, embed, bias, remainder } = contributions ?? ({} as Partial<NonNullable<typeof contributions>>)
  const parts = { heads, sources, attnBias, mlp, embed, bias, remainder }
  return {
    ...patterns,
    ...(rollout && { rollout }),
    ...Object.fromEntries(Object.entries(parts).flatMap(([name, tensor]) => (tensor ? [[`contributions/${name}`, tensor]] : []))),
  }
}

interface Plan {
  readonly chosen: ChosenHeads
  readonly withPatterns: boolean
  readonly contributions: ContributionsOf | undefined
  readonly edited: ResolvedEdits
}

interface Asked {
  readonly input: AttentionInput
  readonly model: ModelRecord
  readonly call: Call
  readonly contributions: ContributionsOf | undefined
}

/** Everything that can be refused before any picture is decoded goes to `problems`. */
async function planAttention(context: Context, { input, model, call, contributions }: Asked, problems: Problems): Promise<Plan> {
  const limits = context.config
  const refuse = (path: string, problem: string) => problems.add(path, new EngineError('INPUT_INVALID', { path, problem }))
  const chosen = chooseHeads(input, model, problems)
  const nInputs = input.inputs?.length ?? 0
  const asksMore = input.statistics === true || input.rollout !== undefined || input.contributions !== undefined
  const withPatterns = input.patterns ?? !asksMore
  if (!withPatterns && !asksMore) refuse('patterns', 'is false, and nothing else is asked for')
  const needing = [withPatterns && 'patterns', input.rollout && '"rollout"', input.contributions && '"contributions"'].filter(Boolean)
  if (nInputs === 0 && needing.length > 0) refuse('inputs', `are missing: ${needing.join(' and ')} are of pictures`)
  if (nInputs === 0 && input.statistics && !input.dataset) refuse('inputs', 'are missing, and "dataset" too: statistics are of pictures')
  if (input.dataset && !input.statistics) refuse('dataset', 'goes with "statistics": true')
  if (input.edits && input.dataset) refuse('edits', 'go with "inputs", not with "dataset"')
  if (input.edits && input.contributions) refuse('edits', 'do not go with "contributions"')
  if (nInputs > limits.maxInputsPerRequest) {
    const about = { limit: 'inputs', given: nInputs, maximum: limits.maxInputsPerRequest, what: 'inputs', instead: 'Send fewer.' } as const
    problems.add('inputs', new RequestError('LIMIT_EXCEEDED', about))
  }
  checkIndex('rollout.throughLayer', input.rollout?.throughLayer, { length: chosen.config.nLayers, model, problems })
  if (contributions) checkContributions(contributions, problems)
  const { layers, heads, nWeights, config } = chosen
  const answered = withPatterns ? nInputs * layers.length * heads.length * nWeights : 0
  const instead = 'Choose fewer "layers" and "heads", or send fewer inputs at a time.'
  checkWeights(withPatterns ? nInputs * layers.length * config.nHeads * nWeights : 0, { problems, instead })
  if (input.statistics) checkWeights(layers.length * config.nHeads * nWeights, { problems, instead: 'Choose fewer "layers".' })
  if (input.rollout) checkWeights(nInputs * nWeights, { problems, instead: 'Send fewer inputs at a time.' })
  const rollout = input.rollout ? nInputs * nWeights : 0
  const parts = contributions ? nInputs * config.nLayers * config.nHeads * Math.sqrt(nWeights) : 0
  const given = answered + rollout + parts
  if (call.maxNumbers && given > call.maxNumbers.value) {
    const { limit, value } = call.maxNumbers
    const binary = 'Choose fewer "layers" and "heads", ask for "encoding": "base64", or over REST for Accept: application/x-npz.'
    problems.add(
      'layers',
      new RequestError('LIMIT_EXCEEDED', { limit, given, maximum: value, what: 'numbers in the answer', instead: binary }),
    )
  }
  const scope = { model: model.id, tower: model.description.vision, nInputs, context, call }
  const edited = await resolveEdits(input.edits ?? [], scope, problems)
  return { chosen, withPatterns, contributions, edited }
}

interface Running {
  readonly input: AttentionInput
  readonly model: ModelRecord
  readonly plan: Plan
  readonly pictures: readonly Tensor<'float32'>[]
  readonly call: Call
}

async function patternsOf({ host }: Context, { model, plan, pictures, call }: Omit<Running, 'input'>): Promise<Record<string, Tensor>> {
  const { layers, heads, config } = plan.chosen
  const read = layers.map((layer) => `blocks.${layer}.attn.hook_pattern`)
  const inputs = { kind: 'pictures', pictures } as const
  const { activations } = await host.run({ model: modelSource(model), inputs, read, ...plan.edited }, call.signal)
  const some = (pattern: Tensor<'float32'>) => (heads.length === config.nHeads ? pattern : takeRows(pattern, { axis: 1, indices: heads }))
  return Object.fromEntries(read.map((name) => [name, some(activations[name]!)]))
}

/** Of the inputs, or of pictures of a data set, some at a time. */
async function sumsOf(context: Context, { input, model, plan, pictures, call }: Running): Promise<HeadSums> {
  const { host } = context
  const { layers, config, nWeights } = plan.chosen
  const { edits, editSaes } = plan.edited
  const add = async (images: readonly Tensor<'float32'>[]) => {
    const request = { pixels: stackPictures(images), layers, edits, nWeights: layers.length * config.nHeads * nWeights }
    return host.analyse('headSums', { model: modelSource(model), saes: editSaes, input: request }, call.signal)
  }
  if (!input.dataset) return add(pictures)
  const files = await datasetPictures(context, { id: input.dataset.id, count: input.dataset.pictures ?? DEFAULT_PICTURES })
  let sums: HeadSums | undefined
  for (let from = 0; from < files.length; from += PICTURES_PER_CALL) {
    const some = files.slice(from, from + PICTURES_PER_CALL)
    const images = await Promise.all(some.map((file) => host.preprocess(file, model.description.preprocessing, call.signal)))
    const more = await add(images)
    sums = sums ? addHeadSums(sums, more) : more
  }
  return sums!
}

/** @throws INPUT_INVALID */
function requireFinite({ pattern }: HeadSums): void {
  if (pattern.every(Number.isFinite)) return
  throw new EngineError('INPUT_INVALID', {
    path: 'edits',
    problem: 'make attention that is not a number, of which there are no statistics',
  })
}

async function rolloutOf({ host }: Context, { input, model, plan, pictures, call }: Running): Promise<Tensor<'float32'>> {
  const { nWeights, config } = plan.chosen
  const { heads = 'mean', discardRatio = 0, throughLayer = config.nLayers - 1 } = input.rollout!
  const { edits, editSaes } = plan.edited
  const request = { pixels: stackPictures(pictures), heads, discardRatio, throughLayer, edits, nWeights }
  const { rollout } = await host.analyse('attentionRollout', { model: modelSource(model), saes: editSaes, input: request }, call.signal)
  return rollout
}
