/**
 * How much of what one head writes another one reads, by weights alone: for heads of an earlier and of a later layer
 *
 *   Q: |QK' OV| / (|QK| |OV|)     what the later head's queries take of the earlier one's output
 *   K: |QK OV| / (|QK| |OV|)      its keys
 *   V: |OV' OV| / (|OV'| |OV|)    its values (OV' the later head's)
 *
 * in Frobenius norms (Elhage et al. 2021). Were the earlier head's output turned at random in the residual stream, the mean of the square would be
 * 1 / dModel exactly: its root is the baseline.
 */

import { GraphBuilder } from '../../graph/builder.js'
import { square, sumOver, wholes } from '../../graph/expressions.js'
import { float32, type Tensor } from '../../tensor.js'
import type { Analysis } from '../analysis.js'
import type { Workbench } from '../workbench.js'
import { type HeadFactors, headFactors } from './head-factors.js'
import { type Matrix, matrix, multiply, norm, transpose } from './linear-algebra/matrix.js'
import { orthogonalize } from './linear-algebra/orthogonalize.js'

export interface HeadCompositionInput {
  /** Layers whose heads write. */
  readonly from: readonly number[]
  /** Layers whose heads read; pairs of which the reader is not later are left out. */
  readonly to: readonly number[]
  /** Of the model, so that `cost` knows. */
  readonly dHead: number
  readonly dModel: number
  readonly nHeads: number
}

export interface HeadCompositionOutput {
  /** Each `[to, head, from, head]`; NaN where the reader is not later. */
  readonly q: Tensor<'float32'>
  readonly k: Tensor<'float32'>
  readonly v: Tensor<'float32'>
  /** What a head turned at random would have, as root mean square. */
  readonly baseline: number
}

const kinds = ['q', 'k', 'v'] as const
type Kind = (typeof kinds)[number]

export const headComposition: Analysis<HeadCompositionInput, HeadCompositionOutput> = {
  // a layer's factors in float64 and float32, and of every layer what readers and writers make of them
  cost: ({ from, to, dHead, dModel, nHeads }) => ({
    rows: 0,
    bytes: dModel * dHead * nHeads * (100 + 4 * from.length + 12 * to.length) + 4 * (nHeads * dHead) ** 2 * 3,
  }),

  async run(bench, { from, to }) {
    const { nHeads, dModel } = bench.model.config
    const program = await compositionProgram(bench)
    const shape = [to.length, nHeads, from.length, nHeads]
    const scores = Object.fromEntries(
      kinds.map((kind) => [kind, new Float32Array(nHeads * nHeads * to.length * from.length).fill(Number.NaN)]),
    )
    const writers = new Map<number, Tensor<'float32'>>()
    const readers = new Map<number, Readonly<Record<Kind, Tensor<'float32'>>>>()
    for (const layer of new Set([...from, ...to])) {
      await bench.stillWanted()
      const factors = await headFactors(bench, layer)
      if (from.includes(layer)) writers.set(layer, stacked(factors.map(writerOf), dModel))
      if (to.includes(layer)) readers.set(layer, readersOf(factors, dModel))
    }
    for (const [toAt, toLayer] of to.entries()) {
      for (const [fromAt, fromLayer] of from.entries()) {
        if (toLayer <= fromLayer) continue
        for (const kind of kinds) {
          const made = (await program.run({ readers: readers.get(toLayer)![kind], writers: writers.get(fromLayer)! })).scores!.data
          for (let reader = 0; reader < nHeads; reader++) {
            const row = made.subarray(reader * nHeads, (reader + 1) * nHeads)
            scores[kind]!.set(row, ((toAt * nHeads + reader) * from.length + fromAt) * nHeads)
          }
        }
      }
    }
    const [q, k, v] = kinds.map((kind) => float32(shape, scores[kind]!)) as [Tensor<'float32'>, Tensor<'float32'>, Tensor<'float32'>]
    return { q, k, v, baseline: 1 / Math.sqrt(dModel) }
  },
}

/**
 * O V without the orthonormal rows that it ends in, which change no norm: with V' = Qv Rv it is (O Rv') Qv'. Transposed, `[dHead, dModel]`, and
 * divided by its norm.
 */
function writerOf({ o, v }: HeadFactors): Matrix {
  return unit(multiply(orthogonalize(transpose(v)).r, transpose(o)))
}

/** The same of what a reader begins with: `[dHead, dModel]` for each head. */
function readersOf(factors: readonly HeadFactors[], dModel: number): Readonly<Record<Kind, Tensor<'float32'>>> {
  const reader = (outer: Matrix, inner: Matrix) => unit(multiply(orthogonalize(outer).r, inner))
  return {
    q: stacked(
      factors.map(({ q, k }) => reader(transpose(k), q)),
      dModel,
    ),
    k: stacked(
      factors.map(({ q, k }) => reader(transpose(q), k)),
      dModel,
    ),
    v: stacked(
      factors.map(({ o, v }) => reader(o, v)),
      dModel,
    ),
  }
}

function unit({ rows, columns, data }: Matrix): Matrix {
  const length = norm({ rows, columns, data })
  return matrix(rows, columns, length > 0 ? data.map((value) => value / length) : data)
}

/** `[head, dHead, dModel]` */
function stacked(parts: readonly Matrix[], dModel: number): Tensor<'float32'> {
  const data = new Float32Array(parts.reduce((sum, part) => sum + part.data.length, 0))
  let at = 0
  for (const part of parts) {
    data.set(part.data, at)
    at += part.data.length
  }
  return float32([parts.length, parts[0]!.rows, dModel], data)
}

/** Inputs `[head, dHead, dModel]`; output `scores` `[reader, writer]`. */
function compositionProgram(bench: Workbench) {
  const { nHeads, dHead, dModel } = bench.model.config
  return bench.ready('headComposition', () => {
    const b = new GraphBuilder('head composition')
    const rows = (name: string) => b.op('Reshape', [b.input(name, 'float32', [nHeads, dHead, dModel]), wholes(b, [nHeads * dHead, dModel])])
    const products = b.op('Gemm', [rows('readers'), rows('writers')], { transB: 1 })
    const byHead = b.op('Reshape', [square(b, products), wholes(b, [nHeads, dHead, nHeads, dHead])])
    return b.build([b.named('scores', b.op('Sqrt', [sumOver(b, sumOver(b, byHead, 3, 0), 1, 0)]))])
  })
}
