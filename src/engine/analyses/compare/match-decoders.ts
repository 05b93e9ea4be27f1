/**
 * Two SAEs compared by the directions that their features write: the cosine of every row of one decoder with every row of the other, of which the
 * largest are kept each way, and a matching of one to one. Products are made in blocks on the backend; the matrix of all pairs never is.
 * Sharkey, Braun and Millidge (2022): mean max cosine similarity.
 */

import { EngineError } from '../../errors.js'
import { GraphBuilder } from '../../graph/builder.js'
import { multiply, wholes } from '../../graph/expressions.js'
import { saePrefix } from '../../saes/attach-saes.js'
import { float32, int64 } from '../../tensor.js'
import type { Analysis } from '../analysis.js'
import { blockBytes, decoderNorms, decoderRows, everyIndex, inBlocks, pick, rowsOfBlock } from '../weights/decoder-rows.js'
import type { Ready, Workbench } from '../workbench.js'

export interface MatchDecodersInput {
  /** How many latents the second SAE has, so that `cost` knows. */
  readonly width: number
}

/** For each latent of one side, a latent of the other. */
export interface Matches {
  /** -1 where there is none. */
  readonly latents: Int32Array
  /** 0 where there is none. */
  readonly cosines: Float32Array
}

export interface MatchDecodersOutput {
  /** For each latent of the first SAE the nearest of the second; several may have the same. */
  readonly forth: Matches
  readonly back: Matches
  /**
   * One to one, for each latent of the first SAE: of all pairs the one with the largest cosine is taken, then of what is left (greedy). Its sum
   * of cosines is at least half of the largest that any matching has.
   */
  readonly pairs: Matches
}

/** The bench has two SAEs of equal dOut. */
export const matchDecoders: Analysis<MatchDecodersInput, MatchDecodersOutput> = {
  // products, and where the largest are; the rows that are left for another round
  cost: ({ width }) => ({ rows: 0, bytes: blockBytes(width) + 64 * width }),

  async run(bench) {
    const [a, b] = bench.saes.map(({ config }) => config)
    if (!a || !b || a.dOut !== b.dOut) {
      const problems = [`it writes ${b?.dOut} numbers, and ${bench.saes[0]?.key} ${a?.dOut}; decoders of one width can be compared`]
      throw new EngineError('SAE_MISFIT', { sae: bench.saes[1]?.key ?? '', model: bench.model.key, problems })
    }
    const sides = { a: await sideOf(bench, 0), b: await sideOf(bench, 1) }
    const all = { rows: sides.a.latents, columns: sides.b.latents }
    const { forth, back } = await nearest(bench, sides, all)
    const pairs = none(a.dSae)
    let left = takeMutual({ forth, back, ...all }, pairs)
    while (left.rows.length > 0 && left.columns.length > 0) {
      const next = takeMutual({ ...(await nearest(bench, sides, left)), ...left }, pairs)
      // only numbers that are none leave a round without a pair
      if (next.rows.length === left.rows.length) break
      left = next
    }
    return { forth: spread(forth, all.rows, a.dSae), back: spread(back, all.columns, b.dSae), pairs }
  },
}

interface Side {
  readonly inverse: Float32Array
  /** Those whose rows have a length; the others are nobody's nearest. */
  readonly latents: Int32Array
}

async function sideOf(bench: Workbench, index: number): Promise<Side> {
  const { inverse } = await decoderNorms(bench, index)
  return { inverse, latents: everyIndex(inverse.length).filter((latent) => inverse[latent]! > 0) }
}

interface Sides {
  readonly a: Side
  readonly b: Side
}

/** Latents of either side that are looked at. */
interface Left {
  readonly rows: Int32Array
  readonly columns: Int32Array
}

const none = (length: number): Matches => ({ latents: new Int32Array(length).fill(-1), cosines: new Float32Array(length) })

/** What was found of some latents, by latent. */
function spread({ latents, cosines }: Matches, of: Int32Array, length: number): Matches {
  const result = none(length)
  for (const [at, latent] of of.entries()) {
    result.latents[latent] = latents[at]!
    result.cosines[latent] = cosines[at]!
  }
  return result
}

/** Indices are latents; the arrays are as long as `rows` and `columns`. */
async function nearest(bench: Workbench, { a, b }: Sides, { rows, columns }: Left): Promise<Pick<MatchDecodersOutput, 'forth' | 'back'>> {
  if (columns.length === 0) return { forth: none(rows.length), back: none(0) }
  const isWhole = columns.length === b.inverse.length
  const program = await nearestProgram(bench, isWhole)
  const [forth, back] = [none(rows.length), none(columns.length)]
  const columnScales = float32([columns.length], pick(b.inverse, columns))
  const fixed = { columnScales, ...(!isWhole && { columns: int64([columns.length], Array.from(columns)) }) }
  await inBlocks(rows, rowsOfBlock(columns.length), async ({ from, latents, indices }) => {
    const rowScales = float32([indices.length, 1], pick(a.inverse, indices))
    const made = await program.run({ latents, rowScales, ...fixed })
    const [rowBest, rowAt, columnBest, columnAt] = ['rowBest', 'rowAt', 'columnBest', 'columnAt'].map((name) => made[name]!.data)
    for (let at = 0; at < indices.length; at++) {
      forth.cosines[from + at] = rowBest![at]!
      forth.latents[from + at] = columns[rowAt![at]!]!
    }
    for (let at = 0; at < columns.length; at++) {
      // of equals the first
      if (back.latents[at] !== -1 && columnBest![at]! <= back.cosines[at]!) continue
      back.cosines[at] = columnBest![at]!
      back.latents[at] = indices[columnAt![at]!]!
    }
  })
  return { forth, back }
}

function nearestProgram(bench: Workbench, isWhole: boolean): Promise<Ready> {
  return bench.ready(`nearestRows ${isWhole}`, () => {
    const [, { config }] = bench.saes as [unknown, Workbench['saes'][number]]
    const b = new GraphBuilder('nearest rows')
    const unit = multiply(b, decoderRows(b, { config: bench.saes[0]!.config, index: 0 }), b.input('rowScales', 'float32', ['batch', 1]))
    const all = b.parameter(`${saePrefix(1)}W_dec`, [config.dSae, config.dOut])
    const others = isWhole ? all : b.op('Gather', [all, b.input('columns', 'int64', ['columns'])], { axis: 0 })
    const scales = b.input('columnScales', 'float32', [isWhole ? config.dSae : 'columns'])
    const cosines = multiply(b, b.op('Gemm', [unit, others], { transB: 1 }), scales)
    const largest = (axis: 0 | 1, name: string) => [
      b.named(`${name}Best`, b.op('ReduceMax', [cosines, wholes(b, [axis])], { keepdims: 0 })),
      b.named(`${name}At`, b.op('Cast', [b.op('ArgMax', [cosines], { axis, keepdims: 0 })], { to: 'int32' })),
    ]
    return b.build([...largest(1, 'row'), ...largest(0, 'column')])
  })
}

/**
 * Takes every pair of which each is the other's nearest: those are what the greedy matching takes, in whatever order. The pair with the largest
 * cosine of all is one of them, so that every round takes some.
 */
function takeMutual({ forth, back, rows, columns }: Left & Pick<MatchDecodersOutput, 'forth' | 'back'>, pairs: Matches): Left {
  const place = new Map<number, number>(Array.from(columns, (latent, at) => [latent, at]))
  const taken = new Set<number>()
  const leftRows = rows.filter((row, at) => {
    const column = forth.latents[at]!
    if (back.latents[place.get(column)!] !== row) return true
    pairs.latents[row] = column
    pairs.cosines[row] = forth.cosines[at]!
    taken.add(column)
    return false
  })
  return { rows: leftRows, columns: columns.filter((column) => !taken.has(column)) }
}
