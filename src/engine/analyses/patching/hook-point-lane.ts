/** A lane of hook points: values of the other runs are put where masks say. */

import type { BuiltTower } from '../../interventions/built-towers.js'
import { elementCount, float32, int64, type Tensor, tensor } from '../../tensor.js'
import type { Outputs } from '../shared-prefix.js'
import { contributionOf, contributionsGraph, type Judged, shareInput } from './gradients.js'
import type { Cell, Lane } from './grid.js'
import type { OpenLane } from './lane.js'
import { lengthsOf, maskInput, maskShape, otherInput, otherRowsInput, patchedTower } from './patched-tower.js'
import type { Trial } from './trials.js'

/** @param others  values of the other runs by hook point, `[others, ...]` */
export function hookPointLane(
  { hookPoints, cells }: Lane,
  { built, judged, others }: { readonly built: () => BuiltTower; readonly judged: Judged; readonly others: Outputs },
): OpenLane {
  const names = hookPoints.map(({ name }) => name)
  const put = (trials: readonly Trial[]): Record<string, Tensor> => ({
    [otherRowsInput]: int64(
      [trials.length],
      trials.map(({ other }) => other),
    ),
    ...othersOf(others, names),
  })
  return {
    key: names.join(' '),
    cells: cells.map(({ at }) => at),
    nWays: hookPoints.length,
    patched: () => patchedTower(built(), names),
    patchFeeds(rows) {
      const masks = hookPoints.map((hookPoint) => {
        const length = elementCount(maskShape(hookPoint))
        const mask = new Uint8Array(rows.length * length)
        for (const [at, { cell }] of rows.entries()) {
          if (cells[cell]!.hookPoint === hookPoint) mask.set(cells[cell]!.mask, at * length)
        }
        return [maskInput(hookPoint.name), tensor('bool', [rows.length, ...maskShape(hookPoint)], mask)]
      })
      return { ...put(rows.map(({ trial }) => trial)), ...Object.fromEntries(masks) }
    },
    moved: () => contributionsGraph(built(), { hookPoints: names, moves: true, judged }),
    moveFeeds(rows) {
      const shares = hookPoints.map((hookPoint, way) => {
        const shape = [rows.length, ...lengthsOf(hookPoint).map(() => 1)]
        const values = rows.map((row) => (row.way === way ? row.share : 0))
        return [shareInput(hookPoint.name), float32(shape, values)]
      })
      return { ...put(rows.map(({ trial }) => trial)), ...Object.fromEntries(shares) }
    },
    contributions: (outputs, at, { way }) => cellContributions(cells, outputs, { at, only: names[way]! }),
  }
}

/** The feeds of other runs' values. */
export function othersOf(others: Outputs, hookPoints: readonly string[]): Record<string, Tensor> {
  return Object.fromEntries(hookPoints.map((name) => [otherInput(name), others[name]!]))
}

/** Of cells, what lies under their masks. @param only  cells of this hook point; all of them unless given */
export function cellContributions(
  cells: readonly Cell[],
  outputs: Outputs,
  { at, only }: { readonly at: number; readonly only?: string },
): { at: number; value: number }[] {
  return cells
    .filter(({ hookPoint }) => only === undefined || hookPoint.name === only)
    .map(({ at: place, hookPoint, mask }) => {
      const { data } = outputs[contributionOf(hookPoint.name)]!
      let value = 0
      for (let index = 0; index < mask.length; index++) if (mask[index] === 1) value += data[at * mask.length + index]!
      return { at: place, value }
    })
}
