/**
 * Activation patching: values of one run put into another, place by place, and how far that moves a metric.
 */

import { modelSource } from '../catalog/catalog.js'
import { saeSource } from '../catalog/sae-source.js'
import { checkFeatureIndices } from '../engine/analyses/patching/feature-lane.js'
import { type Component, type GridAxis, type GridSpec, layOut, nCells } from '../engine/analyses/patching/grid.js'
import { DEFAULT_STEPS, nRuns, type PatchingMethod } from '../engine/analyses/patching/patching.js'
import { EngineError } from '../engine/errors.js'
import type { VisionConfig } from '../engine/models/model.js'
import type { Tensor } from '../engine/tensor.js'
import { Problems, RequestError } from './errors.js'
import type { DownloadedSae } from './feature-facts/find-feature.js'
import { findModel } from './find-model.js'
import { checkSaesFit, findDownloadedSaes } from './find-saes.js'
import { fixedLimits } from './limits.js'
import { type Call, type Context, defineOperation } from './operation.js'
import { correlationOf, drawGrid, normalizedCells } from './patching/answer.js'
import { checkPairs, resolvePairs } from './patching/resolve-pairs.js'
import { type PatchingAnswer, PatchingInputShape, type PatchingRequest, PatchingShape } from './schemas/patching.js'

export const patching = defineOperation({
  name: 'patching',
  kind: 'query',
  scope: 'run',
  summary:
    'Activation patching between clean and corrupted pictures: a grid over layers and heads, positions, components, patches or SAE features',
  input: PatchingInputShape,
  output: PatchingShape,
  example: {
    model: 'emoji-clip',
    clean: [`sha256:${'0'.repeat(64)}`],
    corrupted: [`sha256:${'1'.repeat(64)}`],
    over: 'heads',
    metric: { kind: 'score', target: { difference: [{ text: 'a red apple' }, { text: 'a flag' }] } },
    methods: ['patching', 'attribution'],
  },

  async run(context, input, call) {
    const { model, saes, pairs, grid, axes, methods } = await checkPatching(context, input, call)
    const { metricName, ...resolved } = await resolvePairs(context, pairs, call)
    const started = performance.now()
    const found = await context.host.analyse(
      'patching',
      {
        model: modelSource(model),
        saes: saes.map(saeSource),
        input: { ...resolved, grid, methods, ...(input.steps !== undefined && { steps: input.steps }) },
      },
      call.signal,
    )
    call.timing('run', performance.now() - started)
    const { clean, corrupted } = found
    const grids = methods.map((method) => ({
      method,
      ...normalizedCells(found.values[method]!, { clean, ...(corrupted && { corrupted }) }),
    }))
    const base = resolved.direction === 'denoise' ? corrupted! : clean
    const real = found.values.patching
    const answer = {
      model: model.id,
      metric: metricName,
      direction: resolved.direction,
      clean,
      corrupted: corrupted ?? null,
      axes: axes.map(({ name, labels }) => ({ name, labels: [...labels] })),
      grids,
      correlations: real
        ? methods
            .filter((method) => method !== 'patching')
            .map((method) => ({ method, ...correlationOf(real, found.values[method]!, base) }))
        : [],
      completeness: found.completeness?.map((each) => ({ ...each, remainder: each.difference - each.sum })) ?? null,
      plot: null,
    }
    return { ...answer, plot: input.plot ? patchingPlot(answer) : null }
  },
})

/** Everything that can be refused before any picture is decoded. @throws all problems at once */
export async function checkPatching(context: Context, input: PatchingRequest, call: Call) {
  const model = await findModel(context.catalog, input.model)
  const saes = await findDownloadedSaes(context, input.sae === undefined ? [] : [input.sae], 'sae')
  const problems = new Problems()
  const pairs = checkPairs(context, input, model, problems)
  checkSaesFit(saes, model, problems, 'sae')
  const grid = checkGrid(input, saes, problems)
  const config = model.description.vision.config as VisionConfig
  const axes = grid && problems.collect('over', () => axesOf(grid, { config, hookPoints: model.description.vision.hookPoints, saes }))
  const methods: readonly PatchingMethod[] = input.methods ?? ['patching']
  if (input.steps !== undefined && !methods.includes('integrated-gradients')) {
    problems.add('steps', refusal('steps', 'is for the method "integrated-gradients"'))
  }
  problems.throwIfAny()
  checkSize(input, { axes: axes!, methods, layers: config.nLayers, call })
  return { model, saes, pairs, grid: grid!, axes: axes!, methods }
}

/** The first method as a heatmap. */
export function patchingPlot({ grids: [first], ...answer }: PatchingAnswer): string {
  const { method, values, mean } = first as { method: PatchingMethod; values: Tensor<'float32'>; mean: Tensor<'float32'> | null }
  return drawGrid({ ...answer, values, mean, title: titleOf(method) })
}

/** What the binary forms hold. */
export function patchingTensors({ clean, corrupted, grids }: PatchingAnswer): Record<string, Tensor> {
  const ofGrids = grids.flatMap(({ method, values, normalized, mean }) => [
    [method, values] as const,
    ...(normalized ? [[`${method}.normalized`, normalized] as const] : []),
    ...(mean ? [[`${method}.mean`, mean] as const] : []),
  ])
  return { clean, ...(corrupted && { corrupted }), ...Object.fromEntries(ofGrids) }
}

const titleOf = (method: PatchingMethod) =>
  ({ patching: 'Activation patching', attribution: 'Attribution patching', 'integrated-gradients': 'Integrated gradients' })[method]

const refusal = (path: string, problem: string) => new EngineError('INPUT_INVALID', { path, problem })

/** What is asked for, once it is sure that its parts go together. */
function checkGrid(input: PatchingRequest, saes: readonly DownloadedSae[], problems: Problems): GridSpec | undefined {
  const { over = 'heads', layers, positions, components, features } = input
  const only = (field: keyof PatchingRequest, allowed: readonly string[]) => {
    if (input[field] === undefined || allowed.includes(over)) return
    problems.add(field, refusal(field, `is for ${allowed.map((name) => `"${name}"`).join(' and ')}; this grid is over "${over}"`))
  }
  only('layers', ['heads', 'components', 'positions'])
  only('positions', ['heads', 'components', 'positions', 'features'])
  only('components', ['components', 'positions'])
  only('sae', ['features'])
  only('features', ['features'])
  const chosen = { ...(layers && { layers }), ...(positions && { positions }) }
  switch (over) {
    case 'heads':
      return { over, ...chosen }
    case 'components':
      return { over, ...chosen, components: components ?? (['attn_out', 'mlp_out', 'resid_pre'] satisfies Component[]) }
    case 'positions':
      return { over, ...chosen, components: components ?? (['resid_pre'] satisfies Component[]) }
    case 'patches':
      return { over }
    case 'features':
      if (input.sae === undefined) problems.add('sae', refusal('sae', 'is missing: features are of an SAE'))
      if (!features) problems.add('features', refusal('features', 'is missing; name latents of the SAE'))
      return features && saes.length > 0 ? { over, features, ...(positions && { positions }) } : undefined
    default:
      return over satisfies never
  }
}

/** @throws HOOK_POINT_UNKNOWN, INPUT_INVALID: what the model or the SAE does not have */
function axesOf(
  grid: GridSpec,
  {
    config,
    hookPoints,
    saes,
  }: { config: VisionConfig; hookPoints: Parameters<typeof layOut>[1]['hookPoints']; saes: readonly DownloadedSae[] },
): readonly GridAxis[] {
  if (grid.over !== 'features') return layOut(grid, { config, hookPoints }).axes
  checkFeatureIndices(grid, { sae: saes[0]!.download.description.config, hookPoints })
  return [{ name: 'feature', labels: grid.features.map(String) }]
}

/** @throws LIMIT_EXCEEDED */
function checkSize(
  input: PatchingRequest,
  { axes, methods, layers, call }: { axes: readonly GridAxis[]; methods: readonly PatchingMethod[]; layers: number; call: Call },
): void {
  const trials = input.clean.length * (input.source?.kind === 'resample' ? (input.source.draws ?? 1) : 1)
  const ways =
    input.over === 'patches' || input.over === 'features' ? 1 : (input.layers?.length ?? layers) * (input.components?.length ?? 3)
  const given = nRuns({ trials, cells: nCells(axes), ways, methods, steps: input.steps ?? DEFAULT_STEPS })
  const maximum = fixedLimits.patchedRuns
  if (given > maximum) {
    const instead = `That would take ${given} runs of the model. Choose fewer layers, positions or components, fewer pairs or draws, or the method "attribution".`
    throw new RequestError('LIMIT_EXCEEDED', { limit: 'patchedRuns', given, maximum, what: 'patched runs', instead })
  }
  const numbers = methods.length * nCells(axes) * (2 * input.clean.length + 1)
  if (call.maxNumbers && numbers > call.maxNumbers.value) {
    const instead = 'Send fewer pairs at a time; over REST, Accept: application/x-npz has room for more.'
    throw new RequestError('LIMIT_EXCEEDED', {
      limit: call.maxNumbers.limit,
      given: numbers,
      maximum: call.maxNumbers.value,
      what: 'numbers in the answer',
      instead,
    })
  }
}
