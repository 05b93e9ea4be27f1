/**
 * What an SAE's decoder looks like: how long its rows are, how near to one another, how many dimensions they fill, and what of the model they are
 * aligned with: the directions that its answer is read by, and the neurons of an MLP.
 */

import { GraphBuilder } from '../../graph/builder.js'
import { multiply, normOver, square, sumOver, wholes } from '../../graph/expressions.js'
import { saePrefix } from '../../saes/attach-saes.js'
import { reachesAnswer } from '../../saes/decoder-graphs.js'
import { float32, type Tensor } from '../../tensor.js'
import type { Analysis } from '../analysis.js'
import type { Matches } from '../compare/match-decoders.js'
import type { Workbench } from '../workbench.js'
import { blockBytes, decoderNorms, decoderRows, everyIndex, inBlocks, pick, rowsOfBlock } from './decoder-rows.js'
import { gainOf, numbersOf, outputRows, throughNorm } from './head-factors.js'
import { type Matrix, transpose } from './linear-algebra/matrix.js'
import { orthogonalize } from './linear-algebra/orthogonalize.js'

export interface DecoderGeometryInput {
  /** The MLP whose neurons rows are compared with; absent: none. */
  readonly mlpLayer?: number
  /** Of the SAE, so that `cost` knows. */
  readonly dSae: number
  readonly dOut: number
  /** Of the model's answer and of its MLPs. */
  readonly dAnswer: number
  readonly dMlp: number
}

export interface DecoderGeometryOutput {
  /** Euclidean, by latent. */
  readonly norms: Float32Array
  /** Of each row the other row with the largest cosine. */
  readonly nearest: Matches
  /** Of the second moments of the unit rows: the square of the sum of eigenvalues over the sum of their squares (participation ratio). */
  readonly effectiveDimension: number
  /** Null where the model's answer is not read from the residual stream, or the SAE does not write to it. */
  readonly answer: AnswerAlignment | null
  readonly neurons: NeuronAlignment | null
}

export interface AnswerAlignment {
  /** Dimensions that the answer is read from. */
  readonly rank: number
  /** By latent: what share of the row's squared length lies in them; rank / dModel of a row turned at random. Null where they are all dimensions. */
  readonly shares: Float32Array | null
  /** Of a classifier, by latent the class whose direction has the largest cosine. */
  readonly classes: Matches | null
}

export interface NeuronAlignment {
  readonly layer: number
  /** By latent: the neuron whose output weights have the cosine farthest from 0, with its sign. */
  readonly best: Matches
  /** About what the largest size of a cosine would be for a direction at random: sqrt(2 ln(2 n) / d) of n neurons in d dimensions. */
  readonly expected: number
}

/** The bench has one SAE. */
export const decoderGeometry: Analysis<DecoderGeometryInput, DecoderGeometryOutput> = {
  cost: ({ dSae, dOut, dAnswer, dMlp }) => ({
    rows: 0,
    bytes: blockBytes(Math.max(dSae, dMlp)) + 16 * dOut ** 2 + 40 * dAnswer * dOut + 40 * dSae,
  }),

  async run(bench, { mlpLayer }) {
    const [{ config }] = bench.saes as [Workbench['saes'][number]]
    const { norms, inverse } = await decoderNorms(bench, 0)
    const nearest = await nearestOthers(bench, inverse)
    const effectiveDimension = await participation(bench, inverse)
    const answer = reachesAnswer(config, bench.model.config) ? await answerAlignment(bench, inverse) : null
    const neurons = mlpLayer === undefined ? null : await neuronAlignment(bench, { inverse, layer: mlpLayer })
    return { norms, nearest, effectiveDimension, answer, neurons }
  },
}

/** Unit rows: input `latents`, and `rowScales` `[batch, 1]` that their lengths' inverses are in. */
function unitRows(b: GraphBuilder, bench: Workbench): string {
  return multiply(b, decoderRows(b, { config: bench.saes[0]!.config, index: 0 }), b.input('rowScales', 'float32', ['batch', 1]))
}

type Unit = { readonly latents: Tensor<'int64'>; readonly rowScales: Tensor<'float32'> }

/** Unit rows in blocks; what has no length stays 0. */
function eachBlock(inverse: Float32Array, width: number, run: (unit: Unit, from: number) => Promise<void>): Promise<void> {
  return inBlocks(everyIndex(inverse.length), rowsOfBlock(width), ({ from, latents, indices }) =>
    run({ latents, rowScales: float32([indices.length, 1], pick(inverse, indices)) }, from),
  )
}

const emptyMatches = (length: number): Matches => ({ latents: new Int32Array(length).fill(-1), cosines: new Float32Array(length) })

async function nearestOthers(bench: Workbench, inverse: Float32Array): Promise<Matches> {
  const { dSae, dOut } = bench.saes[0]!.config
  const found = emptyMatches(dSae)
  if (dSae < 2) return found
  const program = await bench.ready('nearestOthers', () => {
    const b = new GraphBuilder('nearest others')
    const all = b.parameter(`${saePrefix(0)}W_dec`, [dSae, dOut])
    const cosines = multiply(b, b.op('Gemm', [unitRows(b, bench), all], { transB: 1 }), b.input('columnScales', 'float32', [dSae]))
    // a row is its own nearest, or among equals one of the first
    const [values, indices] = b.opMany('TopK', [cosines, wholes(b, [2])], { nOutputs: 2, attributes: { axis: -1 } })
    return b.build([b.named('values', values!), b.named('indices', b.op('Cast', [indices!], { to: 'int32' }))])
  })
  const columnScales = float32([dSae], inverse)
  await eachBlock(inverse, dSae, async (unit, from) => {
    const { values, indices } = await program.run({ ...unit, columnScales })
    for (let at = 0; at < unit.latents.data.length; at++) {
      const latent = from + at
      const which = indices!.data[2 * at] === latent ? 1 : 0
      const other = indices!.data[2 * at + which]!
      if (inverse[latent] === 0 || inverse[other] === 0) continue
      found.latents[latent] = other
      found.cosines[latent] = values!.data[2 * at + which]!
    }
  })
  return found
}

async function participation(bench: Workbench, inverse: Float32Array): Promise<number> {
  const { dOut } = bench.saes[0]!.config
  const program = await bench.ready('secondMoments', () => {
    const b = new GraphBuilder('second moments')
    const unit = unitRows(b, bench)
    return b.build([b.named('moments', b.op('Gemm', [unit, unit], { transA: 1 }))])
  })
  const moments = new Float64Array(dOut * dOut)
  await eachBlock(inverse, dOut, async (unit) => {
    const { data } = (await program.run({ ...unit })).moments!
    for (let at = 0; at < moments.length; at++) moments[at]! += data[at]!
  })
  let [trace, squares] = [0, 0]
  for (let d = 0; d < dOut; d++) trace += moments[d * dOut + d]!
  for (const value of moments) squares += value * value
  return squares > 0 ? trace ** 2 / squares : 0
}

/** The directions of the residual stream that an answer is read by, through the final LayerNorm's gain, less their mean: `[dOut, dModel]`. */
async function readingDirections(bench: Workbench): Promise<Matrix | undefined> {
  const { config } = bench.model
  if (config.head.kind === 'none') return undefined
  const rows = await outputRows(bench, 'head.W_H')
  return config.finalNorm === 'none' ? rows : throughNorm(rows, { config, gain: await gainOf(bench, 'ln_final') })
}

async function answerAlignment(bench: Workbench, inverse: Float32Array): Promise<AnswerAlignment | null> {
  const { head, dModel } = bench.model.config
  const directions = await readingDirections(bench)
  if (!directions) return null
  const classes = head.kind === 'classes' ? await bestColumns(bench, { inverse, columns: transpose(directions), signed: true }) : null
  // orthogonalizing more rows than dimensions would say that there are all of them
  if (directions.rows >= dModel) return { rank: dModel, shares: null, classes }
  const { q } = orthogonalize(transpose(directions))
  const rank = Array.from({ length: q.columns }, (_, at) => q.data.some((value, place) => place % q.columns === at && value !== 0)).filter(
    Boolean,
  ).length
  return { rank, shares: await sharesIn(bench, inverse, q), classes }
}

/** By latent the squared length of its unit row within orthonormal columns. */
async function sharesIn(bench: Workbench, inverse: Float32Array, basis: Matrix): Promise<Float32Array> {
  const { dOut } = bench.saes[0]!.config
  const program = await bench.ready(`sharesIn ${basis.columns}`, () => {
    const b = new GraphBuilder('shares')
    const inside = b.op('Gemm', [unitRows(b, bench), b.input('basis', 'float32', [dOut, basis.columns])])
    return b.build([b.named('shares', sumOver(b, square(b, inside), -1, 0))])
  })
  const shares = new Float32Array(inverse.length)
  const fed = float32([dOut, basis.columns], basis.data)
  await eachBlock(inverse, basis.columns, async (unit, from) => {
    shares.set((await program.run({ ...unit, basis: fed })).shares!.data, from)
  })
  return shares
}

interface Compared {
  readonly inverse: Float32Array
  /** `[dOut, n]` */
  readonly columns: Matrix
  /** Whether the largest cosine is wanted, or the one farthest from 0. */
  readonly signed: boolean
}

async function bestColumns(bench: Workbench, { inverse, columns, signed }: Compared): Promise<Matches> {
  const { dOut } = bench.saes[0]!.config
  const n = columns.columns
  const program = await bench.ready(`bestColumns ${n} ${signed}`, () => {
    const b = new GraphBuilder('best columns')
    const others = b.input('others', 'float32', [dOut, n])
    const lengths = b.op('Max', [normOver(b, others, 0), b.constant(float32([], [1e-30]))])
    const cosines = b.op('Gemm', [unitRows(b, bench), b.op('Div', [others, lengths])])
    const ranked = signed ? cosines : b.op('Abs', [cosines])
    const at = b.op('ArgMax', [ranked], { axis: 1, keepdims: 1 })
    const indices = b.op('Squeeze', [b.op('Cast', [at], { to: 'int32' }), wholes(b, [1])])
    return b.build([
      b.named('cosines', b.op('Squeeze', [b.op('GatherElements', [cosines, at], { axis: 1 }), wholes(b, [1])])),
      b.named('indices', indices),
    ])
  })
  const others = float32([dOut, n], columns.data)
  const found = emptyMatches(inverse.length)
  await eachBlock(inverse, n, async (unit, from) => {
    const { cosines, indices } = await program.run({ ...unit, others })
    for (let at = 0; at < unit.latents.data.length; at++) {
      if (inverse[from + at] === 0) continue
      found.latents[from + at] = indices!.data[at]!
      found.cosines[from + at] = cosines!.data[at]!
    }
  })
  return found
}

/** Rows of the decoder with what each neuron writes, layer scale included. */
async function neuronAlignment(
  bench: Workbench,
  { inverse, layer }: { readonly inverse: Float32Array; readonly layer: number },
): Promise<NeuronAlignment> {
  const { config } = bench.model
  const written = await outputRows(bench, `blocks.${layer}.mlp.W_out`)
  if (config.layerScale) {
    const scale = await numbersOf(bench, `blocks.${layer}.ls2`)
    for (let at = 0; at < written.data.length; at++) written.data[at]! *= scale[Math.floor(at / written.columns)]!
  }
  const best = await bestColumns(bench, { inverse, columns: written, signed: false })
  return { layer, best, expected: Math.sqrt((2 * Math.log(2 * written.columns)) / written.rows) }
}
