/**
 * What kind of head each one is, of sums over pictures. The mean pattern is enough for nearly everything: who gives how much to whom is linear in it.
 * docs/attention.md has the formulas.
 */

import { nPositions, nPrefixTokens, patchGrid } from '../../hook-points.js'
import type { VisionConfig } from '../../models/model.js'
import type { HeadSums } from './head-sums.js'

/** What heads are called, with what each has to reach (docs/attention.md). `previous`, `next`, `above` and `below` are neighbours. */
export const headTypes = [
  'cls-sink',
  'register-sink',
  'self',
  'previous',
  'next',
  'above',
  'below',
  'diagonal',
  'row',
  'column',
  'corner',
  'local',
  'broad',
  'position',
] as const
export type HeadType = (typeof headTypes)[number]

/** All of them means over the pictures. Shares are of 1; `null` where there is nothing to take the mean of. */
export interface HeadStatistics {
  readonly layer: number
  readonly head: number
  /** Of the rows of patches, in nats; at most ln of how many positions there are. */
  readonly entropy: number
  readonly clsEntropy: number | null
  /** The largest weight of a row, of the rows of patches. */
  readonly largest: number
  /** From a patch to the patches that it attends to, in patches. */
  readonly distance: number
  /** What patches give to CLS. */
  readonly patchesToCls: number | null
  readonly patchesToRegisters: number | null
  readonly clsToCls: number | null
  readonly clsToPatches: number | null
  readonly clsToRegisters: number | null
  /** Of what patches give to patches: to themselves, to those in the same row or column (themselves included), to the four corners. */
  readonly toSelf: number
  readonly toRow: number
  readonly toColumn: number
  readonly toCorners: number
  /** Of the eight neighbours the one that gets most: its place, and its share of what patches that have it give to patches. */
  readonly neighbour: { readonly row: number; readonly col: number; readonly share: number } | null
  /** How much of the pattern between patches is the same in every picture: 1 where it depends on positions alone. */
  readonly samePattern: number | null
  readonly types: readonly HeadType[]
}

/** What a head has to reach to be called something; for `uniform` times what a head that attends everywhere alike has. */
const needed = {
  sink: 0.5,
  self: 0.5,
  neighbour: 0.3,
  line: { share: 0.5, uniform: 3 },
  corner: { share: 0.2, uniform: 4 },
  local: 0.5,
  broad: 0.95,
  position: 0.9,
} as const

interface Grid {
  readonly rows: number
  readonly columns: number
  readonly nPrefix: number
  readonly nPos: number
  readonly hasCls: boolean
  readonly nRegisters: number
}

/** In the order of `layers`, head by head. */
export function headStatistics(sums: HeadSums, config: VisionConfig): HeadStatistics[] {
  const grid: Grid = {
    ...patchGrid(config),
    nPrefix: nPrefixTokens(config),
    nPos: nPositions(config),
    hasCls: config.hasCls,
    nRegisters: config.nRegisters,
  }
  return sums.layers.flatMap((layer, place) =>
    Array.from({ length: config.nHeads }, (_, head) => statisticsOf(sums, { layer, head, index: place * config.nHeads + head, grid })),
  )
}

function statisticsOf(sums: HeadSums, which: { layer: number; head: number; index: number; grid: Grid }): HeadStatistics {
  const { layer, head, index, grid } = which
  const { nPos, nPrefix, hasCls, nRegisters } = grid
  const n = sums.nImages
  const rowOf = (values: Float64Array) => values.subarray(index * nPos, (index + 1) * nPos).map((value) => value / n)
  const mean = sums.pattern.subarray(index * nPos * nPos, (index + 1) * nPos * nPos).map((value) => value / n)
  const [entropy, largest] = [rowOf(sums.entropy), rowOf(sums.largest)]
  const ofPatches = (values: Float64Array) => average(values.subarray(nPrefix))
  const given = (query: number, from: number, to: number) => total(mean.subarray(query * nPos + from, query * nPos + to))
  const byPatches = (from: number, to: number) => {
    let sum = 0
    for (let query = nPrefix; query < nPos; query++) sum += given(query, from, to)
    return sum / (nPos - nPrefix)
  }
  const firstRegister = hasCls ? 1 : 0
  const statistics = {
    layer,
    head,
    entropy: ofPatches(entropy),
    clsEntropy: hasCls ? entropy[0]! : null,
    largest: ofPatches(largest),
    patchesToCls: hasCls ? byPatches(0, 1) : null,
    patchesToRegisters: nRegisters > 0 ? byPatches(firstRegister, nPrefix) : null,
    clsToCls: hasCls ? given(0, 0, 1) : null,
    clsToPatches: hasCls ? given(0, nPrefix, nPos) : null,
    clsToRegisters: hasCls && nRegisters > 0 ? given(0, firstRegister, nPrefix) : null,
    ...amongPatches(mean, grid),
    samePattern: samePattern(mean, { energy: sums.energy[index]! / n, nImages: n, grid }),
  }
  return { ...statistics, types: typesOf(statistics, grid) }
}

const total = (values: Float64Array) => values.reduce((sum, value) => sum + value, 0)
const average = (values: Float64Array) => total(values) / values.length

type AmongPatches = Pick<HeadStatistics, 'distance' | 'toSelf' | 'toRow' | 'toColumn' | 'toCorners' | 'neighbour'>

const neighbours = [-1, 0, 1].flatMap((row) => [-1, 0, 1].map((col) => ({ row, col }))).filter(({ row, col }) => row !== 0 || col !== 0)

/** Of each query what it gives to patches counts as 1; means over queries. */
function amongPatches(mean: Float64Array, { rows, columns, nPrefix, nPos }: Grid): AmongPatches {
  const nPatches = rows * columns
  const sums = { distance: 0, toSelf: 0, toRow: 0, toColumn: 0, toCorners: 0 }
  const ofNeighbour = neighbours.map((offset) => ({ ...offset, sum: 0, count: 0 }))
  for (let query = 0; query < nPatches; query++) {
    const from = (query + nPrefix) * nPos + nPrefix
    const weights = mean.subarray(from, from + nPatches)
    // a query that gives nothing to patches counts as one that gives everything alike
    const given = total(weights)
    const [row, column] = [Math.floor(query / columns), query % columns]
    for (let key = 0; key < nPatches; key++) {
      const share = given > 0 ? weights[key]! / given : 1 / nPatches
      const [down, across] = [Math.floor(key / columns) - row, (key % columns) - column]
      sums.distance += share * Math.hypot(down, across)
      if (key === query) sums.toSelf += share
      if (down === 0) sums.toRow += share
      if (across === 0) sums.toColumn += share
      if (isCorner(key, rows, columns)) sums.toCorners += share
      if (Math.abs(down) > 1 || Math.abs(across) > 1 || key === query) continue
      const neighbour = ofNeighbour.find((each) => each.row === down && each.col === across)!
      neighbour.sum += share
      neighbour.count++
    }
  }
  const shares = ofNeighbour.filter(({ count }) => count > 0).map(({ row, col, sum, count }) => ({ row, col, share: sum / count }))
  const best = shares.reduce<AmongPatches['neighbour']>((most, each) => (most && most.share >= each.share ? most : each), null)
  const perQuery = Object.fromEntries(Object.entries(sums).map(([name, sum]) => [name, sum / nPatches])) as typeof sums
  return { ...perQuery, neighbour: best }
}

function isCorner(patch: number, rows: number, columns: number): boolean {
  const [row, column] = [Math.floor(patch / columns), patch % columns]
  return (row === 0 || row === rows - 1) && (column === 0 || column === columns - 1)
}

/**
 * With C_i the pattern between patches of picture i, its mean over all entries taken away: the mean of <C_i, C_j> over pairs of different
 * pictures, divided by the mean of <C_i, C_i>. Null of one picture, and of patterns without any difference between entries.
 */
function samePattern(mean: Float64Array, { energy, nImages, grid }: { energy: number; nImages: number; grid: Grid }): number | null {
  if (nImages < 2) return null
  const { nPos, nPrefix } = grid
  const nPatches = nPos - nPrefix
  let [sum, squares] = [0, 0]
  for (let query = nPrefix; query < nPos; query++) {
    for (let key = nPrefix; key < nPos; key++) {
      const weight = mean[query * nPos + key]!
      sum += weight
      squares += weight * weight
    }
  }
  const ofMean = squares - (sum * sum) / nPatches ** 2
  // float32 patterns: below this there is only rounding
  if (energy <= 1e-12 * squares) return null
  return (nImages * ofMean - energy) / ((nImages - 1) * energy)
}

function typesOf(head: Omit<HeadStatistics, 'types'>, grid: Grid): HeadType[] {
  const { rows, columns, nPos } = grid
  const reaches = (share: number, { share: least, uniform }: { share: number; uniform: number }, alike: number) =>
    share >= least && share >= uniform * alike
  const neighbour = head.neighbour && head.neighbour.share >= needed.neighbour ? directionOf(head.neighbour) : undefined
  const found: Partial<Record<HeadType, boolean>> = {
    'cls-sink': (head.patchesToCls ?? 0) >= needed.sink,
    'register-sink': (head.patchesToRegisters ?? 0) >= needed.sink,
    self: head.toSelf >= needed.self,
    ...(neighbour && { [neighbour]: true }),
    row: reaches(head.toRow, needed.line, 1 / rows),
    column: reaches(head.toColumn, needed.line, 1 / columns),
    corner: rows > 2 && columns > 2 && reaches(head.toCorners, needed.corner, 4 / (rows * columns)),
    local: head.distance <= needed.local * uniformDistance(grid),
    broad: head.entropy >= needed.broad * Math.log(nPos),
    position: (head.samePattern ?? 0) >= needed.position,
  }
  return headTypes.filter((type) => found[type])
}

function directionOf({ row, col }: { row: number; col: number }): HeadType {
  if (row === 0) return col < 0 ? 'previous' : 'next'
  return col === 0 ? (row < 0 ? 'above' : 'below') : 'diagonal'
}

/** Of a head that attends to all patches alike. */
export function uniformDistance({ rows, columns }: Pick<Grid, 'rows' | 'columns'>): number {
  let sum = 0
  // as often as two patches are so far apart
  for (let down = 0; down < rows; down++) {
    for (let across = 0; across < columns; across++) {
      const pairs = (down === 0 ? rows : 2 * (rows - down)) * (across === 0 ? columns : 2 * (columns - across))
      sum += pairs * Math.hypot(down, across)
    }
  }
  return sum / (rows * columns) ** 2
}
