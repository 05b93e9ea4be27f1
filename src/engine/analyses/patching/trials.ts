/**
 * The runs behind a grid. A trial is a pair of runs: the one that is patched, and the one that values are taken from. Each run is made once; its
 * values are where patched runs go on from, and what is put into them.
 */

import { EngineError } from '../../errors.js'
import type { Graph } from '../../graph/graph.js'
import { createRandom } from '../../random.js'
import { elementCount, type Tensor } from '../../tensor.js'
import { inChunks, MOST_ROWS, type Outputs, rowsOf } from '../shared-prefix.js'
import type { Ready, Workbench } from '../workbench.js'

/** `denoise`: clean values are put into the corrupted run; `noise`: the other way. */
export type Direction = 'denoise' | 'noise'

/**
 * Whose values are put into a run: the other run's of its pair; the mean over a set of pictures; or those of a picture drawn from the set, `draws`
 * times, whose results are averaged.
 */
export type ValueSource =
  | { readonly kind: 'other' }
  | { readonly kind: 'mean'; readonly pixels: Tensor<'float32'> }
  | { readonly kind: 'resample'; readonly pixels: Tensor<'float32'>; readonly seed: number; readonly draws: number }

/** Pictures as a tower takes them, `[pair, channel, height, width]`. */
export interface Pairs {
  readonly clean: Tensor<'float32'>
  /** Not needed where values come from a set of pictures and are put into the clean run. */
  readonly corrupted?: Tensor<'float32'>
  readonly direction: Direction
  readonly source: ValueSource
}

/** One run to be patched, by its pair, and the row of the values that are put into it. */
export interface Trial {
  readonly pair: number
  readonly other: number
}

/** What trials are made of. */
export interface Material {
  /** The runs that are patched, one for each pair. */
  readonly base: Tensor<'float32'>
  /** Pictures whose values are put in; absent: these values are means. */
  readonly others?: Tensor<'float32'>
  readonly trials: readonly Trial[]
}

/** @throws INPUT_INVALID when a picture that is needed is missing, or pictures do not pair */
export function materialOf({ clean, corrupted, direction, source }: Pairs): Material {
  const refuse = (path: string, problem: string) => new EngineError('INPUT_INVALID', { path, problem }, [{ path, message: problem }])
  const nPairs = clean.shape[0]!
  if (corrupted && corrupted.shape.join() !== clean.shape.join()) {
    throw refuse(
      'corrupted',
      `is ${corrupted.shape[0]} pictures of ${corrupted.shape.slice(1)}; clean is ${nPairs} of ${clean.shape.slice(1)}`,
    )
  }
  if (!corrupted && (direction === 'denoise' || source.kind === 'other')) {
    throw refuse('corrupted', direction === 'denoise' ? 'is missing: it is what is patched' : 'is missing: its values are what is put in')
  }
  const base = direction === 'denoise' ? corrupted! : clean
  const pairs = Array.from({ length: nPairs }, (_, pair) => pair)
  switch (source.kind) {
    case 'other':
      return { base, others: direction === 'denoise' ? clean : corrupted!, trials: pairs.map((pair) => ({ pair, other: pair })) }
    case 'mean':
      return { base, trials: pairs.map((pair) => ({ pair, other: 0 })) }
    case 'resample': {
      const random = createRandom(source.seed)
      const nPictures = source.pixels.shape[0]!
      const trials = pairs.flatMap((pair) => Array.from({ length: source.draws }, () => ({ pair, other: random.below(nPictures) })))
      // Only the pictures that were drawn are run.
      const drawn = [...new Set(trials.map(({ other }) => other))]
      return {
        base,
        others: chosenRows(source.pixels, drawn),
        trials: trials.map(({ pair, other }) => ({ pair, other: drawn.indexOf(other) })),
      }
    }
    default:
      return source satisfies never
  }
}

/** Rows of a tensor, copied. */
export function chosenRows({ shape, data }: Tensor<'float32'>, rows: readonly number[]): Tensor<'float32'> {
  const length = elementCount(shape.slice(1))
  const chosen = new Float32Array(rows.length * length)
  for (const [at, row] of rows.entries()) chosen.set(data.subarray(row * length, (row + 1) * length), at * length)
  return { dtype: 'float32', shape: [rows.length, ...shape.slice(1)], data: chosen }
}

/** Runs a program of pictures, some at a time. */
export function runPictures(program: Ready, pixels: Tensor<'float32'>): Promise<Outputs> {
  return inChunks(pixels.shape[0]!, (from, to) => program.run(rowsOf({ pixels }, from, to)), MOST_ROWS / 2)
}

/** Means over a set of pictures, `[1, ...]`, of a program's outputs. In float64. */
export async function meansOver(program: Ready, pixels: Tensor<'float32'>): Promise<Outputs> {
  const sums = new Map<string, { shape: readonly number[]; sum: Float64Array }>()
  const nPictures = pixels.shape[0]!
  for (let from = 0; from < nPictures; from += MOST_ROWS / 2) {
    const made = await program.run(rowsOf({ pixels }, from, Math.min(from + MOST_ROWS / 2, nPictures)))
    for (const [name, { shape, data }] of Object.entries(made)) {
      const length = elementCount(shape.slice(1))
      const known = sums.get(name) ?? { shape: [1, ...shape.slice(1)], sum: new Float64Array(length) }
      for (let at = 0; at < data.length; at++) known.sum[at % length]! += data[at]!
      sums.set(name, known)
    }
  }
  const mean = ({ shape, sum }: { shape: readonly number[]; sum: Float64Array }): Tensor<'float32'> => ({
    dtype: 'float32',
    shape,
    data: Float32Array.from(sum, (value) => value / nPictures),
  })
  return Object.fromEntries([...sums].map(([name, each]) => [name, mean(each)]))
}

/** The feeds that a program takes, of those that there are. */
export function fedTo({ inputs }: Pick<Ready, 'inputs'> | Graph, values: Readonly<Record<string, Tensor>>): Record<string, Tensor> {
  const wanted = Array.isArray(inputs) ? (inputs as readonly string[]) : Object.keys(inputs)
  return Object.fromEntries(Object.entries(values).filter(([name]) => wanted.includes(name)))
}

/** What a program would be called by a workbench, and what makes it. */
export type Open = (key: string, build: () => Graph) => ReturnType<Workbench['ready']>
