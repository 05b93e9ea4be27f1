/**
 * Activation patching: values of one run put into another, place by place, and what that makes of a metric. A cell is a row of a batch, which goes
 * on from where its layer begins; what comes before is computed once.
 * Vig et al. (2020), "Causal Mediation Analysis"; Meng et al. (2022), "ROME"; Zhang & Nanda (2023), "Towards Best Practices of Activation Patching".
 */

import { EngineError } from '../../errors.js'
import type { Tensor } from '../../tensor.js'
import type { Analysis } from '../analysis.js'
import { MOST_ROWS } from '../shared-prefix.js'
import type { GridAxis, GridSpec } from './grid.js'
import { attribution, GRADIENT_ROWS, integratedGradients, patched } from './methods.js'
import type { Metric } from './metric.js'
import { openPatching } from './open-patching.js'
import type { Pairs } from './trials.js'

/**
 * `patching`: each cell run. `attribution`: its linear approximation, the gradient in the run that is patched times the difference of values.
 * `integrated-gradients`: the same, averaged along the straight line to the other run's values, a layer's cells together.
 */
export const patchingMethods = ['patching', 'attribution', 'integrated-gradients'] as const
export type PatchingMethod = (typeof patchingMethods)[number]

export interface PatchingInput extends Pairs {
  readonly grid: GridSpec
  readonly metric: Metric
  readonly methods: readonly PatchingMethod[]
  /** Of integrated gradients; 16 unless given. */
  readonly steps?: number
}

export interface PatchingOutput {
  readonly axes: readonly GridAxis[]
  /** The metric of each pair's runs, `[pair]`. */
  readonly clean: Tensor<'float32'>
  readonly corrupted?: Tensor<'float32'>
  /** By method: `[pair, ...axes]`, the metric of the run with the cell patched, or what the method takes it to be. */
  readonly values: Readonly<Partial<Record<PatchingMethod, Tensor<'float32'>>>>
  /** Of integrated gradients: for each pair and each way (of a layer, a component), what its cells sum to and what they should. */
  readonly completeness?: readonly Completeness[]
}

export interface Completeness {
  readonly pair: number
  /** What was moved: a hook point, or the features. */
  readonly what: string
  /** The sum of its cells' contributions. */
  readonly sum: number
  /** The metric with all of it the other run's, less the metric of the run that is patched. */
  readonly difference: number
}

export const DEFAULT_STEPS = 16

/** Beside what is put in: of each block at most these values, from which its runs go on. */
const STATES = 2
/** Outputs of several runs are there twice while they are put together. */
const JOINED = 2

export const patching: Analysis<PatchingInput, PatchingOutput> = {
  cost({ clean, corrupted, source, methods, grid }) {
    const pictures = [clean, ...(corrupted ? [corrupted] : []), ...(source.kind === 'other' ? [] : [source.pixels])]
    const nPictures = pictures.reduce((sum, { shape }) => sum + shape[0]!, 0)
    const gradients = methods.some((method) => method !== 'patching')
    const valuesPutIn = 'components' in grid ? grid.components.length : 1
    const nAnswers = nPictures * (grid.over === 'features' ? grid.features.length : 1)
    return {
      rows: gradients ? GRADIENT_ROWS : MOST_ROWS,
      gradients,
      kept: JOINED * nPictures * (valuesPutIn + STATES),
      bytes: pictures.reduce((sum, { data }) => sum + data.byteLength, 0) + 4 * nAnswers,
    }
  },

  async run(bench, input) {
    if (input.methods.length === 0) throw new EngineError('INPUT_INVALID', { path: 'methods', problem: 'the list is empty' })
    const open = await openPatching(bench, input)
    const values: Partial<Record<PatchingMethod, Tensor<'float32'>>> = {}
    const shape = [input.clean.shape[0]!, ...open.axes.map(({ labels }) => labels.length)]
    const grid = (cells: Float64Array): Tensor<'float32'> => ({ dtype: 'float32', shape, data: Float32Array.from(cells) })
    let completeness: readonly Completeness[] | undefined
    for (const method of input.methods) {
      if (method === 'patching') values[method] = grid(await patched(open))
      else if (method === 'attribution') values[method] = grid(await attribution(open))
      else {
        const integrated = await integratedGradients(open, input.steps ?? DEFAULT_STEPS)
        values[method] = grid(integrated.cells)
        completeness = integrated.completeness
      }
    }
    const [clean, corrupted] = [await open.judge.ofRuns('clean'), await open.judge.ofRuns('corrupted')]
    return { axes: open.axes, clean: clean!, ...(corrupted && { corrupted }), values, ...(completeness && { completeness }) }
  },
}

/** How many runs a question takes at most, whatever they begin with: of gradients, each step is one. */
export function nRuns({
  trials,
  cells,
  ways,
  methods,
  steps,
}: {
  readonly trials: number
  readonly cells: number
  /** Of integrated gradients. */
  readonly ways: number
  readonly methods: readonly PatchingMethod[]
  readonly steps: number
}): number {
  const runs = { patching: cells, attribution: 1, 'integrated-gradients': ways * (steps + 2) }
  return trials * methods.reduce((sum, method) => sum + runs[method], 0)
}
