/**
 * Cells of a grid that go on from the same place, and what a run of one of them is fed. `hook-point-lane.ts` puts values at hook points,
 * `feature-lane.ts` changes latents of an SAE.
 */

import type { Graph } from '../../graph/graph.js'
import type { Tensor } from '../../tensor.js'
import type { Outputs } from '../shared-prefix.js'
import type { Trial } from './trials.js'

/** A run with the values of one cell put in. */
export interface PatchedRow {
  /** Among the lane's cells. */
  readonly cell: number
  readonly trial: Trial
}

/** A run part of the way to the other run's values. */
export interface MovedRow {
  /** Which of the lane's ways is gone. */
  readonly way: number
  readonly share: number
  readonly trial: Trial
}

export interface OpenLane {
  /** Names the graphs. */
  readonly key: string
  /** The cells' places in the grid. */
  readonly cells: readonly number[]
  /** Ways from one run's values to the other's: what of the lane is moved together. */
  readonly nWays: number
  /** The tower with what patched rows are fed; its output. */
  patched(): Graph
  patchFeeds(rows: readonly PatchedRow[]): Record<string, Tensor>
  /** The tower with what moved rows are fed; the metric, and what contributes to it. */
  moved(): Graph
  moveFeeds(rows: readonly MovedRow[]): Record<string, Tensor>
  /** What each cell that moves on a row's way contributes. @param outputs  of `moved`, of which row `at` is this one */
  contributions(outputs: Outputs, at: number, row: MovedRow): readonly { readonly at: number; readonly value: number }[]
}
