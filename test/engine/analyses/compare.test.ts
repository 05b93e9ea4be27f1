/** Sets of images compared by features, and SAEs by their decoders. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { correlateFeatures } from '../../../src/engine/analyses/compare/correlate-features.js'
import { agreementOf, stabilityOf } from '../../../src/engine/analyses/compare/decoder-agreement.js'
import { type MatchDecodersOutput, matchDecoders } from '../../../src/engine/analyses/compare/match-decoders.js'
import { pooledFeatures } from '../../../src/engine/analyses/compare/pooled-features.js'
import { separateFeatures } from '../../../src/engine/analyses/compare/separate-features.js'
import { joinSparseRows, nRowsOf, type SparseRows, takeSparseRows } from '../../../src/engine/analyses/compare/sparse-rows.js'
import type { Workbench } from '../../../src/engine/analyses/workbench.js'
import { expose } from '../../../src/engine/graph/edit.js'
import { createRandom } from '../../../src/engine/random.js'
import { encoderGraph } from '../../../src/engine/saes/sae-graph.js'
import { elementCount, float32, type Tensor } from '../../../src/engine/tensor.js'
import { backends, reference, runOnce } from '../each-backend.js'
import { type BenchSae, compareBench, goldenSae, randomPixels } from './compare-bench.js'
import { readGolden } from './compare-goldens.js'
import '../close-tensor.js'

interface Golden {
  readonly matches: Readonly<Record<'forth' | 'forthCosines' | 'back' | 'backCosines' | 'pairs', readonly number[]>>
}

const golden = readGolden<Golden>('decoders.json').matches

describe.each(backends)('two decoders on %s', async (underTest) => {
  const backend = await underTest.create()

  test('are matched as NumPy matches them, each way and one to one', async () => {
    const bench = await compareBench(backend, 'hf-clip', { saes: ['relu', 'gated'] })
    const { forth, back, pairs } = await matchDecoders.run(bench, { width: 40 })
    expect([...forth.latents]).toEqual(golden.forth)
    expect([...back.latents]).toEqual(golden.back)
    expect([...pairs.latents]).toEqual(golden.pairs)
    for (const [at, cosine] of golden.forthCosines.entries()) expect(forth.cosines[at]).toBeCloseTo(cosine, 5)
    for (const [at, cosine] of golden.backCosines.entries()) expect(back.cosines[at]).toBeCloseTo(cosine, 5)
  })

  test('that are one are matched with themselves', async () => {
    const bench = await compareBench(backend, 'hf-clip', { saes: ['relu', 'relu'] })
    const found = await matchDecoders.run(bench, { width: 40 })
    for (const { latents, cosines } of Object.values(found) as MatchDecodersOutput['forth'][]) {
      expect([...latents]).toEqual(Array.from({ length: 40 }, (_, at) => at))
      for (const cosine of cosines) expect(cosine).toBeCloseTo(1, 5)
    }
    expect(agreementOf(found.forth.cosines)).toMatchObject({ above70: 1, above90: 1 })
  })

  test('the one with the rows of the other in another order, scaled, are matched in that order', async () => {
    const sae = await goldenSae('relu')
    const order = createRandom(4).permutation(40)
    const data = Float32Array.from(
      { length: 40 * 16 },
      (_, at) => 3 * sae.weights.W_dec!.data[order[Math.floor(at / 16)]! * 16 + (at % 16)]!,
    )
    const other: BenchSae = { ...sae, weights: { ...sae.weights, W_dec: float32([40, 16], data) } }
    const { pairs, back } = await matchDecoders.run(await compareBench(backend, 'hf-clip', { saes: ['relu', other] }), { width: 40 })
    expect([...back.latents]).toEqual([...order])
    for (const [latent, partner] of pairs.latents.entries()) expect(order[partner]).toBe(latent)
  })

  test('of which one is narrower leave the others without a partner, and rows without a length have none', async () => {
    const sae = await goldenSae('relu')
    const rows = (n: number) => ({ dtype: 'float32', shape: [n, 16], data: sae.weights.W_dec!.data.slice(0, n * 16) }) as const
    const narrow: BenchSae = { config: { ...sae.config, dSae: 9 }, weights: { ...sae.weights, W_dec: rows(9) } }
    narrow.weights.W_dec!.data.fill(0, 0, 16)
    const { forth, back, pairs } = await matchDecoders.run(await compareBench(backend, 'hf-clip', { saes: ['gated', narrow] }), {
      width: 9,
    })
    expect(pairs.latents.filter((latent) => latent >= 0).sort()).toEqual(Int32Array.from([1, 2, 3, 4, 5, 6, 7, 8]))
    expect(forth.latents).not.toContain(0)
    expect([back.latents[0], back.cosines[0]]).toEqual([-1, 0])
  })

  test("none of which has a length are nobody's nearest", async () => {
    const sae = await goldenSae('relu')
    const empty: BenchSae = { ...sae, weights: { ...sae.weights, W_dec: float32([40, 16], new Float32Array(40 * 16)) } }
    for (const saes of [
      ['relu', empty],
      [empty, 'relu'],
      [empty, empty],
    ] as const) {
      const found = await matchDecoders.run(await compareBench(backend, 'hf-clip', { saes: [...saes] }), { width: 40 })
      for (const { latents, cosines } of Object.values(found)) {
        expect(new Set(latents)).toEqual(new Set([-1]))
        expect(new Set(cosines)).toEqual(new Set([0]))
      }
    }
  })

  test('of different widths of the stream are refused', async () => {
    const sae = await goldenSae('relu')
    const wide: BenchSae = { ...sae, config: { ...sae.config, dOut: 17 } }
    const bench = await compareBench(backend, 'hf-clip', { saes: ['relu', wide] })
    await expect(matchDecoders.run(bench, { width: 40 })).rejects.toMatchObject({ code: 'SAE_MISFIT' })
  })
})

test('the greedy matching takes the largest cosine of what is left, again and again', async () => {
  const backend = await reference.create()
  const sae = await goldenSae('relu')
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 12 }), fc.integer(), async (nA, nB, seed) => {
      const random = createRandom(seed)
      // few directions, so that many cosines are equal
      const rows = (n: number) =>
        float32(
          [n, 16],
          Array.from({ length: n * 16 }, (_, at) => (at % 16 < 3 ? random.below(3) - 1 : 0)),
        )
      const made = [nA, nB].map((n): BenchSae => ({ config: { ...sae.config, dSae: n }, weights: { ...sae.weights, W_dec: rows(n) } }))
      const { pairs } = await matchDecoders.run(await compareBench(backend, 'hf-clip', { saes: made }), { width: nB })
      const expected = greedy(made[0]!.weights.W_dec!, made[1]!.weights.W_dec!)
      const cosines = [...pairs.cosines].filter((_, at) => pairs.latents[at]! >= 0).sort()
      expect(cosines.length).toBe(expected.length)
      for (const [at, cosine] of expected.sort().entries()) expect(cosines[at]).toBeCloseTo(cosine, 5)
    }),
    { numRuns: 15 },
  )
})

/** The cosines that are taken; rows without a length take no part. */
function greedy(a: Tensor<'float32'>, b: Tensor<'float32'>): number[] {
  const unit = ({ shape, data }: Tensor<'float32'>) =>
    Array.from({ length: shape[0]! }, (_, row) => [...data.subarray(row * 16, (row + 1) * 16)])
      .map((values) => ({ values, length: Math.hypot(...values) }))
      .filter(({ length }) => length > 0)
      .map(({ values, length }) => values.map((value) => value / length))
  const pairs = unit(a).flatMap((x, i) => unit(b).map((y, j) => ({ i, j, cosine: x.reduce((sum, value, at) => sum + value * y[at]!, 0) })))
  const [rows, columns] = [new Set<number>(), new Set<number>()]
  const taken: number[] = []
  const rounded = (cosine: number) => Math.round(cosine * 1e5)
  for (const { i, j, cosine } of pairs.sort((x, y) => rounded(y.cosine) - rounded(x.cosine) || x.i - y.i || x.j - y.j)) {
    if (rows.has(i) || columns.has(j)) continue
    rows.add(i)
    columns.add(j)
    taken.push(cosine)
  }
  return taken
}

test('agreement and stability are what their names say', () => {
  expect(agreementOf(Float32Array.of(1, 0.5, 0.75, 0.95))).toEqual({
    meanCosine: expect.closeTo(0.8, 6) as number,
    medianCosine: expect.closeTo(0.85, 6) as number,
    above70: 0.75,
    above90: 0.5,
  })
  expect([...stabilityOf([Float32Array.of(1, 0), Float32Array.of(0.5, 1)])]).toEqual([0.75, 0.5])
})

/** `[image][pos][latent]` by reading the hook point and encoding it apart. */
async function latentsOf(bench: Workbench, pixels: Tensor<'float32'>, sae: BenchSae): Promise<number[][][]> {
  const backend = await reference.create()
  const { graph } = bench.model.build(new Set())
  const exposed = expose(graph, [sae.config.hookPoint])
  const names = [...bench.model.weights.names]
  const weights = await bench.model.weights.read(names)
  const { [sae.config.hookPoint]: x } = await runOnce(backend, exposed, { inputs: { pixels }, weights, fetch: exposed.outputs })
  const [nImages, nPositions] = x!.shape as [number, number]
  const rows = { ...x!, shape: [nImages * nPositions, elementCount(x!.shape.slice(2))] }
  const encoder = encoderGraph(sae.config)
  const { [encoder.outputs[0]!]: latents } = await runOnce(backend, encoder, { inputs: { x: rows }, weights: sae.weights })
  const { dSae } = sae.config
  const of = (image: number, position: number) => [
    ...(latents!.data as Float32Array).subarray((image * nPositions + position) * dSae).subarray(0, dSae),
  ]
  return Array.from({ length: nImages }, (_, image) => Array.from({ length: nPositions }, (_, position) => of(image, position)))
}

function denseRows(rows: SparseRows, pooling: 'max' | 'mean', nLatents: number): number[][] {
  return Array.from({ length: nRowsOf(rows) }, (_, row) => {
    const dense = Array<number>(nLatents).fill(0)
    for (let entry = rows.starts[row]!; entry < rows.starts[row + 1]!; entry++) dense[rows.latents[entry]!] = rows[pooling][entry]!
    return dense
  })
}

describe.each(backends)('features of images on %s', async (underTest) => {
  const backend = await underTest.create()
  const pixels = randomPixels(5, createRandom(2))

  test.each(['relu', 'topk', 'gated', 'transcoder', 'jumprelu'])('of %s are pooled over the positions that are read', async (name) => {
    const sae = await goldenSae(name)
    const bench = await compareBench(backend, 'hf-clip', { saes: [sae, sae] })
    const [whole, some] = await pooledFeatures.run(bench, { pixels, positions: [null, [1, 4, 9]], nLatents: 80, nPositions: 10 })
    const latents = await latentsOf(bench, pixels, sae)
    const expected = (positions: readonly number[], pool: (values: number[]) => number) =>
      latents.map((image) => Array.from({ length: 40 }, (_, latent) => pool(positions.map((position) => image[position]![latent]!))))
    const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
    for (const [rows, positions] of [
      [whole!, [...Array(10).keys()]],
      [some!, [1, 4, 9]],
    ] as const) {
      const tensor = (dense: number[][]) => float32([5, 40], dense.flat())
      expect(tensor(denseRows(rows, 'max', 40))).toBeCloseTensor(tensor(expected(positions, (values) => Math.max(...values))))
      expect(tensor(denseRows(rows, 'mean', 40))).toBeCloseTensor(tensor(expected(positions, mean)))
    }
  })

  test('say what the decoder is multiplied by: the deviation of each token, where an SAE normalises by it', async () => {
    const bench = await compareBench(backend, 'hf-clip', { saes: ['relu', 'gated'] })
    const [normalised, plain] = await pooledFeatures.run(bench, { pixels, positions: [null, null], nLatents: 80, nPositions: 10 })
    expect([...plain!.scale]).toEqual([1, 1, 1, 1, 1])
    const { graph } = bench.model.build(new Set())
    const exposed = expose(graph, ['blocks.1.hook_resid_post'])
    const weights = await bench.model.weights.read([...bench.model.weights.names])
    const made = await runOnce(await reference.create(), exposed, { inputs: { pixels }, weights, fetch: exposed.outputs })
    const x = made['blocks.1.hook_resid_post']!.data as Float32Array
    for (const [image, scale] of normalised!.scale.entries()) {
      const deviations = Array.from({ length: 10 }, (_, position) => {
        const token = [...x.subarray((image * 10 + position) * 16, (image * 10 + position + 1) * 16)]
        const mean = token.reduce((sum, value) => sum + value, 0) / 16
        return Math.sqrt(token.reduce((sum, value) => sum + (value - mean) ** 2, 0) / 15)
      })
      expect(scale).toBeCloseTo(deviations.reduce((sum, value) => sum + value, 0) / 10, 4)
    }
  })

  test('of weights that are no numbers are refused', async () => {
    const sae = await goldenSae('relu')
    const W_enc = { ...sae.weights.W_enc!, data: sae.weights.W_enc!.data.map((value, at) => (at === 3 ? Number.NaN : value)) }
    const bench = await compareBench(backend, 'hf-clip', { saes: [{ ...sae, weights: { ...sae.weights, W_enc } }] })
    const asked = pooledFeatures.run(bench, { pixels, positions: [null], nLatents: 40, nPositions: 10 })
    await expect(asked).rejects.toMatchObject({ code: 'FILE_INVALID' })
  })
})

/** Rows as an engine would answer them; `max` and `mean` the same. */
function sparse(dense: readonly (readonly number[])[]): SparseRows {
  const entries = dense.map((row) => row.flatMap((value, latent) => (value > 0 ? [{ latent, value }] : [])))
  const starts = Int32Array.from([0, ...entries.map((_, row) => entries.slice(0, row + 1).flat().length)])
  const values = Float32Array.from(entries.flat(), ({ value }) => value)
  const latents = Int32Array.from(entries.flat(), ({ latent }) => latent)
  return { starts, latents, max: values, mean: values, scale: new Float32Array(dense.length).fill(1) }
}

const bench = { stillWanted: async () => undefined } as Partial<Workbench> as Workbench
const options = { nLatents: 4, pooling: 'max', minFrequency: 0, limit: 10 } as const

describe('features that separate', () => {
  // latent 0 is of A, 1 of B, 2 is everywhere the same, 3 is never active
  const a = sparse([
    [3, 0, 1, 0],
    [4, 0, 1, 0],
    [5, 0, 1, 0],
  ])
  const b = sparse([
    [0, 2, 1, 0],
    [0, 1, 1, 0],
    [1, 0, 1, 0],
  ])

  test('come best first, with what they are in both sets', async () => {
    const { features, nActive, nTested } = await separateFeatures.run(bench, { a, b, ...options })
    expect([nActive, nTested]).toEqual([3, 3])
    expect(features.map(({ latent, auroc }) => [latent, auroc])).toEqual([
      [0, 1],
      [1, expect.closeTo(1 / 6, 12)],
      [2, 0.5],
    ])
    expect(features[0]).toMatchObject({
      a: { mean: 4, frequency: 1 },
      b: { mean: expect.closeTo(1 / 3, 12), frequency: expect.closeTo(1 / 3, 12) },
    })
    expect(features[2]).toMatchObject({ cohensD: undefined, pValue: 1 })
  })

  test('have the opposite effects when the sets change places', async () => {
    const [there, back] = [
      await separateFeatures.run(bench, { a, b, ...options }),
      await separateFeatures.run(bench, { a: b, b: a, ...options }),
    ]
    for (const feature of there.features) {
      const other = back.features.find(({ latent }) => latent === feature.latent)!
      expect(other.auroc).toBeCloseTo(1 - feature.auroc, 12)
      expect(other.falseDiscoveryRate).toBeCloseTo(feature.falseDiscoveryRate, 12)
    }
  })

  test('are tested where they are active often enough in both sets together', async () => {
    const { features, nActive } = await separateFeatures.run(bench, { a, b, ...options, minFrequency: 0.5 })
    expect(nActive).toBe(3)
    expect(features.map(({ latent }) => latent)).toEqual([0, 2])
  })

  test('of sets drawn from one are false discoveries no more often than said', async () => {
    const random = createRandom(11)
    const draw = (n: number) => sparse(Array.from({ length: n }, () => Array.from({ length: 300 }, () => Math.max(0, random.normal()))))
    const { nDiscoveries, nTested } = await separateFeatures.run(bench, { a: draw(30), b: draw(40), ...options, nLatents: 300 })
    expect(nTested).toBe(300)
    expect(nDiscoveries).toBeLessThanOrEqual(1)
  })
})

test('rows are joined and taken as they are', () => {
  const dense = [
    [1, 0, 2],
    [0, 0, 0],
    [0, 3, 0],
  ]
  const rows = sparse(dense)
  expect(denseRows(joinSparseRows([takeSparseRows(rows, [0]), takeSparseRows(rows, [1, 2])]), 'max', 3)).toEqual(dense)
  expect(denseRows(takeSparseRows(rows, [2, 0]), 'mean', 3)).toEqual([dense[2], dense[0]])
  expect(joinSparseRows([rows]).starts).toEqual(rows.starts)
})

test('the correlation of pairs is that of Pearson', async () => {
  const x = [
    [1, 0, 2],
    [0, 1, 2],
    [3, 0, 2],
    [0, 4, 2],
  ]
  const y = [
    [0, 1],
    [2, 0],
    [0, 4],
    [1, 0],
  ]
  const input = { a: sparse(x), b: sparse(y), nLatents: { a: 3, b: 2 }, pooling: 'max', partners: Int32Array.of(1, 0, 0) } as const
  const found = await correlateFeatures.run(bench, input)
  const pearson = (u: number[], v: number[]) => {
    const centred = (list: number[]) => list.map((value) => value - list.reduce((sum, each) => sum + each, 0) / list.length)
    const dot = (p: number[], q: number[]) => p.reduce((sum, value, at) => sum + value * q[at]!, 0)
    const [p, q] = [centred(u), centred(v)]
    return dot(p, q) / Math.sqrt(dot(p, p) * dot(q, q))
  }
  const column = (rows: number[][], at: number) => rows.map((row) => row[at]!)
  expect(found[0]).toBeCloseTo(pearson(column(x, 0), column(y, 1)), 12)
  expect(found[1]).toBeCloseTo(pearson(column(x, 1), column(y, 0)), 12)
  expect(found[2]).toBeNaN()
  expect((await correlateFeatures.run(bench, { ...input, partners: Int32Array.of(-1, -1, -1) })).every(Number.isNaN)).toBe(true)
})
