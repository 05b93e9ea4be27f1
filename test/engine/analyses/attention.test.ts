import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { attentionRollout, headFusions } from '../../../src/engine/analyses/attention/attention-rollout.js'
import { headContributions } from '../../../src/engine/analyses/attention/head-contributions.js'
import { headStatistics, uniformDistance } from '../../../src/engine/analyses/attention/head-statistics.js'
import { addHeadSums, type HeadSums, headSums } from '../../../src/engine/analyses/attention/head-sums.js'
import { expose } from '../../../src/engine/graph/edit.js'
import { GraphEditor } from '../../../src/engine/graph/graph-editor.js'
import { nPositions, nPrefixTokens, patchGrid } from '../../../src/engine/hook-points.js'
import type { VisionConfig } from '../../../src/engine/models/model.js'
import { saePrefix } from '../../../src/engine/saes/attach-saes.js'
import { encode } from '../../../src/engine/saes/encode-decode.js'
import type { SaeConfig } from '../../../src/engine/saes/sae.js'
import { float32, type Tensor } from '../../../src/engine/tensor.js'
import { onnxruntime, reference, referenceFloat64 } from '../each-backend.js'
import '../close-tensor.js'
import { randomWeights, visionConfig } from '../saes/spliced-tower.js'
import { type GoldenBench, goldenBench, readGolden } from './golden-bench.js'

const withCls = 'hf-dinov2-registers'
const golden = await readGolden()
const goldenModels = ['hf-clip', 'hf-dinov2-registers']

async function sumsOf(bench: GoldenBench, layers = Array.from({ length: bench.model.config.nLayers }, (_, layer) => layer)) {
  return headSums.run(bench, { pixels: bench.pixels, layers, nWeights: 1 })
}

describe.each([referenceFloat64, onnxruntime])('attention on %s', async (underTest) => {
  const backend = await underTest.create()

  test.each(goldenModels)('%s: head statistics are those that PyTorch computes', async (name) => {
    const bench = await goldenBench(backend, name)
    const statistics = headStatistics(await sumsOf(bench), bench.model.config)
    const { nLayers, nHeads } = bench.model.config
    const tensorOf = (value: (head: (typeof statistics)[number]) => number | null) =>
      float32(
        [nLayers, nHeads],
        statistics.map((head) => value(head) ?? 0),
      )
    const expected = (key: string) => golden[`${name}/heads/${key}`]!
    expect(tensorOf(({ entropy }) => entropy)).toBeCloseTensor(expected('entropy'))
    expect(tensorOf(({ largest }) => largest)).toBeCloseTensor(expected('largest'))
    expect(tensorOf(({ distance }) => distance)).toBeCloseTensor(expected('distance'))
    expect(tensorOf(({ samePattern }) => samePattern)).toBeCloseTensor(expected('same'), { tolerance: 1e-4 })
    expect(tensorOf(({ patchesToCls }) => patchesToCls)).toBeCloseTensor(expected('toCls'))
    expect(tensorOf(({ patchesToRegisters }) => patchesToRegisters)).toBeCloseTensor(expected('toRegisters'))
  })

  const choices = goldenModels.flatMap((name) =>
    headFusions.flatMap((heads) => [0, 0.45].map((discard) => [name, heads, discard] as const)),
  )
  test.each(choices)('%s: rollout of the %s of heads, %f discarded, is that of PyTorch', async (name, heads, discardRatio) => {
    const bench = await goldenBench(backend, name)
    const throughLayer = bench.model.config.nLayers - 1
    const { rollout } = await attentionRollout.run(bench, { pixels: bench.pixels, heads, discardRatio, throughLayer, nWeights: 1 })
    expect(rollout).toBeCloseTensor(golden[`${name}/rollout/${heads}-${discardRatio}`]!, { tolerance: 2e-5 })
    const n = rollout.shape[2]!
    for (let row = 0; row < rollout.data.length / n; row++) {
      expect(rollout.data.slice(row * n, (row + 1) * n).reduce((sum, weight) => sum + weight, 0)).toBeCloseTo(1, 5)
    }
  })
})

describe('statistics of heads', async () => {
  const bench = await goldenBench(await reference.create(), 'hf-clip')
  const config = bench.model.config

  test('do not depend on how the pictures were portioned', async () => {
    const whole = await sumsOf(bench)
    const [batch, ...rest] = bench.pixels.shape as [number, ...number[]]
    const size = rest.reduce((a, b) => a * b, 1)
    const parts = await Promise.all(
      Array.from({ length: batch }, (_, image) => {
        const pixels = float32([1, ...rest], bench.pixels.data.subarray(image * size, (image + 1) * size))
        return headSums.run(bench, { pixels, layers: whole.layers, nWeights: 1 })
      }),
    )
    const added = headStatistics(parts.reduce(addHeadSums), config)
    for (const [at, head] of headStatistics(whole, config).entries()) {
      expect(added[at]!.entropy).toBeCloseTo(head.entropy, 5)
      expect(added[at]!.samePattern).toBeCloseTo(head.samePattern!, 4)
      expect(added[at]!.types).toEqual(head.types)
    }
  })

  test('of one picture say nothing of what is the same in several', async () => {
    const [batch, ...rest] = bench.pixels.shape as [number, ...number[]]
    const pixels = float32([1, ...rest], bench.pixels.data.subarray(0, bench.pixels.data.length / batch))
    const sums = await headSums.run(bench, { pixels, layers: [0], nWeights: 1 })
    const heads = headStatistics(sums, config)
    expect(heads.map(({ layer, head, samePattern }) => [layer, head, samePattern])).toEqual(heads.map((_, head) => [0, head, null]))
  })
})

describe('heads are found for what they do', () => {
  const config = gridConfig(5, 6)

  const built = (give: (query: { row: number; col: number }) => { row: number; col: number } | 'cls' | 'register' | 'all') => {
    const pattern = patternOf(config, give)
    return headStatistics(repeated(pattern, config, 3), config)[0]!
  }

  test.each([
    ['previous', ({ row, col }: { row: number; col: number }) => ({ row, col: Math.max(0, col - 1) })],
    ['next', ({ row, col }: { row: number; col: number }) => ({ row, col: Math.min(5, col + 1) })],
    ['above', ({ row, col }: { row: number; col: number }) => ({ row: Math.max(0, row - 1), col })],
    ['below', ({ row, col }: { row: number; col: number }) => ({ row: Math.min(4, row + 1), col })],
    ['diagonal', ({ row, col }: { row: number; col: number }) => ({ row: Math.max(0, row - 1), col: Math.max(0, col - 1) })],
  ] as const)('%s: to a neighbour, at distance 1 and local, the same in every picture', (type, to) => {
    const head = built(to)
    expect(head.types).toEqual(expect.arrayContaining([type, 'local', 'position']))
    expect(head.neighbour!.share).toBe(1)
    expect(head.samePattern).toBeCloseTo(1, 9)
    expect(head.entropy).toBe(0)
    expect(head.largest).toBe(1)
  })

  test('self, corner, row, column, sinks and broad ones', () => {
    expect(built((query) => query).types).toEqual(expect.arrayContaining(['self', 'local']))
    expect(built(() => ({ row: 0, col: 5 })).types).toContain('corner')
    expect(built(({ row }) => ({ row, col: 3 })).types).toContain('row')
    expect(built(({ col }) => ({ row: 1, col })).types).toContain('column')
    expect(built(() => 'cls')).toMatchObject({ patchesToCls: 1, types: ['cls-sink'] })
    expect(built(() => 'register')).toMatchObject({ patchesToRegisters: 1, types: ['register-sink'] })
    const broad = built(() => 'all')
    expect(broad.types).toEqual(['broad'])
    expect(broad.entropy).toBeCloseTo(Math.log(nPositions(config)), 9)
    expect(broad.distance).toBeCloseTo(uniformDistance({ rows: 5, columns: 6 }), 9)
    expect(broad.samePattern).toBeNull()
  })

  test('a pattern that is another in each picture is not one of positions', () => {
    const pictures = [0, 1, 2].map((shift) =>
      repeated(
        patternOf(config, ({ row, col }) => ({ row: (row + shift * 2) % 5, col: (col * 2 + shift) % 6 })),
        config,
        1,
      ),
    )
    const head = headStatistics(pictures.reduce(addHeadSums), config)[0]!
    expect(head.samePattern).toBeLessThan(0.1)
    expect(head.types).not.toContain('position')
  })

  test('the mean distance between two patches of a grid is that of all pairs', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 6 }), (rows, columns) => {
        const places = Array.from({ length: rows * columns }, (_, at) => [Math.floor(at / columns), at % columns] as const)
        const sum = places.flatMap(([r, c]) => places.map(([y, x]) => Math.hypot(r - y, c - x))).reduce((a, b) => a + b, 0)
        expect(uniformDistance({ rows, columns })).toBeCloseTo(sum / places.length ** 2, 9)
      }),
    )
  })
})

describe('rollout', async () => {
  const bench = await goldenBench(await reference.create(), 'hf-clip')
  const ask = (more: object) =>
    attentionRollout.run(bench, { pixels: bench.pixels, heads: 'mean', discardRatio: 0, throughLayer: 0, nWeights: 1, ...more })

  test('of one layer is half attention, half staying', async () => {
    const { rollout } = await ask({})
    const sums = await headSums.run(bench, { pixels: bench.pixels, layers: [0], nWeights: 1 })
    const { nHeads } = bench.model.config
    const [batch, n] = rollout.shape as [number, number]
    for (let at = 0; at < n * n; at++) {
      const mean = Array.from({ length: nHeads }, (_, head) => sums.pattern[head * n * n + at]!).reduce((a, b) => a + b, 0) / nHeads / batch
      const own = Array.from({ length: batch }, (_, image) => rollout.data[image * n * n + at]!).reduce((a, b) => a + b, 0) / batch
      expect(own).toBeCloseTo(0.5 * mean + (at % (n + 1) === 0 ? 0.5 : 0), 5)
    }
  })

  test('of nearly everything discarded stays where it is, mostly', async () => {
    const { rollout } = await ask({ discardRatio: 0.99 })
    const n = rollout.shape[1]!
    expect(Array.from({ length: n }, (_, at) => rollout.data[at * n + at]!).filter((weight) => weight === 1).length).toBeGreaterThan(n / 2)
  })

  test.each([{ discardRatio: 1 }, { discardRatio: -0.1 }, { throughLayer: 2 }])('is refused with %o', async (more) => {
    await expect(ask(more)).rejects.toMatchObject({ code: 'INPUT_INVALID' })
  })
})

function gridConfig(rows: number, columns: number): VisionConfig {
  return {
    ...visionConfig,
    nHeads: 1,
    nRegisters: 2,
    imageSize: { height: rows * 4, width: columns * 4 },
    patchSize: { height: 4, width: 4 },
  }
}

type Gives = (query: { row: number; col: number }) => { row: number; col: number } | 'cls' | 'register' | 'all'

/** Each patch gives everything to one place; CLS and registers to CLS. */
function patternOf(config: VisionConfig, give: Gives): Float64Array {
  const [n, first, { columns }] = [nPositions(config), nPrefixTokens(config), patchGrid(config)]
  const pattern = new Float64Array(n * n)
  for (let query = 0; query < n; query++) {
    const to = query < first ? 'cls' : give({ row: Math.floor((query - first) / columns), col: (query - first) % columns })
    if (to === 'all') pattern.fill(1 / n, query * n, (query + 1) * n)
    else pattern[query * n + (to === 'cls' ? 0 : to === 'register' ? 1 : first + to.row * columns + to.col)] = 1
  }
  return pattern
}

function repeated(pattern: Float64Array, config: VisionConfig, nImages: number): HeadSums {
  const [n, first] = [nPositions(config), nPrefixTokens(config)]
  const rows = Array.from({ length: n }, (_, query) => pattern.subarray(query * n, (query + 1) * n))
  const between = rows.slice(first).flatMap((row) => Array.from(row.subarray(first)))
  const mean = between.reduce((a, b) => a + b, 0) / between.length
  return {
    nImages,
    layers: [0],
    pattern: pattern.map((weight) => weight * nImages),
    entropy: Float64Array.from(rows, (row) => nImages * row.reduce((sum, p) => sum - (p > 0 ? p * Math.log(p) : 0), 0)),
    largest: Float64Array.from(rows, (row) => nImages * Math.max(...row)),
    energy: Float64Array.of(nImages * between.reduce((sum, weight) => sum + (weight - mean) ** 2, 0)),
  }
}

describe('an SAE feature from what heads wrote', async () => {
  const backend = await referenceFloat64.create()
  const base: SaeConfig = {
    architecture: 'standard',
    activation: 'relu',
    dIn: 0,
    dOut: 0,
    dSae: 10,
    normalization: 'none',
    subtractsDecoderBias: true,
    hookPoint: 'blocks.1.hook_resid_post',
  }
  const saes: readonly (readonly [string, Partial<SaeConfig>])[] = [
    ['standard', {}],
    ['topk, normalised', { architecture: 'topk', activation: 'topk', k: 3, normalization: 'layer_norm' }],
    ['gated', { architecture: 'gated', subtractsDecoderBias: false }],
    ['jumprelu, rescaled', { architecture: 'jumprelu', normalization: 'constant_norm_rescale' }],
    ['batch-topk, one factor', { architecture: 'batch-topk', activation: 'batch-topk', k: 2, normalization: 'expected_average_only_in' }],
    ['at attention', { hookPoint: 'blocks.1.hook_attn_out', normalization: 'layer_norm' }],
    ['between the halves', { hookPoint: 'blocks.1.hook_resid_mid' }],
    ['before a block', { hookPoint: 'blocks.1.hook_resid_pre' }],
  ]
  const models = ['hf-clip', withCls, 'timm-no-cls', 'vit-prisma-attn-only']
  const cases = models.flatMap((model) => saes.map(([name, sae]) => [model, name, sae] as const))

  test.each(cases)('%s, %s: parts sum to the pre-activation, and heads to their hook_result', async (model, _, more) => {
    const plain = await goldenBench(backend, model)
    const { dModel, dMlp } = plain.model.config
    const config = { ...base, ...more, dIn: dModel, dOut: dModel }
    if (dMlp === undefined && config.hookPoint.endsWith('mid'))
      return expect(plain.model.description.vision.hookPoints.map(({ name }) => name)).not.toContain(config.hookPoint)
    const weights = randomWeights(config)
    const bench = await goldenBench(backend, model, [{ config, weights }])
    const latent = 4
    const found = await headContributions.run(bench, { pixels: bench.pixels, latent, nWeights: 1 })
    const { pre, result } = await independent(bench, { config, latent, layers: layersOf(found.heads, found.firstLayer) })
    const batch = bench.pixels.shape[0]!
    const nPos = nPositions(bench.model.config)
    for (let image = 0; image < batch; image++) {
      const own = Array.from(pre.data.subarray(image * nPos, (image + 1) * nPos), Number)
      const position = found.position.data[image]!
      expect(own[position]).toBe(Math.max(...own))
      const of = ({ data, shape }: Tensor) =>
        Array.from(data.slice((image * data.length) / shape[0]!, ((image + 1) * data.length) / shape[0]!), Number)
      const parts = [found.heads, found.attnBias, found.mlp, found.embed, found.bias].flatMap(of)
      expect(parts.reduce((sum, part) => sum + part, 0)).toBeCloseTo(own[position]!, 4)
      expect(of(found.pre)[0]).toBeCloseTo(own[position]!, 4)
    }
    if (config.normalization !== 'none') return
    // [batch, layer, head]: of the written vectors themselves
    const column = Array.from({ length: dModel }, (_, d) => {
      const magnitude = config.architecture === 'gated' ? Math.exp(weights.r_mag!.data[latent]!) : 1
      return weights.W_enc!.data[d * config.dSae + latent]! * magnitude
    })
    const { nHeads, layerScale } = bench.model.config
    for (const [place, values] of result.entries()) {
      const scale = layerScale ? bench.loaded.towers.vision.weights[`blocks.${found.firstLayer + place}.ls1`]!.data : undefined
      for (let image = 0; image < batch; image++) {
        for (let head = 0; head < nHeads; head++) {
          const row = ((image * nPos + found.position.data[image]!) * nHeads + head) * dModel
          const expected = column.reduce((sum, weight, d) => sum + weight * Number(values.data[row + d]) * (scale?.[d] ?? 1), 0)
          const from = ((image * result.length + place) * nHeads + head) * nPos
          const actual = found.heads.data.slice(from, from + nPos).reduce((sum, part) => sum + part, 0)
          expect(actual).toBeCloseTo(expected, 4)
        }
      }
    }
  })

  const layersOf = ({ shape }: Tensor, first: number) => Array.from({ length: shape[1]! }, (_, place) => first + place)

  /** The SAE's pre-activations `[batch, pos]` and heads' `hook_result`, from the graph itself. */
  async function independent(
    bench: Awaited<ReturnType<typeof goldenBench>>,
    { config, latent, layers }: { config: SaeConfig; latent: number; layers: number[] },
  ) {
    const results = layers.map((layer) => `blocks.${layer}.attn.hook_result`)
    const { graph, types } = bench.model.build(new Set(results))
    const editor = new GraphEditor(expose(graph, results), types)
    const at = editor.graph().nodes.length
    const b = editor.builderAt(at, 'test/')
    const { pre } = encode(b, config.hookPoint, config, { prefix: saePrefix(0), axes: ['batch', 'pos', 'dModel'] })
    const named = b.named(
      'pre',
      b.op('Gather', [pre, b.constant({ dtype: 'int64', shape: [], data: BigInt64Array.of(BigInt(latent)) })], { axis: 2 }),
    )
    editor.insert(at, b.nodes(), b.declarations())
    const program = await bench.ready('independent', () => ({ ...editor.graph(), outputs: [...results, named] }))
    const values = await program.run({ pixels: bench.pixels })
    return { pre: values.pre!, result: results.map((name) => values[name]!) }
  }

  test('is asked of another position too, and refused where there is none', async () => {
    const config = { ...base, dIn: 16, dOut: 16 }
    const dModel = (await goldenBench(backend, 'hf-clip')).model.config.dModel
    const bench = await goldenBench(backend, 'hf-clip', [
      { config: { ...config, dIn: dModel, dOut: dModel }, weights: randomWeights({ ...config, dIn: dModel, dOut: dModel }) },
    ])
    const found = await headContributions.run(bench, { pixels: bench.pixels, latent: 0, position: 2, nWeights: 1 })
    expect(new Set(found.position.data)).toEqual(new Set([2]))
    await expect(headContributions.run(bench, { pixels: bench.pixels, latent: 10, nWeights: 1 })).rejects.toMatchObject({
      code: 'INPUT_INVALID',
    })
    await expect(headContributions.run(bench, { pixels: bench.pixels, latent: 0, position: 99, nWeights: 1 })).rejects.toMatchObject({
      code: 'INPUT_INVALID',
    })
  })

  test.each(['blocks.0.hook_resid_pre', 'blocks.0.hook_mlp_out', 'blocks.1.attn.hook_z'])(
    'is refused of an SAE at %s',
    async (hookPoint) => {
      const dModel = (await goldenBench(backend, 'hf-clip')).model.config.dModel
      const config = { ...base, hookPoint, dIn: dModel, dOut: dModel }
      const bench = await goldenBench(backend, 'hf-clip', [{ config, weights: randomWeights(config) }])
      await expect(headContributions.run(bench, { pixels: bench.pixels, latent: 0, nWeights: 1 })).rejects.toMatchObject({
        details: { path: 'sae' },
      })
    },
  )
})
