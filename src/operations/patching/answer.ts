/** Grids of metrics, as they are answered: normalised, correlated, drawn. */

import { pearson, spearman } from '../../engine/analyses/compare/statistics/correlation.js'
import { colormap } from '../../engine/image/colormaps.js'
import { type GridPanel, plotGrid } from '../../engine/plots/grid.js'
import { elementCount, type Tensor } from '../../engine/tensor.js'

export interface Ends {
  /** `[pair]` */
  readonly clean: Tensor<'float32'>
  readonly corrupted?: Tensor<'float32'>
}

/** One axis of what is drawn. */
export interface DrawnAxis {
  readonly name: string
  readonly labels: readonly string[]
}

export interface Cells {
  readonly values: Tensor<'float32'>
  readonly normalized: Tensor<'float32'> | null
  readonly mean: Tensor<'float32'> | null
}

/** 0 is the corrupted run, 1 the clean one. @param values  `[pair, ...axes]` */
export function normalizedCells(values: Tensor<'float32'>, { clean, corrupted }: Ends): Cells {
  if (!corrupted) return { values, normalized: null, mean: null }
  const [nPairs, ...shape] = values.shape as [number, ...number[]]
  const perPair = elementCount(shape)
  const share = (value: number, low: number, high: number) => (high === low ? Number.NaN : (value - low) / (high - low))
  const normalized = values.data.map((value, at) => {
    const pair = Math.floor(at / perPair)
    return share(value, corrupted.data[pair]!, clean.data[pair]!)
  })
  const meanOf = (data: Float32Array, start: number, step: number) => {
    let sum = 0
    for (let pair = 0; pair < nPairs; pair++) sum += data[start + pair * step]!
    return sum / nPairs
  }
  const [low, high] = [meanOf(corrupted.data, 0, 1), meanOf(clean.data, 0, 1)]
  const mean = Float32Array.from({ length: perPair }, (_, cell) => share(meanOf(values.data, cell, perPair), low, high))
  return { values, normalized: { ...values, data: normalized }, mean: { dtype: 'float32', shape, data: mean } }
}

/** Of how cells change the metric of the run that is patched, over all pairs. */
export function correlationOf(
  real: Tensor<'float32'>,
  estimate: Tensor<'float32'>,
  base: Tensor<'float32'>,
): { pearson: number | null; spearman: number | null } {
  const perPair = real.data.length / base.data.length
  const changes = ({ data }: Tensor<'float32'>) => Float64Array.from(data, (value, at) => value - base.data[Math.floor(at / perPair)]!)
  const [x, y] = [changes(real), changes(estimate)]
  const finite = (value: number) => (Number.isFinite(value) ? value : null)
  return { pearson: finite(pearson(x, y)), spearman: finite(spearman(x, y)) }
}

/** What a heatmap is drawn of. */
export interface Drawn extends Pick<Cells, 'values' | 'mean'> {
  readonly axes: readonly DrawnAxis[]
  readonly title: string
  readonly metric: string
  readonly direction: 'denoise' | 'noise'
  readonly clean: Tensor
  readonly corrupted: Tensor | null
}

/** Shares of the way from the corrupted run to the clean one, or changes of the metric where there is no corrupted run; means over the pairs. */
export function drawGrid({ values, mean, axes, title, metric, direction, clean, corrupted }: Drawn): string {
  const [rows, columns] = axes.length === 1 ? [{ name: '', labels: [''] }, axes[0]!] : (axes.slice(-2) as [DrawnAxis, DrawnAxis])
  const planes = axes.length === 3 ? axes[0]! : undefined
  const drawn = mean ? mean.data : meanChanges(values, direction === 'denoise' ? corrupted! : clean)
  const size = rows.labels.length * columns.labels.length
  const panels = (planes?.labels ?? ['']).map((label, plane): GridPanel => {
    return { ...(planes && { title: label }), values: drawn.subarray(plane * size, (plane + 1) * size) }
  })
  // A run that is denoised begins at 0, one that is noised at 1: there the colour is neutral.
  const centre = mean && direction === 'noise' ? 1 : 0
  return plotGrid(panels, {
    title,
    rows,
    columns,
    value: mean ? 'normalised' : 'change',
    centre,
    note: metric,
    colours: colormap('coolwarm'),
  })
}

function meanChanges({ shape, data }: Tensor<'float32'>, base: Tensor): Float32Array {
  const nPairs = shape[0]!
  const perPair = data.length / nPairs
  return Float32Array.from({ length: perPair }, (_, cell) => {
    let sum = 0
    for (let pair = 0; pair < nPairs; pair++) sum += data[pair * perPair + cell]! - Number(base.data[pair])
    return sum / nPairs
  })
}
