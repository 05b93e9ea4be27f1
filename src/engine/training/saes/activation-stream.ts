/**
 * Batches of activations, shuffled under a memory budget. Which row is in which batch follows from the seed and the batch's number alone: any
 * batch can be asked for, and a run that is taken up again gets the batches it would have had.
 *
 * The rows of all pictures, in the order of the picture batches, epoch after epoch, are one endless sequence. It is cut into windows of equal
 * length; half of a window's rows, chosen at random, go into the pool before and half into the pool after, so that each pool mixes two windows,
 * and each row is used exactly once. A pool is shuffled and dealt into batches. Two windows are in memory at a time.
 */

import { EngineError } from '../../errors.js'
import type { Random } from '../../random.js'
import { type Tensor, tensor } from '../../tensor.js'
import type { ActivationSource } from './activation-source.js'

/** Where pictures come from: the same batch for the same step, all of one size. */
export interface PictureBatches {
  at(step: number): Promise<{ readonly pixels: Tensor }>
}

export interface ActivationStreamOptions {
  readonly source: Pick<ActivationSource, 'rowsPerPicture' | 'widths' | 'read'>
  readonly pictures: PictureBatches
  /** Pictures in a batch of `pictures`. */
  readonly picturesPerBatch: number
  /** Rows in a batch of activations. */
  readonly batchSize: number
  /** For the rows that are held. */
  readonly bufferBytes: number
  readonly random: Random
}

/** By read, `[batchSize, width]`; row i of each is of the same token. */
export type ActivationBatch = Readonly<Record<string, Tensor<'float32'>>>

export interface ActivationStream {
  /** Rows that are shuffled together. */
  readonly rowsPerWindow: number
  /** Any batch, from 0; one after the other is quickest. @throws what `pictures` throws */
  at(step: number): Promise<ActivationBatch>
}

type Rows = Readonly<Record<string, Float32Array>>

interface Window {
  readonly index: number
  readonly rows: Rows
  /** The rows in a random order: the first half goes into the pool before. */
  readonly order: Uint32Array
}

/** Rows of two windows: those of the second are counted on from the first's. */
interface Pool {
  readonly index: number
  readonly windows: readonly [before: Window | undefined, now: Window]
  readonly order: Uint32Array
}

/** @throws INPUT_INVALID when the budget does not hold two batches twice */
export function createActivationStream(options: ActivationStreamOptions): ActivationStream {
  const { batchSize, random } = options
  const rowsPerWindow = windowLength(options)
  const nEarly = Math.floor(rowsPerWindow / 2 / batchSize) * batchSize
  const fill = windowFiller(options, rowsPerWindow)
  const names = Object.keys(options.source.widths)
  let pool: Pool | undefined

  const poolAt = async (index: number): Promise<Pool> => {
    if (pool?.index === index) return pool
    const known = new Map((pool?.windows ?? []).flatMap((window) => (window ? [[window.index, window] as const] : [])))
    pool = undefined
    // The window that goes is filled anew, so that there are never more than two.
    const spare = [...known.values()].find((window) => window.index !== index - 1 && window.index !== index)?.rows
    const before = index === 0 ? undefined : (known.get(index - 1) ?? (await fill(index - 1, spare)))
    const now = known.get(index) ?? (await fill(index, spare === before?.rows ? undefined : spare))
    const late = before?.order.subarray(nEarly) ?? new Uint32Array(0)
    const early = now.order.subarray(0, nEarly).map((row) => row + rowsPerWindow)
    const members = new Uint32Array(late.length + early.length)
    members.set(late)
    members.set(early, late.length)
    const order = random.fork(`pool ${index}`).permutation(members.length)
    pool = { index, windows: [before, now], order: order.map((place) => members[place]!) }
    return pool
  }

  return {
    rowsPerWindow,
    async at(step) {
      // The first pool has no window before it, and half as many rows.
      const nFirst = nEarly / batchSize
      const perPool = rowsPerWindow / batchSize
      const index = step < nFirst ? 0 : 1 + Math.floor((step - nFirst) / perPool)
      const place = index === 0 ? step : (step - nFirst) % perPool
      const { order, windows } = await poolAt(index)
      const rows = order.subarray(place * batchSize, (place + 1) * batchSize)
      return Object.fromEntries(
        names.map((name) => [name, gather(rows, windows, { name, width: options.source.widths[name]!, rowsPerWindow })]),
      )
    },
  }
}

function windowLength({ source, batchSize, bufferBytes }: ActivationStreamOptions): number {
  const rowBytes = Object.values(source.widths).reduce((sum, width) => sum + 4 * width, 0)
  const fitting = Math.floor(bufferBytes / (2 * rowBytes) / batchSize) * batchSize
  if (fitting >= 2 * batchSize) return fitting
  const least = 2 * 2 * batchSize * rowBytes
  throw new EngineError('INPUT_INVALID', {
    path: 'bufferBytes',
    problem: `${bufferBytes} is too little to shuffle batches of ${batchSize} rows of ${rowBytes} bytes: at least ${least} are needed.`,
  })
}

function gather(
  chosen: Uint32Array,
  [before, now]: Pool['windows'],
  { name, width, rowsPerWindow }: { name: string; width: number; rowsPerWindow: number },
): Tensor<'float32'> {
  const data = new Float32Array(chosen.length * width)
  for (let at = 0; at < chosen.length; at++) {
    const row = chosen[at]!
    const isLate = row >= rowsPerWindow
    const from = (isLate ? row - rowsPerWindow : row) * width
    data.set((isLate ? now : before!).rows[name]!.subarray(from, from + width), at * width)
  }
  return tensor('float32', [chosen.length, width], data)
}

/** @returns fills a window from as many picture batches as it takes; the last one, which the next window begins with, is kept */
function windowFiller(
  { source, pictures, picturesPerBatch, random }: ActivationStreamOptions,
  rowsPerWindow: number,
): (index: number, into?: Rows) => Promise<Window> {
  const rowsPerRead = picturesPerBatch * source.rowsPerPicture
  let last: { readonly step: number; readonly rows: Rows } | undefined
  const read = async (step: number): Promise<Rows> => {
    if (last?.step === step) return last.rows
    const { pixels } = await pictures.at(step)
    if (pixels.shape[0] !== picturesPerBatch) {
      throw new EngineError('SHAPE_MISMATCH', { what: `Picture batch ${step}`, expected: [picturesPerBatch], actual: [pixels.shape[0]!] })
    }
    last = { step, rows: await source.read(pixels) }
    return last.rows
  }
  return async (index, into) => {
    const rows =
      into ?? Object.fromEntries(Object.entries(source.widths).map(([name, width]) => [name, new Float32Array(rowsPerWindow * width)]))
    const first = index * rowsPerWindow
    for (let done = 0; done < rowsPerWindow; ) {
      const step = Math.floor((first + done) / rowsPerRead)
      const skipped = first + done - step * rowsPerRead
      const taken = Math.min(rowsPerRead - skipped, rowsPerWindow - done)
      const from = await read(step)
      for (const [name, width] of Object.entries(source.widths)) {
        rows[name]!.set(from[name]!.subarray(skipped * width, (skipped + taken) * width), done * width)
      }
      done += taken
    }
    return { index, rows, order: random.fork(`window ${index}`).permutation(rowsPerWindow) }
  }
}
