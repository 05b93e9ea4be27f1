import { describe, expect, test } from 'vitest'
import type { GridSpec } from '../../../src/engine/analyses/patching/grid.js'
import type { Metric } from '../../../src/engine/analyses/patching/metric.js'
import { type PatchingInput, patching } from '../../../src/engine/analyses/patching/patching.js'
import type { Workbench } from '../../../src/engine/analyses/workbench.js'
import { applyEdits } from '../../../src/engine/interventions/apply-edits.js'
import type { Edit } from '../../../src/engine/interventions/edit.js'
import type { VisionConfig } from '../../../src/engine/models/model.js'
import type { SaeConfig } from '../../../src/engine/saes/sae.js'
import { float32, type Tensor } from '../../../src/engine/tensor.js'
import { onnxruntime, reference, referenceFloat64, runOnce } from '../each-backend.js'
import { randomVector, run, visionConfig, visionTower } from '../interventions/tiny-towers.js'
import { pixels, tinyBench } from './tiny-bench.js'

const tower = visionTower()
const [clean, corrupted] = [pixels(tower, [1, 2]), pixels(tower, [3, 4])]
const target = { label: 'a direction', direction: randomVector(5, 7) }
const score: Metric = { kind: 'score', target }
const answers = [target, { label: 'another', direction: randomVector(5, 8) }, { label: 'a third', direction: randomVector(5, 9) }]

const ask = (bench: Workbench, input: Partial<PatchingInput> & { grid: GridSpec }) =>
  patching.run(bench, {
    clean,
    corrupted,
    direction: 'denoise',
    source: { kind: 'other' },
    metric: score,
    methods: ['patching'],
    ...input,
  })

const everything: readonly GridSpec[] = [
  { over: 'heads' },
  { over: 'components', components: ['resid_pre', 'attn_out', 'mlp_out'] },
  { over: 'positions', components: ['resid_mid'], layers: [1] },
  { over: 'patches' },
]

describe.each([reference, onnxruntime])('a grid of patched runs on %s', (backend) => {
  test('has in each cell the metric of a run that was edited there', async () => {
    const device = await backend.create()
    const { bench, close } = await tinyBench(device)
    const others = await run(device, tower, {
      seeds: [1, 2],
      read: ['blocks.0.attn.hook_z', 'blocks.1.attn.hook_z', 'blocks.1.hook_resid_mid'],
    })
    const metricOf = async (edit: Edit) => {
      const edited = applyEdits(tower.graph, [edit], tower)
      const inputs = { pixels: corrupted, ...edited.inputs(2) }
      const { [tower.graph.outputs[0]!]: output } = await runOnce(device, edited.graph, { inputs, weights: tower.weights })
      return scoresOf(output as Tensor<'float32'>)
    }
    const heads = await ask(bench, { grid: { over: 'heads' } })
    expect(heads.axes.map(({ name }) => name)).toEqual(['layer', 'head'])
    for (const layer of [0, 1]) {
      for (const head of [0, 1]) {
        const hookPoint = `blocks.${layer}.attn.hook_z`
        const expected = await metricOf({
          hookPoint,
          op: 'patch',
          heads: [head],
          source: { values: others.values[hookPoint]! as Tensor<'float32'> },
        })
        for (const pair of [0, 1]) {
          expect(heads.values.patching!.data[pair * 4 + layer * 2 + head]).toBeCloseTo(expected[pair]!, 4)
        }
      }
    }
    const positions = await ask(bench, { grid: { over: 'positions', components: ['resid_mid'], layers: [1], positions: [0, 3] } })
    expect(positions.values.patching!.shape).toEqual([2, 1, 1, 2])
    for (const [at, position] of [0, 3].entries()) {
      const values = others.values['blocks.1.hook_resid_mid']! as Tensor<'float32'>
      const expected = await metricOf({ hookPoint: 'blocks.1.hook_resid_mid', op: 'patch', positions: [position], source: { values } })
      for (const pair of [0, 1]) expect(positions.values.patching!.data[pair * 2 + at]).toBeCloseTo(expected[pair]!, 4)
    }
    await close()
  })

  test('changes nothing when a run is patched from itself', async () => {
    const { bench, close } = await tinyBench(await backend.create())
    for (const grid of everything) {
      const { values, clean: ofClean } = await ask(bench, { grid, corrupted: clean })
      const cells = values.patching!.data.length / 2
      const unchanged = Array.from(values.patching!.data, (_, at) => ofClean.data[Math.floor(at / cells)]!)
      // Bit for bit where a row's numbers do not depend on how many rows run beside it.
      if (backend === reference) expect([...values.patching!.data]).toEqual(unchanged)
      else for (const [at, value] of values.patching!.data.entries()) expect(value).toBeCloseTo(unchanged[at]!, 4)
    }
    await close()
  })

  test('gives the other run when everything of a layer is patched, either way', async () => {
    const { bench, close } = await tinyBench(await backend.create())
    const grid: GridSpec = { over: 'components', components: ['resid_pre', 'resid_post'] }
    for (const direction of ['denoise', 'noise'] as const) {
      const answer = await ask(bench, { grid, direction })
      const other = direction === 'denoise' ? answer.clean : answer.corrupted!
      expect(answer.values.patching!.shape).toEqual([2, 2, 2])
      for (const [at, value] of answer.values.patching!.data.entries()) expect(value).toBeCloseTo(other.data[Math.floor(at / 4)]!, 4)
    }
    await close()
  })
})

/** By the definition: temperature times the cosine. */
function scoresOf({ shape, data }: Tensor<'float32'>, { direction } = target): number[] {
  const width = shape[1]!
  return Array.from({ length: shape[0]! }, (_, row) => {
    const output = data.subarray(row * width, (row + 1) * width)
    const length = Math.hypot(...output)
    return (10 * output.reduce((sum, value, at) => sum + value * direction[at]!, 0)) / length
  })
}

describe('metrics', () => {
  const grid: GridSpec = { over: 'components', components: ['resid_pre'], layers: [1] }

  test('are of clean and corrupted runs what they are defined to be', async () => {
    const { bench, close } = await tinyBench(await reference.create())
    const device = await reference.create()
    const outputs = [await run(device, tower, { seeds: [1, 2] }), await run(device, tower, { seeds: [3, 4] })].map(
      ({ output }) => output as Tensor<'float32'>,
    )
    const chances = outputs.map((output) => {
      const logits = answers.map((answer) => scoresOf(output, answer))
      return [0, 1].map((pair) => softmax(logits.map((each) => each[pair]!)))
    })
    const probability = await ask(bench, { grid, metric: { kind: 'probability', among: answers, answer: 2 } })
    const kl = await ask(bench, { grid, metric: { kind: 'kl', among: answers } })
    const cosine = await ask(bench, { grid, metric: { kind: 'cosine' } })
    for (const pair of [0, 1]) {
      const [p, q] = [chances[0]![pair]!, chances[1]![pair]!]
      expect(probability.clean.data[pair]).toBeCloseTo(p[2]!, 5)
      expect(probability.corrupted!.data[pair]).toBeCloseTo(q[2]!, 5)
      expect(kl.clean.data[pair]).toBeCloseTo(0, 5)
      expect(kl.corrupted!.data[pair]).toBeCloseTo(
        p.reduce((sum, each, at) => sum + each * Math.log(each / q[at]!), 0),
        4,
      )
      expect(cosine.clean.data[pair]).toBeCloseTo(1, 5)
      const [a, b] = outputs.map(({ data }) => [...data.subarray(pair * 5, pair * 5 + 5)]) as [number[], number[]]
      expect(cosine.corrupted!.data[pair]).toBeCloseTo(
        a.reduce((sum, value, at) => sum + value * b[at]!, 0) / (Math.hypot(...a) * Math.hypot(...b)),
        5,
      )
    }
    await close()
  })

  test('of a classifier are over its own classes', async () => {
    const config: VisionConfig = { ...visionConfig, lnPre: false, head: { kind: 'classes', dOut: 5, bias: true } }
    const classifier = visionTower([], config)
    const { bench, close } = await tinyBench(await reference.create(), { tower: classifier })
    const { output } = await run(await reference.create(), classifier, { seeds: [1, 2] })
    const answer = await ask(bench, { grid, metric: { kind: 'probability', answer: 3 } })
    for (const pair of [0, 1]) {
      expect(answer.clean.data[pair]).toBeCloseTo(softmax([...(output.data as Float32Array).subarray(pair * 5, pair * 5 + 5)])[3]!, 5)
    }
    await close()
  })
})

function softmax(logits: readonly number[]): number[] {
  const exponentials = logits.map((logit) => Math.exp(logit - Math.max(...logits)))
  return exponentials.map((value) => value / exponentials.reduce((sum, each) => sum + each, 0))
}

describe('sources', () => {
  const set = pixels(tower, [5, 6, 7])
  const grid: GridSpec = { over: 'heads' }

  test('a mean over copies of one picture is that picture', async () => {
    const { bench, close } = await tinyBench(await reference.create())
    const copies = pixels(tower, [1, 1, 1])
    const [one, mean] = [
      await ask(bench, { grid, clean: pixels(tower, [1]), corrupted: pixels(tower, [3]) }),
      await ask(bench, { grid, clean: pixels(tower, [1]), corrupted: pixels(tower, [3]), source: { kind: 'mean', pixels: copies } }),
    ]
    for (const [at, value] of mean.values.patching!.data.entries()) expect(value).toBeCloseTo(one.values.patching!.data[at]!, 5)
    await close()
  })

  test('pictures that are drawn from a set are averaged, and the same seed draws the same', async () => {
    const { bench, close } = await tinyBench(await reference.create())
    const noise = { grid, direction: 'noise', clean: pixels(tower, [1]) } as const
    const single = await Promise.all(
      [5, 6, 7].map((seed) => ask(bench, { ...noise, corrupted: pixels(tower, [seed]) }).then(({ values }) => values.patching!.data)),
    )
    const { corrupted: none, ...resampled } = await ask(bench, {
      ...noise,
      ...{ corrupted: pixels(tower, [5]) },
      source: { kind: 'resample', pixels: set, seed: 1, draws: 12 },
    })
    void none
    const again = await ask(bench, {
      ...noise,
      corrupted: pixels(tower, [6]),
      source: { kind: 'resample', pixels: set, seed: 1, draws: 12 },
    })
    expect(again.values.patching).toEqual(resampled.values.patching)
    for (const [at, value] of resampled.values.patching!.data.entries()) {
      const each = single.map((data) => data[at]!)
      expect(value).toBeGreaterThanOrEqual(Math.min(...each) - 1e-4)
      expect(value).toBeLessThanOrEqual(Math.max(...each) + 1e-4)
    }
    await close()
  })

  test('a clean run needs no corrupted one for its ablation', async () => {
    const { bench, close } = await tinyBench(await reference.create())
    const answer = await patching.run(bench, {
      clean,
      direction: 'noise',
      source: { kind: 'mean', pixels: set },
      grid,
      metric: score,
      methods: ['patching', 'attribution'],
    })
    expect(answer.corrupted).toBeUndefined()
    expect(answer.values.patching!.data.every(Number.isFinite)).toBe(true)
    await close()
  })
})

describe('gradient approximations', () => {
  test('integrated gradients sum to what moving everything changes, way by way', async () => {
    const { bench, close } = await tinyBench(await onnxruntime.create())
    const grids: GridSpec[] = [{ over: 'heads' }, { over: 'components', components: ['attn_out', 'resid_mid'] }, { over: 'patches' }]
    for (const grid of grids) {
      const { values, corrupted: base, completeness } = await ask(bench, { grid, methods: ['integrated-gradients'], steps: 24 })
      for (const { sum, difference } of completeness!) {
        expect(Math.abs(sum - difference)).toBeLessThan(2e-3 * Math.max(1, Math.abs(difference)))
      }
      const { data } = values['integrated-gradients']!
      const perPair = data.length / 2
      for (const pair of [0, 1]) {
        const ofPair = completeness!.filter((each) => each.pair === pair).reduce((sum, each) => sum + each.sum, 0)
        const cells = [...data.subarray(pair * perPair, (pair + 1) * perPair)]
        expect(cells.reduce((sum, value) => sum + value - base!.data[pair]!, 0)).toBeCloseTo(ofPair, 3)
      }
    }
    await close()
  })

  test('attribution is the slope of the patched metric', async () => {
    const { bench, close } = await tinyBench(await referenceFloat64.create())
    // A corrupted picture so near that the metric is straight between the two.
    const near = float32(
      [1, ...clean.shape.slice(1)],
      [...clean.data.subarray(0, 64)].map((value, at) => value + 1e-3 * Math.sin(at)),
    )
    for (const grid of [{ over: 'heads' }, { over: 'positions', components: ['resid_mid'], layers: [0] }] as const) {
      const { values } = await ask(bench, { grid, clean: pixels(tower, [1]), corrupted: near, methods: ['patching', 'attribution'] })
      const [real, linear] = [values.patching!.data, values.attribution!.data]
      for (const [at, value] of real.entries()) expect(Math.abs(linear[at]! - value)).toBeLessThan(2e-4)
    }
    await close()
  })

  test('all heads are attributed by two programs: one of the other run, one forward and back', async () => {
    const { bench, nCompiled, close } = await tinyBench(await onnxruntime.create())
    await ask(bench, { grid: { over: 'heads' }, methods: ['attribution'] })
    // and the metric by itself
    expect(nCompiled()).toBe(3)
    await close()
  })
})

describe('what a grid compiles', () => {
  test('is one program a layer, and nothing when it is asked again', async () => {
    const { bench, nCompiled, close } = await tinyBench(await onnxruntime.create())
    await ask(bench, { grid: { over: 'heads' } })
    const first = nCompiled()
    expect(first).toBe(2 + 3)
    await ask(bench, { grid: { over: 'heads' }, direction: 'noise', metric: { kind: 'score', target: answers[1]! } })
    expect(nCompiled()).toBe(first)
    await close()
  })
})

describe('features', () => {
  const sae = (hookPoint: string): SaeConfig => ({
    ...{ architecture: 'standard', activation: 'relu', dIn: 8, dOut: 8, dSae: 6 },
    ...{ normalization: 'none', subtractsDecoderBias: false, hookPoint },
  })
  const numbers = (shape: readonly number[], seed: number) =>
    float32(
      shape,
      randomVector(
        shape.reduce((n, length) => n * length, 1),
        seed,
      ),
    )
  const weights = { W_enc: numbers([8, 6], 1), b_enc: numbers([6], 2), W_dec: numbers([6, 8], 3), b_dec: numbers([8], 4) }

  test('of patches and of one token are patched at the tokens that there are', async () => {
    for (const [hookPoint, nTokens] of [
      ['hook_embed', 4],
      ['blocks.1.hook_resid_post', 6],
    ] as const) {
      const { bench, close } = await tinyBench(await reference.create(), { saes: [{ config: sae(hookPoint), weights }] })
      const grid = { over: 'features', features: [0, 1, 2, 3, 4, 5] } as const
      const { values, corrupted: base } = await ask(bench, { grid, methods: ['patching', 'integrated-gradients'], steps: 4 })
      expect(values.patching!.shape).toEqual([2, 6])
      expect([...values.patching!.data]).not.toEqual(Array.from(values.patching!.data, (_, at) => base!.data[Math.floor(at / 6)]))
      const outside = { over: 'features', features: [0], positions: [nTokens] } as const
      await expect(ask(bench, { grid: outside })).rejects.toMatchObject({
        problems: [{ path: 'positions[0]', message: `position ${nTokens} is out of range; what this SAE reads has 0 to ${nTokens - 1}` }],
      })
      await close()
    }
  })
})

describe('what cannot be patched', () => {
  const refused = async (input: Partial<PatchingInput> & { grid: GridSpec }, config: Partial<VisionConfig> = {}) => {
    const own = visionTower([], { ...visionConfig, ...config })
    const { bench, close } = await tinyBench(await reference.create(), { tower: own })
    const error = await ask(bench, input).catch((reason) => reason)
    await close()
    return [error.code, ...error.problems.map(({ path, message }: { path: string; message: string }) => `${path}: ${message}`)]
  }

  test('is a model whose answer is no one vector', async () => {
    const [code, problem] = await refused({ grid: { over: 'heads' } }, { pooling: 'none' })
    expect([code, problem]).toEqual(['INPUT_INVALID', expect.stringContaining('model: tiny does not pool its tokens')])
  })

  test('are layers and positions that are not there, all of them named', async () => {
    expect(await refused({ grid: { over: 'heads', layers: [0, 5, 0], positions: [6] } })).toEqual([
      'INPUT_INVALID',
      'layers[1]: layer 5 is out of range; this model has 0 to 1',
      'layers[2]: layer 0 is there twice',
      'positions[0]: position 6 is out of range; this model has 0 to 5',
    ])
  })

  test('is a component that the model does not have', async () => {
    const attentionOnly = { ...visionConfig, activation: 'gelu' } as Partial<VisionConfig>
    const { dMlp: _, ...config } = attentionOnly
    const own = visionTower([], config as VisionConfig)
    const { bench, close } = await tinyBench(await reference.create(), { tower: own })
    await expect(ask(bench, { grid: { over: 'components', components: ['mlp_out'] } })).rejects.toMatchObject({
      code: 'HOOK_POINT_UNKNOWN',
    })
    await close()
  })
})
