/** The three ways in which a grid is filled; each gives the metric of every cell, `[pair, ...axes]` flat. */

import { rowsInput } from '../../graph/split.js'
import { elementCount, int64, type Tensor } from '../../tensor.js'
import { inChunks, type Outputs } from '../shared-prefix.js'
import { contributionsGraph, quadrature } from './gradients.js'
import { cellContributions, othersOf } from './hook-point-lane.js'
import type { MovedRow, OpenLane, PatchedRow } from './lane.js'
import { metricForm, metricNames } from './metric.js'
import type { OpenPatching } from './open-patching.js'
import { otherRowsInput } from './patched-tower.js'
import type { Completeness } from './patching.js'
import { chosenRows, fedTo, type Trial } from './trials.js'

/** Rows with gradients that run at once: every value of theirs is kept. */
export const GRADIENT_ROWS = 8

/** Runs every cell. */
export async function patched(open: OpenPatching): Promise<Float64Array> {
  const table = new Table(open)
  for (const lane of open.lanes) {
    const rows = lane.cells.flatMap((_, cell) => open.material.trials.map((trial): PatchedRow => ({ cell, trial })))
    const { ready, states } = await open.half(lane, 'patched')
    const made = await inChunks(rows.length, (from, to) => {
      const chunk = rows.slice(from, to)
      return ready.run({ ...fedTo(ready, states), ...pairRows(chunk), ...lane.patchFeeds(chunk) })
    })
    const [output] = Object.values(made) as [Tensor<'float32'>]
    const { data } = await open.judge.of(output, pairsOf(rows))
    for (const [at, { cell, trial }] of rows.entries()) table.add(trial, lane.cells[cell]!, data[at]!)
  }
  return table.values
}

/** The gradient in the run that is patched, times the difference of values: all cells of a trial in one run forward and one back. */
export async function attribution(open: OpenPatching): Promise<Float64Array> {
  const { grid, bench, judged, material, others } = open
  if (!grid) return alongTheWay(open, { points: [{ at: 0, weight: 1 }] }).then(({ cells }) => cells)
  const table = new Table(open)
  const hookPoints = grid.lanes.flatMap((lane) => lane.hookPoints.map(({ name }) => name))
  const key = `patching attribution ${metricForm(judged.metric)} ${hookPoints.join(' ')}`
  const ready = await bench.ready(key, () => contributionsGraph(bench.model.build(new Set()), { hookPoints, moves: false, judged }))
  const cells = grid.lanes.flatMap((lane) => lane.cells)
  const ofBase = new Float32Array(open.nPairs)
  await eachChunk(material.trials, async (trials) => {
    const outputs = await ready.run({
      pixels: chosenRows(
        material.base,
        trials.map(({ pair }) => pair),
      ),
      [otherRowsInput]: int64(
        [trials.length],
        trials.map(({ other }) => other),
      ),
      ...othersOf(others, hookPoints),
      ...(await open.judge.feeds(trials.map(({ pair }) => pair))),
    })
    for (const [at, trial] of trials.entries()) {
      const base = outputs[metricNames.value]!.data[at]!
      ofBase[trial.pair] = base
      for (const cell of cellContributions(cells, outputs, { at })) table.add(trial, cell.at, base + cell.value)
    }
  })
  open.judge.knowsBase(ofBase)
  return table.values
}

export interface Integrated {
  readonly cells: Float64Array
  readonly completeness: readonly Completeness[]
}

/** The gradient averaged along the straight line to the other run's values. What moves together sums to what moving it changes. */
export function integratedGradients(open: OpenPatching, steps: number): Promise<Integrated> {
  return alongTheWay(open, { points: quadrature(steps) })
}

async function alongTheWay(open: OpenPatching, { points }: { points: readonly { at: number; weight: number }[] }): Promise<Integrated> {
  const base = await open.judge.ofBase()
  const table = new Table(open, base)
  const sums = new Map<string, { -readonly [Field in keyof Completeness]: Completeness[Field] }>()
  const nDraws = open.material.trials.length / open.nPairs
  // Both ends, for what the sum should be.
  const stops = [...points, { at: 0, weight: 0, sign: -1 }, { at: 1, weight: 0, sign: 1 }].map((stop) => ({ sign: 0, ...stop }))
  for (const lane of open.lanes) {
    const { ready, states } = await open.half(lane, 'moved')
    const rows = Array.from({ length: lane.nWays }, (_, way) =>
      open.material.trials.flatMap((trial) => stops.map((stop) => ({ way, trial, share: stop.at, stop }))),
    ).flat()
    await eachChunk(rows, async (chunk) => {
      const outputs: Outputs = await ready.run({
        ...fedTo(ready, states),
        ...pairRows(chunk),
        ...lane.moveFeeds(chunk),
        ...(await open.judge.feeds(pairsOf(chunk))),
      })
      for (const [at, row] of chunk.entries()) {
        const what = wayOf(lane, row)
        const key = `${row.trial.pair} ${what}`
        const sum = sums.get(key) ?? { pair: row.trial.pair, what, sum: 0, difference: 0 }
        sums.set(key, sum)
        sum.difference += (row.stop.sign * outputs[metricNames.value]!.data[at]!) / nDraws
        if (row.stop.weight === 0) continue
        for (const cell of lane.contributions(outputs, at, row)) {
          table.add(row.trial, cell.at, row.stop.weight * cell.value)
          sum.sum += (row.stop.weight * cell.value) / nDraws
        }
      }
    })
  }
  return { cells: table.values, completeness: [...sums.values()].toSorted((a, b) => a.pair - b.pair) }
}

const wayOf = (lane: OpenLane, { way }: MovedRow) => (lane.nWays === 1 ? lane.key : lane.key.split(' ')[way]!)

/** Cells of all pairs; what trials of one pair give is averaged. */
class Table {
  readonly values: Float64Array
  readonly #nCells: number
  readonly #nDraws: number

  /** @param start  of each pair, what its cells start from; 0 unless given */
  constructor({ axes, nPairs, material }: OpenPatching, start?: Tensor<'float32'>) {
    this.#nCells = elementCount(axes.map(({ labels }) => labels.length))
    this.#nDraws = material.trials.length / nPairs
    this.values = new Float64Array(nPairs * this.#nCells)
    if (start) for (let at = 0; at < this.values.length; at++) this.values[at] = start.data[Math.floor(at / this.#nCells)]!
  }

  add({ pair }: Trial, cell: number, value: number): void {
    const at = pair * this.#nCells + cell
    this.values[at] = this.values[at]! + value / this.#nDraws
  }
}

const pairsOf = (rows: readonly { readonly trial: Trial }[]) => rows.map(({ trial }) => trial.pair)

/** The rows of the shared states that runs go on from. */
function pairRows(rows: readonly { readonly trial: Trial }[]): Record<string, Tensor> {
  return {
    [rowsInput]: int64([rows.length], pairsOf(rows)),
  }
}

async function eachChunk<Row>(rows: readonly Row[], run: (chunk: readonly Row[]) => Promise<void>): Promise<void> {
  for (let from = 0; from < rows.length; from += GRADIENT_ROWS) await run(rows.slice(from, from + GRADIENT_ROWS))
}
