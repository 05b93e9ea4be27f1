/** What weights say, against the same written out with whole matrices in NumPy. */

import { describe, expect, test } from 'vitest'
import { decoderGeometry } from '../../../src/engine/analyses/weights/decoder-geometry.js'
import { featuresToHeads } from '../../../src/engine/analyses/weights/features-to-heads.js'
import { headComposition } from '../../../src/engine/analyses/weights/head-composition.js'
import { headFactors } from '../../../src/engine/analyses/weights/head-factors.js'
import { matrix, multiply, norm, transpose } from '../../../src/engine/analyses/weights/linear-algebra/matrix.js'
import { orthogonalize } from '../../../src/engine/analyses/weights/linear-algebra/orthogonalize.js'
import { singularValues } from '../../../src/engine/analyses/weights/linear-algebra/singular-values.js'
import { virtualWeights } from '../../../src/engine/analyses/weights/virtual-weights.js'
import { type Circuit, circuitsOf, weightCircuits } from '../../../src/engine/analyses/weights/weight-circuits.js'
import type { Workbench } from '../../../src/engine/analyses/workbench.js'
import { createRandom } from '../../../src/engine/random.js'
import { backends, referenceFloat64 } from '../each-backend.js'
import { compareBench, goldenSae } from './compare-bench.js'
import { readGolden } from './compare-goldens.js'

type GoldenCircuit = Omit<Circuit, 'singularValues'> & { readonly singularValues: readonly number[] }

interface Circuits {
  readonly [model: string]: {
    readonly heads: readonly { readonly layer: number; readonly head: number; readonly ov: GoldenCircuit; readonly qk: GoldenCircuit }[]
    readonly composition: readonly {
      readonly to: number
      readonly from: number
      readonly q: number
      readonly k: number
      readonly v: number
    }[]
  }
}

interface Decoders {
  readonly geometry: {
    readonly norms: readonly number[]
    readonly nearest: readonly number[]
    readonly nearestCosines: readonly number[]
    readonly effectiveDimension: number
    readonly answerRank: number
    readonly answerShares: readonly number[]
  }
  readonly neurons: { readonly best: readonly number[]; readonly cosines: readonly number[] }
  readonly virtual: {
    readonly [name: string]: { readonly weights: readonly (readonly number[])[]; readonly cosines: readonly (readonly number[])[] }
  }
  readonly readings: Readonly<
    Record<'q' | 'k' | 'v', { readonly lengths: readonly (readonly number[])[]; readonly expected: readonly number[] }>
  >
}

const circuits = readGolden<Circuits>('circuits.json')
const decoders = readGolden<Decoders>('decoders.json')

function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance = 2e-5): void {
  expect(actual.length).toBe(expected.length)
  const scale = Math.max(1e-30, ...Array.from(expected, Math.abs))
  for (let at = 0; at < expected.length; at++) expect(Math.abs(actual[at]! - expected[at]!)).toBeLessThanOrEqual(tolerance * scale)
}

const sizes = ({ model: { config } }: Workbench) => ({ dHead: config.dHead, dModel: config.dModel, nHeads: config.nHeads })
const everyHead = ({ model: { config } }: Workbench) =>
  Array.from({ length: config.nLayers }, (_, layer) => ({ layer, heads: Array.from({ length: config.nHeads }, (_, head) => head) }))

describe.each(Object.keys(circuits))('the heads of %s', async (model) => {
  const bench = await compareBench(await referenceFloat64.create(), model)

  test('have the spectra and eigenvalues of the whole matrices', async () => {
    const found = await weightCircuits.run(bench, { layers: everyHead(bench), ...sizes(bench) })
    expect(found.map(({ layer, head }) => [layer, head])).toEqual(circuits[model]!.heads.map(({ layer, head }) => [layer, head]))
    for (const [at, expected] of circuits[model]!.heads.entries()) {
      for (const which of ['ov', 'qk'] as const) {
        const { singularValues: values, ...numbers } = found[at]![which]
        const { singularValues: golden, ...goldenNumbers } = expected[which]
        expectClose(values, golden, 1e-10)
        for (const [name, value] of Object.entries(goldenNumbers)) expect(numbers[name as keyof typeof numbers]).toBeCloseTo(value, 8)
      }
    }
  })

  test('read each other as the whole matrices say', async () => {
    const { q, k, v, baseline } = await headComposition.run(bench, { from: [0], to: [1], ...sizes(bench) })
    const { nHeads, dModel } = bench.model.config
    expect(baseline).toBeCloseTo(1 / Math.sqrt(dModel), 12)
    for (const golden of circuits[model]!.composition) {
      const at = golden.to * nHeads + golden.from
      for (const [kind, tensor] of Object.entries({ q, k, v })) expect(tensor.data[at]).toBeCloseTo(golden[kind as 'q'], 6)
    }
  })

  test('are the same when LayerNorms are folded into them', async () => {
    const folded = await compareBench(await referenceFloat64.create(), model, { processing: ['fold-layer-norm'] })
    const input = { layers: everyHead(bench), ...sizes(bench) }
    const [plain, processed] = [await weightCircuits.run(bench, input), await weightCircuits.run(folded, input)]
    for (const [at, { ov, qk }] of plain.entries()) {
      expectClose(processed[at]!.ov.singularValues, ov.singularValues)
      expectClose(processed[at]!.qk.singularValues, qk.singularValues)
      expect(processed[at]!.ov.eigenvalueScore).toBeCloseTo(ov.eigenvalueScore, 4)
    }
  })
})

describe('composition', () => {
  test('of a layer with itself or one before it is not defined', async () => {
    const bench = await compareBench(await referenceFloat64.create(), 'hf-clip')
    const { v } = await headComposition.run(bench, { from: [0, 1], to: [0, 1], ...sizes(bench) })
    expect(v.shape).toEqual([2, 4, 2, 4])
    // [to, head, from, head]: only from layer 0 to layer 1
    const isDefined = Array.from(v.data, (value, at) => [!Number.isNaN(value), Math.floor(at / 32) === 1 && Math.floor(at / 4) % 2 === 0])
    for (const [actual, expected] of isDefined) expect(actual).toBe(expected)
  })

  test('with what is turned at random is the baseline, as root mean square', async () => {
    const bench = await compareBench(await referenceFloat64.create(), 'hf-clip')
    const [writer] = await headFactors(bench, 0)
    const [reader] = await headFactors(bench, 1)
    const { dModel } = bench.model.config
    const [ov, next] = [multiply(writer!.o, writer!.v), multiply(reader!.o, reader!.v)]
    const random = createRandom(3)
    const squares = Array.from({ length: 400 }, () => {
      const gaussian = matrix(
        dModel,
        dModel,
        Float64Array.from({ length: dModel ** 2 }, () => random.normal()),
      )
      const turned = multiply(orthogonalize(gaussian).q, ov)
      return (norm(multiply(next, turned)) / (norm(next) * norm(ov))) ** 2
    })
    const rootMeanSquare = Math.sqrt(squares.reduce((sum, each) => sum + each, 0) / squares.length)
    expect(rootMeanSquare).toBeCloseTo(1 / Math.sqrt(dModel), 2)
  })
})

describe('a circuit', () => {
  const identity = (n: number) =>
    matrix(
      n,
      n,
      Float64Array.from({ length: n * n }, (_, at) => (at % (n + 1) === 0 ? 1 : 0)),
    )

  test('that hands on what it reads copies; one that hands on its opposite does the reverse', () => {
    const o = matrix(
      6,
      3,
      identity(6).data.filter((_, at) => at % 6 < 3),
    )
    const v = transpose(o)
    const negative = { ...o, data: o.data.map((value) => -value) }
    expect(circuitsOf({ q: v, k: v, v, o }).ov).toMatchObject({ eigenvalueScore: 1, positiveEigenvalues: 1 })
    expect(circuitsOf({ q: v, k: v, v, o: negative }).ov).toMatchObject({ eigenvalueScore: -1, positiveEigenvalues: 0 })
  })

  test('cut to r singular values is off by what the others hold (Eckart and Young)', () => {
    const random = createRandom(5)
    const factor = () =>
      matrix(
        12,
        4,
        Float64Array.from({ length: 48 }, () => random.normal()),
      )
    const [o, right] = [factor(), factor()]
    const { singularValues: values } = circuitsOf({ q: transpose(o), k: transpose(o), v: transpose(right), o }).ov
    // any projection of rank 1 leaves at least the rest of the spectrum
    const whole = multiply(o, transpose(right))
    const left = Math.sqrt(values.slice(1).reduce((sum, value) => sum + value ** 2, 0))
    for (let trial = 0; trial < 20; trial++) {
      const { q } = orthogonalize(
        matrix(
          12,
          1,
          Float64Array.from({ length: 12 }, () => random.normal()),
        ),
      )
      const rest = multiply(q, multiply(transpose(q), whole)).data.map((value, at) => whole.data[at]! - value)
      expect(norm(matrix(12, 12, rest))).toBeGreaterThanOrEqual(left - 1e-12)
    }
    expectClose(singularValues(whole).slice(0, 4), values, 1e-12)
  })
})

describe.each(backends)('the decoder of an SAE on %s', async (underTest) => {
  const backend = await underTest.create()
  const given = { dSae: 40, dOut: 16, dAnswer: 12, dMlp: 24 }

  test('has the lengths, neighbours and dimensions that NumPy finds', async () => {
    const bench = await compareBench(backend, 'hf-clip', { saes: ['relu'] })
    const { norms, nearest, effectiveDimension, answer, neurons } = await decoderGeometry.run(bench, given)
    const golden = decoders.geometry
    expectClose(norms, golden.norms)
    expect([...nearest.latents]).toEqual(golden.nearest)
    expectClose(nearest.cosines, golden.nearestCosines)
    expect(effectiveDimension).toBeCloseTo(golden.effectiveDimension, 4)
    expect(answer!.rank).toBe(golden.answerRank)
    expectClose(answer!.shares!, golden.answerShares)
    expect(answer!.classes).toBeNull()
    expect(neurons).toBeNull()
  })

  test('is compared with what neurons write', async () => {
    const bench = await compareBench(backend, 'hf-clip', { saes: ['topk'] })
    const { neurons } = await decoderGeometry.run(bench, { ...given, mlpLayer: 0 })
    expect([...neurons!.best.latents]).toEqual(decoders.neurons.best)
    expectClose(neurons!.best.cosines, decoders.neurons.cosines)
  })

  test('whose rows are the neurons is aligned with every one of them', async () => {
    const sae = await goldenSae('topk')
    const plain = await compareBench(backend, 'hf-clip')
    const written = transpose(await rowsOf(plain, 'blocks.0.mlp.W_out'))
    const W_dec = { dtype: 'float32', shape: [24, 16], data: Float32Array.from(written.data, (value) => -2 * value) } as const
    const config = { ...sae.config, dSae: 24, k: 2 }
    const bench = await compareBench(backend, 'hf-clip', { saes: [{ config, weights: { ...sae.weights, W_dec } }] })
    const { neurons } = await decoderGeometry.run(bench, { ...given, dSae: 24, mlpLayer: 0 })
    expect([...neurons!.best.latents]).toEqual(Array.from({ length: 24 }, (_, at) => at))
    for (const cosine of neurons!.best.cosines) expect(cosine).toBeCloseTo(-1, 5)
  })

  test("with a row of zeros has no neighbour for it, and it is nobody's", async () => {
    const sae = await goldenSae('relu')
    const data = sae.weights.W_dec!.data.slice()
    data.fill(0, 3 * 16, 4 * 16)
    const bench = await compareBench(backend, 'hf-clip', {
      saes: [{ ...sae, weights: { ...sae.weights, W_dec: { ...sae.weights.W_dec!, data } } }],
    })
    const { norms, nearest, answer } = await decoderGeometry.run(bench, given)
    expect([norms[3], nearest.latents[3], nearest.cosines[3], answer!.shares![3]]).toEqual([0, -1, 0, 0])
    expect(nearest.latents).not.toContain(3)
  })

  test.each(['relu', 'transcoder'])('reaches the encoder of %s through the residual stream', async (downstream) => {
    const bench = await compareBench(backend, 'hf-clip', { saes: ['topk', downstream] })
    const golden = decoders.virtual[downstream]!
    const edges = await virtualWeights.run(bench, { latents: [7, 0], topK: 40, widths: [40, 40] })
    expect(edges.map(({ from }) => from)).toEqual([...Array(40).fill(7), ...Array(40).fill(0)])
    for (const { from, to, weight, cosine } of edges) {
      expect(weight).toBeCloseTo(golden.weights[from]![to]!, 4)
      expect(cosine).toBeCloseTo(golden.cosines[from]![to]!, 4)
    }
    const ofFirst = edges.slice(0, 40).map(({ weight }) => Math.abs(weight))
    expect(ofFirst).toEqual(ofFirst.toSorted((a, b) => b - a))
  })

  test('keeps the largest of all edges where no features are named', async () => {
    const bench = await compareBench(backend, 'hf-clip', { saes: ['topk', 'relu'] })
    const all = decoders.virtual.relu!.weights.flatMap((row, from) => row.map((weight, to) => ({ from, to, weight })))
    const largest = all.sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight)).slice(0, 5)
    const edges = await virtualWeights.run(bench, { topK: 5, widths: [40, 40] })
    expect(edges.map(({ from, to }) => [from, to])).toEqual(largest.map(({ from, to }) => [from, to]))
  })

  test('is read by heads as the whole matrices say', async () => {
    const bench = await compareBench(backend, 'hf-clip', { saes: ['topk'] })
    const found = await featuresToHeads.run(bench, { latents: [5, 39], layers: [1], dModel: 16 })
    for (const letter of ['q', 'k', 'v'] as const) {
      const golden = decoders.readings[letter]
      expect(found[letter].lengths.shape).toEqual([2, 1, 4])
      expectClose(found[letter].lengths.data, [...golden.lengths[5]!, ...golden.lengths[39]!])
      expectClose(found[letter].expected.data, golden.expected)
    }
  })

  test('that does not write to the stream, or not before the reader, is refused', async () => {
    const refused = (saes: string[]) =>
      compareBench(backend, 'hf-clip', { saes }).then((bench) => virtualWeights.run(bench, { topK: 1, widths: [40, 40] }))
    await expect(refused(['relu', 'transcoder'])).rejects.toThrow(/comes before blocks.1.hook_resid_post/)
    await expect(refused(['relu', 'topk'])).rejects.toThrow(/reaches only through what a block makes of it/)
    await expect(refused(['jumprelu', 'relu'])).rejects.toThrow(/writes to blocks.0.attn.hook_z, and not to the residual stream/)
  })
})

test('weights that are no numbers are refused before anything is made of them', async () => {
  const backend = await referenceFloat64.create()
  const plain = await compareBench(backend, 'hf-clip')
  const broken: Workbench = {
    ...plain,
    weight: async (name) => {
      const weight = await plain.weight(name)
      return name === 'blocks.1.attn.W_V' ? { ...weight, data: weight.data.map((value, at) => (at === 5 ? Number.NaN : value)) } : weight
    },
  }
  const asked = weightCircuits.run(broken, { layers: [{ layer: 1, heads: [0] }], ...sizes(broken) })
  await expect(asked).rejects.toThrow(/"blocks.1.attn.W_V" has elements that are infinite or no numbers/)
  const sae = await goldenSae('relu')
  const W_dec = { ...sae.weights.W_dec!, data: sae.weights.W_dec!.data.map((value, at) => (at === 20 ? Number.POSITIVE_INFINITY : value)) }
  const bench = await compareBench(backend, 'hf-clip', { saes: [{ ...sae, weights: { ...sae.weights, W_dec } }] })
  const geometry = decoderGeometry.run(bench, { dSae: 40, dOut: 16, dAnswer: 12, dMlp: 24 })
  await expect(geometry).rejects.toThrow(/the decoder of latent 1 is infinite or no number/)
})

async function rowsOf(bench: Workbench, name: string) {
  const { shape, data } = await bench.weight(name)
  return matrix(shape[0]!, shape[1]!, Float64Array.from(data))
}
