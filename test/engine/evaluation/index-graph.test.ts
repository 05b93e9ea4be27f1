/** What the graph of an index says of latents, beside what all their codes say when they are looked at one by one. */

import { describe, expect, test } from 'vitest'
import { indexCodes } from '../../../src/engine/evaluation/index-codes.js'
import { indexGraph } from '../../../src/engine/evaluation/index-graph.js'
import { EMBEDDINGS, pieces, pieceWeights, sampleInput, weightedOutput } from '../../../src/engine/evaluation/index-pieces.js'
import type { StudiedTokens } from '../../../src/engine/evaluation/studied-sae.js'
import { GraphBuilder } from '../../../src/engine/graph/builder.js'
import { createRandom } from '../../../src/engine/random.js'
import { encoderInput, latentsOfInput } from '../../../src/engine/saes/encode-decode.js'
import type { SaeConfig } from '../../../src/engine/saes/sae.js'
import { elementCount, float32, int64, type Tensor } from '../../../src/engine/tensor.js'
import { type BackendUnderTest, backends, runOnce } from '../each-backend.js'
import { randomWeights } from '../saes/spliced-tower.js'

const [BATCH, LENGTH, D_IN, D_EMBED] = [3, 8, 6, 5]
/** Two pieces of latents. */
const D_SAE = 2100

const base = {
  dIn: D_IN,
  dOut: D_IN,
  dSae: D_SAE,
  normalization: 'none',
  subtractsDecoderBias: true,
  hookPoint: 'blocks.1.hook_resid_post',
} as const
const cases: [string, SaeConfig][] = [
  ['relu', { ...base, architecture: 'standard', activation: 'relu', normalization: 'layer_norm' }],
  ['tanh-relu', { ...base, architecture: 'standard', activation: 'tanh-relu', normalization: 'constant_norm_rescale' }],
  ['topk', { ...base, architecture: 'topk', activation: 'topk', k: 40 }],
  ['gated', { ...base, architecture: 'gated', activation: 'relu', subtractsDecoderBias: false }],
  ['gated topk', { ...base, architecture: 'gated', activation: 'topk', k: 40 }],
  ['jumprelu', { ...base, architecture: 'jumprelu', activation: 'relu', normalization: 'expected_average_only_in' }],
  ['batch-topk', { ...base, architecture: 'batch-topk', activation: 'batch-topk', k: 3 }],
  ['matryoshka', { ...base, architecture: 'matryoshka', activation: 'batch-topk', k: 3, widths: [700, D_SAE] }],
]

/** CLS, which the SAE is not for, a register and six patches. */
const tokens: StudiedTokens = {
  hookPoint: { name: base.hookPoint, axes: ['batch', 'pos', 'dModel'], shape: ['batch', LENGTH, D_IN], meaning: '', optional: false },
  ...{ from: 1, to: LENGTH, length: LENGTH, firstPosition: 1 },
  kinds: [
    { kind: 'register', from: 0, to: 1 },
    { kind: 'patch', from: 1, to: 7 },
  ],
}
const sampled = { register: [2], patch: [0, 7, 17] } as const

function normal(shape: readonly number[], seed: number): Tensor<'float32'> {
  const random = createRandom(seed)
  return float32(
    shape,
    Array.from({ length: elementCount(shape) }, () => random.normal()),
  )
}
const x = normal([BATCH, LENGTH, D_IN], 1)
const embeddings = normal([BATCH, D_EMBED], 2)

/** `[picture][position][latent]`: pre-activations and activations of every token. */
async function allCodes(backend: BackendUnderTest, config: SaeConfig, given: Record<string, Tensor>) {
  const b = new GraphBuilder('all codes')
  const site = { prefix: '', axes: ['batch', 'dModel'] } as const
  const input = encoderInput(b, b.input('x', 'float32', ['batch', D_IN]), config, site)
  const { pre, latentActs } = latentsOfInput(b, input, config, site)
  const graph = b.build([b.named('pre', pre), b.named('acts', latentActs)])
  const weights = Object.fromEntries(Object.keys(graph.parameters).map((name) => [name, given[name]!]))
  const made = await runOnce(await backend.create(), graph, { inputs: { x: { ...x, shape: [BATCH * LENGTH, D_IN] } }, weights })
  const nested = ({ data }: Tensor) =>
    Array.from({ length: BATCH }, (_, image) =>
      Array.from({ length: LENGTH }, (_, pos) =>
        Array.from(data.subarray((image * LENGTH + pos) * D_SAE, (image * LENGTH + pos + 1) * D_SAE), Number),
      ),
    )
  return { pre: nested(made.pre!), acts: nested(made.acts!) }
}

describe.each(backends)('the graph of an index on %s', (backend) => {
  test.each(cases)('says of %s latents what all their codes say', async (_, config) => {
    const weights = randomWeights(config)
    const { pre, acts } = await allCodes(backend, config, weights)
    const graph = indexGraph(config, tokens, D_EMBED)
    const inputs = {
      ...{ x, [EMBEDDINGS]: embeddings },
      ...Object.fromEntries(
        tokens.kinds
          .filter(({ kind }) => Object.hasOwn(graph.inputs, sampleInput(kind)))
          .map(({ kind }) => [sampleInput(kind), int64([sampled[kind as 'patch'].length], [...sampled[kind as 'patch']])]),
      ),
    }
    const made = await runOnce(await backend.create(), graph, { inputs, weights: pieceWeights(config, weights, graph) })
    const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0)
    const wrong: string[] = []
    const compare = (what: string, actual: number, expected: number) => {
      if (!(Math.abs(actual - expected) <= 1e-4 * Math.max(1, Math.abs(expected)))) wrong.push(`${what}: ${actual}, not ${expected}`)
    }
    const rows = tokens.kinds.map(({ kind }) => sampled[kind as 'patch'].map((row) => ({ row })))
    const all = indexCodes({ config, tokens, batch: BATCH, sampled: rows, made })
    for (const [at, piece] of pieces(config).entries()) {
      const width = piece.to - piece.from
      for (const [kind, range] of tokens.kinds.entries()) {
        const codes = all.pieces[at]![kind]!
        const positions = Array.from({ length: range.to - range.from }, (_, at) => tokens.firstPosition + range.from + at)
        for (let own = 0; own < width; own++) {
          const of = (all: number[][][], image: number) => positions.map((pos) => all[image]![pos]![piece.from + own]!)
          const everywhere = acts.flatMap((_, image) => of(acts, image))
          const what = `${range.kind} ${piece.from + own}`
          compare(`${what} count`, codes.count[own]!, everywhere.filter((act) => act > 0).length)
          compare(`${what} sum`, codes.sum[own]!, sum(everywhere))
          compare(`${what} squares`, codes.squares[own]!, sum(everywhere.map((act) => act * act)))
          for (let image = 0; image < BATCH; image++) {
            const at = image * width + own
            const [ownActs, ownPre] = [of(acts, image), of(pre, image)]
            compare(`${what} max`, codes.max[at]!, Math.max(...ownActs))
            compare(`${what} min`, codes.min[at]!, Math.min(...ownPre))
            // by what is there, since rounding may make another one the largest
            if (codes.whereMax) compare(`${what} where the max is`, ownActs[codes.whereMax[at]!]!, Math.max(...ownActs))
            if (codes.whereMin) compare(`${what} where the min is`, ownPre[codes.whereMin[at]!]!, Math.min(...ownPre))
          }
        }
      }
      for (let own = 0; own < width; own++) {
        const scores = acts.map((picture) => Math.max(...picture.slice(tokens.from).map((codes) => codes[piece.from + own]!)))
        for (let d = 0; d < D_EMBED; d++) {
          const expected = sum(scores.map((score, image) => score * embeddings.data[image * D_EMBED + d]!))
          compare(`${piece.from + own} weighted`, Number(made[weightedOutput(piece)]!.data[own * D_EMBED + d]), expected)
        }
      }
    }
    for (const [kind, range] of tokens.kinds.entries()) {
      for (const [at, { row }] of rows[kind]!.entries()) {
        const length = range.to - range.from
        const token = acts[Math.floor(row / length)]![tokens.firstPosition + range.from + (row % length)]!
        const { latents, bits } = all.active(kind, at)
        expect([...latents], `${range.kind} ${row}`).toEqual(token.flatMap((act, latent) => (act > 0 ? [latent] : [])))
        const codes = new Float32Array(bits.slice().buffer)
        for (const [own, latent] of latents.entries()) compare(`${range.kind} ${row} sampled ${latent}`, codes[own]!, token[latent]!)
      }
    }
    expect(wrong).toEqual([])
    expect(acts.flat(2).some((act) => act > 0)).toBe(true)
  })
})
