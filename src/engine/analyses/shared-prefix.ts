/**
 * Variants of a run that share what they have in common. A graph with edits in it (of strengths, masks, values that are inputs) is cut in two by its
 * inputs: what only the pictures decide is computed once for each picture, and every variant goes on from there as a row of a batch. For edits
 * in block L that is what comes before them, most often the residual stream that enters them; for an edit of a head's `hook_z`, its block's
 * attention as well. Nothing has to be said about where the cut is: it follows from the graph.
 *
 *   const edited = applyEdits(graph, edits, tower)
 *   const run = await sharedPrefix(bench, `steer ${edited.structure}`, () => edited.graph)
 *   const start = await run.begin({ pixels })                       // one row for each picture
 *   const { output } = await start.run([0, 0, 0, 1], edited.inputs(4))   // four variants: three of the first picture, one of the second
 *
 * What the edits do not change (a hook point before them that was exposed) is in `start.shared`, once for each picture, and in no variant. Rows that no
 * output reads are in neither: of a model that pools CLS, the last block is its keys, its values and one token, unless something of it is exposed.
 */

import type { Graph } from '../graph/graph.js'
import { narrowed } from '../graph/narrow.js'
import { rowsInput, type SplitGraph, splitByInputs } from '../graph/split.js'
import { joinRows, rowsOfTensor } from '../rows.js'
import { int64, type Tensor } from '../tensor.js'
import type { Workbench } from './workbench.js'

/** Rows that run at once: more are no faster, and take memory. */
export const MOST_ROWS = 32

export type Outputs = Readonly<Record<string, Tensor<'float32'>>>
export type Inputs = Readonly<Record<string, Tensor>>

export interface SharedRun {
  /** Runs what variants share. @param inputs  the shared ones, a row for each picture */
  begin(inputs: Inputs): Promise<Begun>
}

export interface Begun {
  /** Outputs of the graph that no variant changes, `[pictures, ...]`. */
  readonly shared: Outputs
  /**
   * Runs variants, at most `MOST_ROWS` at once.
   * @param rows    of each variant, the picture that it is one of
   * @param inputs  those that are not shared, a row for each variant
   * @param whole   those that every variant is given all of: what rows are looked up in
   * @returns       the graph's other outputs, a row for each variant
   */
  run(rows: readonly number[], inputs: Inputs, whole?: Inputs): Promise<Outputs>
}

/**
 * @param key     names the graph, as for `Workbench.ready`
 * @param graph   made when it has not been compiled yet
 * @param shared  the inputs that variants have in common
 */
export async function sharedPrefix(
  bench: Workbench,
  key: string,
  graph: () => Graph,
  shared: readonly string[] = ['pixels'],
): Promise<SharedRun> {
  let split: SplitGraph | undefined
  const halves = () => {
    split ??= splitByInputs(narrowed(graph()), shared)
    return split
  }
  const prefix = await bench.ready(`${key} (shared)`, () => halves().prefix)
  const suffix = await bench.ready(`${key} (variants)`, () => halves().suffix)
  return {
    async begin(inputs) {
      const made = await prefix.run(inputs)
      const passed = Object.fromEntries(Object.entries(made).filter(([name]) => suffix.inputs.includes(name)))
      return {
        shared: Object.fromEntries(Object.entries(made).filter(([name]) => !(name in passed))),
        run: (rows, variants, whole = {}) =>
          inChunks(rows.length, (from, to) => {
            const chunk = suffix.inputs.includes(rowsInput) ? { [rowsInput]: int64([to - from], rows.slice(from, to)) } : {}
            return suffix.run({ ...passed, ...chunk, ...rowsOf(variants, from, to), ...whole })
          }),
      }
    },
  }
}

/** Runs rows, some at a time, and puts their outputs one below the other. @param run  from one row to another, which is left out */
export async function inChunks(nRows: number, run: (from: number, to: number) => Promise<Outputs>, most = MOST_ROWS): Promise<Outputs> {
  const chunks: Outputs[] = []
  for (let from = 0; from < nRows; from += most) chunks.push(await run(from, Math.min(from + most, nRows)))
  const [first] = chunks
  if (!first || chunks.length === 1) return first ?? {}
  return Object.fromEntries(Object.keys(first).map((name) => [name, joinRows(chunks.map((chunk) => chunk[name]!))]))
}

/** Rows of tensors: views of their data, not copies. */
export function rowsOf(tensors: Inputs, from: number, to: number): Record<string, Tensor> {
  return Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, rowsOfTensor(tensor, from, to)]))
}
