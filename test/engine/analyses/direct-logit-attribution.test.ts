import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import {
  type DirectAttribution,
  directLogitAttribution,
  type Finer,
} from '../../../src/engine/analyses/attribution/direct-logit-attribution.js'
import { ProgramShelf } from '../../../src/engine/analyses/program-shelf.js'
import type { Target } from '../../../src/engine/analyses/targets.js'
import { scoringOf } from '../../../src/engine/analyses/targets.js'
import { openWorkbench } from '../../../src/engine/analyses/workbench.js'
import type { Backend } from '../../../src/engine/backends/backend.js'
import { nPositions } from '../../../src/engine/hook-points.js'
import { builtTowers } from '../../../src/engine/interventions/built-towers.js'
import { loadModel } from '../../../src/engine/models/load.js'
import type { VisionConfig } from '../../../src/engine/models/model.js'
import type { SaeConfig } from '../../../src/engine/saes/sae.js'
import { elementCount, type Tensor } from '../../../src/engine/tensor.js'
import { onnxruntime, referenceFloat64 } from '../each-backend.js'
import { visionConfig as tinyConfig, visionTower } from '../interventions/tiny-towers.js'
import { fixtureNames, folderOf, runAll } from '../models/fixtures.js'
import { randomWeights } from '../saes/spliced-tower.js'
import { goldenBench } from './golden-bench.js'
import { tinyBench } from './tiny-bench.js'

const everything: Finer = { heads: true, sources: true, tokens: true, neurons: true }

/** Directions that differ in length and sign. */
function targetsOf({ head }: VisionConfig): Target[] {
  return [1, 2, 3].map((seed) => ({
    label: String(seed),
    direction: Float32Array.from({ length: head.dOut }, (_, at) => Math.sin(seed * (at + 1)) * seed),
  }))
}

const pools = ({ pooling }: VisionConfig) => pooling !== 'none' && pooling !== 'patches'

/** Sums over the last axes. */
function sums(tensor: Tensor, nAxes: number): number[] {
  const length = elementCount(tensor.shape.slice(tensor.shape.length - nAxes))
  const all = Array.from(tensor.data, Number)
  return Array.from({ length: all.length / length }, (_, at) => all.slice(at * length, (at + 1) * length).reduce((a, b) => a + b, 0))
}

/** The numbers of some parts, in the order of `[batch, target, part]`. */
function ofKind({ components, parts }: DirectAttribution, isWanted: (name: string) => boolean): number[] {
  return Array.from(components.data, Number).filter((_, at) => isWanted(parts[at % parts.length]!.name))
}

function largestDifference(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  expect(actual.length).toBe(expected.length)
  const [a, e] = [Array.from(actual), Array.from(expected)]
  return a.reduce((most, value, at) => Math.max(most, Number.isNaN(value) ? Number.POSITIVE_INFINITY : Math.abs(value - e[at]!)), 0)
}

const scaleOf = ({ components }: DirectAttribution) => Array.from(components.data, Math.abs).reduce((a, b) => Math.max(a, b), 0)

describe.each([
  { underTest: referenceFloat64, tolerance: 1e-10 },
  { underTest: onnxruntime, tolerance: 1e-5 },
])('direct logit attribution on $underTest', ({ underTest, tolerance }) => {
  let backend: Backend
  beforeAll(async () => {
    backend = await underTest.create()
  })

  test.each(fixtureNames)('of %s: parts sum to the score, and finer parts to coarser ones', async (name) => {
    const bench = await goldenBench(backend, name)
    const { config } = bench.model
    const input = { pixels: bench.pixels, targets: targetsOf(config), by: everything, topK: config.dMlp ?? 1, numbers: 1000 }
    if (!pools(config)) {
      await expect(directLogitAttribution.run(bench, input)).rejects.toThrow(/does not pool/)
      return
    }
    const answer = await directLogitAttribution.run(bench, input)
    const [batch, nTargets] = [bench.pixels.shape[0]!, 3]
    const allowed = tolerance * scaleOf(answer)

    expect(answer.components.shape).toEqual([batch, nTargets, answer.parts.length])
    expect(Math.max(...answer.remainder.data.map(Math.abs))).toBeLessThan(allowed)
    expect(largestDifference(sums(answer.components, 1), Array.from(answer.score.data, Number))).toBeLessThan(allowed)

    const attention = ofKind(answer, (part) => part.endsWith('.attn'))
    expect(answer.heads!.shape).toEqual([batch, nTargets, config.nLayers, config.nHeads])
    expect(largestDifference(sums(answer.heads!, 1), attention)).toBeLessThan(allowed)
    expect(answer.sources!.shape).toEqual([batch, nTargets, config.nLayers, config.nHeads, nPositions(config)])
    expect(largestDifference(sums(answer.sources!, 1), Array.from(answer.heads!.data, Number))).toBeLessThan(allowed)

    const isConstant = (part: string) => part === 'ln_final.b' || part === 'head.b_H'
    expect(
      largestDifference(
        sums(answer.tokens!, 1),
        ofKind(answer, (part) => !isConstant(part)),
      ),
    ).toBeLessThan(allowed)
    if (config.dMlp === undefined) expect(answer.neurons).toBeUndefined()
    else
      expect(
        largestDifference(
          sums(answer.neurons!.values, 1),
          ofKind(answer, (part) => part.endsWith('.mlp')),
        ),
      ).toBeLessThan(allowed)
  })
})

describe('direct logit attribution', async () => {
  const backend = await referenceFloat64.create()

  test('scores as the model does: a logit of a classifier, a cosine times the temperature of CLIP', async () => {
    for (const name of ['hf-vit-classifier', 'open-clip', 'hf-dinov2-classifier']) {
      const bench = await goldenBench(backend, name)
      const targets = targetsOf(bench.model.config)
      const { score } = await directLogitAttribution.run(bench, { pixels: bench.pixels, targets, by: {}, topK: 1, numbers: 1000 })
      const output = (await runAll(backend, bench.loaded.towers.vision, { pixels: bench.pixels })).get('output')!
      const { normalized, scale } = scoringOf(bench.model.description)
      const [batch, width] = output.shape as [number, number]
      for (let image = 0; image < batch; image++) {
        const row = Array.from(output.data, Number).slice(image * width, (image + 1) * width)
        const length = normalized ? Math.hypot(...row) : 1
        const expected = targets.map(({ direction }) => (scale * row.reduce((sum, value, at) => sum + value * direction[at]!, 0)) / length)
        expect(largestDifference(Array.from(score.data, Number).slice(image * 3, image * 3 + 3), expected)).toBeLessThan(1e-6)
      }
    }
  })

  test('of a model that pools CLS: nothing but CLS is read, and a patch reaches the score only through heads', async () => {
    const bench = await goldenBench(backend, 'hf-clip')
    const answer = await directLogitAttribution.run(bench, {
      pixels: bench.pixels,
      targets: targetsOf(bench.model.config),
      by: everything,
      topK: 2,
      numbers: 1000,
    })
    expect(ofKind(answer, (part) => part === 'embed').every((value) => value === 0)).toBe(true)
    const length = nPositions(bench.model.config)
    expect(Array.from(answer.tokens!.data, Number).every((value, at) => at % length === 0 || value === 0)).toBe(true)
  })

  test('the largest neurons come first and are those that were active', async () => {
    const bench = await goldenBench(backend, 'timm-token')
    const { config } = bench.model
    const answer = await directLogitAttribution.run(bench, {
      pixels: bench.pixels,
      targets: targetsOf(config),
      by: { neurons: true },
      topK: 3,
      numbers: 1000,
    })
    const { values, indices, activations } = answer.neurons!
    const hooks = await runAll(backend, bench.loaded.towers.vision, { pixels: bench.pixels })
    const [, nTargets, nLayers, k] = values.shape as [number, number, number, number]
    expect([nTargets, nLayers, k]).toEqual([3, config.nLayers, 3])
    for (let at = 0; at < values.data.length; at += k) {
      const [layer, image] = [Math.floor(at / k) % nLayers, Math.floor(at / (k * nLayers * nTargets))]
      const post = hooks.get(`blocks.${layer}.mlp.hook_post`)!
      const cls = (neuron: number) => Number(post.data[image * nPositions(config) * config.dMlp! + neuron])
      const sizes = Array.from(values.data.slice(at, at + k), Math.abs)
      expect(sizes).toEqual([...sizes].sort((a, b) => b - a))
      for (let n = at; n < at + k; n++) expect(Number(activations.data[n])).toBeCloseTo(cls(Number(indices.data[n])), 6)
    }
  })

  test('is linear in what is asked: of a difference it is the difference', async () => {
    const { bench, tower, close } = await tinyBench(backend)
    const pixels = tower.input(2) as Tensor<'float32'>
    const width = bench.model.config.head.dOut
    const direction = fc.array(fc.float({ min: -2, max: 2, noNaN: true }), { minLength: width, maxLength: width })
    await fc.assert(
      fc.asyncProperty(direction, direction, async (a, b) => {
        const directions = [a, b, a.map((value, at) => value - b[at]!)]
        const targets = directions.map((each, label) => ({ label: String(label), direction: Float32Array.from(each) }))
        const answer = await directLogitAttribution.run(bench, { pixels, targets, by: { sources: true }, topK: 1, numbers: 1000 })
        for (const { data } of [answer.components, answer.sources!]) {
          const [first, second, difference] = [0, 1, 2].map((at) =>
            Array.from(data, Number).slice((at * data.length) / 3, ((at + 1) * data.length) / 3),
          )
          expect(
            largestDifference(
              difference!,
              first!.map((value, at) => value - second![at]!),
            ),
          ).toBeLessThan(1e-5 * Math.max(1, scaleOf(answer)))
        }
      }),
      { numRuns: 20 },
    )
    await close()
  })

  test.each(['hf-clip', 'hf-dinov2-classifier', 'timm-average'])(
    'of %s is exact with folded and centred weights, too, and says the same of scores',
    async (name) => {
      const processing = ['fold-layer-norm', 'centre-writing-weights', 'fold-value-biases'] as const
      const bench = await goldenBench(backend, name)
      const { description, towers } = await loadModel(folderOf(name), { processing })
      const config = description.vision.config as VisionConfig
      const build = builtTowers(description.vision, towers.vision.buildGraph)
      const model = { key: 'folded', description, config, build, weights: await backend.upload(towers.vision.weights) }
      const folded = openWorkbench({ backend, model, saes: [], programs: new ProgramShelf(backend) })
      const input = { pixels: bench.pixels, targets: targetsOf(config), by: { heads: true }, topK: 1, numbers: 1000 }
      const [plain, processed] = await Promise.all([bench, folded].map((each) => directLogitAttribution.run(each, input)))
      expect(Math.max(...processed!.remainder.data.map(Math.abs))).toBeLessThan(1e-10 * scaleOf(processed!))
      // weights are folded in float32
      expect(largestDifference(Array.from(processed!.score.data, Number), Array.from(plain!.score.data, Number))).toBeLessThan(
        1e-4 * scaleOf(plain!),
      )
    },
  )

  test('compiles once, whatever the targets, and computes many images some at a time', async () => {
    const { bench, tower, nCompiled, close } = await tinyBench(backend)
    const targets = targetsOf(bench.model.config)
    const one = tower.input(1) as Tensor<'float32'>
    const pixels = {
      ...one,
      shape: [5, ...one.shape.slice(1)],
      data: Float32Array.from({ length: 5 * one.data.length }, (_, at) => Math.sin(at)),
    }
    const whole = await directLogitAttribution.run(bench, { pixels, targets, by: { heads: true }, topK: 1, numbers: 1000 })
    const inParts = await directLogitAttribution.run(bench, {
      pixels,
      targets: targets.slice(1),
      by: { heads: true },
      topK: 1,
      numbers: 2 ** 24,
    })
    expect(nCompiled()).toBe(1)
    const of = (topK: number) => directLogitAttribution.run(bench, { pixels, targets, by: { neurons: true }, topK, numbers: 1000 })
    const [few, more] = [await of(2), await of(5)]
    expect(nCompiled()).toBe(2)
    expect([few, more].map(({ neurons }) => neurons!.values.shape.at(-1))).toEqual([2, 5])
    expect(Array.from(more.neurons!.values.data.slice(0, 2))).toEqual(Array.from(few.neurons!.values.data.slice(0, 2)))
    expect(inParts.heads!.shape[0]).toBe(5)
    const kept = Array.from(whole.score.data, Number).filter((_, at) => at % 3 > 0)
    expect(largestDifference(Array.from(inParts.score.data, Number), kept)).toBeLessThan(1e-6)
    await close()
  })
})

describe('direct logit attribution by SAE features', async () => {
  const backend = await referenceFloat64.create()
  const base: SaeConfig = {
    architecture: 'standard',
    activation: 'relu',
    dIn: 8,
    dOut: 8,
    dSae: 20,
    normalization: 'none',
    subtractsDecoderBias: true,
    hookPoint: 'blocks.0.hook_resid_post',
  }
  const dMlp = tinyConfig.dMlp!
  const upTo = (last: string) => (part: string, names: readonly string[]) => names.indexOf(part) <= names.indexOf(last)
  const only =
    (...names: string[]) =>
    (part: string) =>
      names.includes(part)
  const cases: readonly { what: string; sae: Partial<SaeConfig>; is: (part: string, names: readonly string[]) => boolean }[] = [
    { what: 'the residual stream', sae: {}, is: upTo('blocks.0.mlp.b_out') },
    { what: 'the residual stream, layer_norm', sae: { normalization: 'layer_norm' }, is: upTo('blocks.0.mlp.b_out') },
    { what: 'the residual stream between the halves', sae: { hookPoint: 'blocks.1.hook_resid_mid' }, is: upTo('blocks.1.attn.b_O') },
    { what: 'what enters the first block', sae: { hookPoint: 'hook_ln_pre' }, is: (part) => !/^(blocks|ln_final|head)/.test(part) },
    {
      what: 'an MLP',
      sae: { hookPoint: 'blocks.1.hook_mlp_out', activation: 'topk', architecture: 'topk', k: 4 },
      is: only('blocks.1.mlp', 'blocks.1.mlp.b_out'),
    },
    {
      what: 'attention',
      sae: { hookPoint: 'blocks.1.hook_attn_out', normalization: 'constant_norm_rescale' },
      is: only('blocks.1.attn', 'blocks.1.attn.b_O'),
    },
    {
      what: 'heads side by side',
      sae: { hookPoint: 'blocks.0.attn.hook_z', flattensHeads: true, normalization: 'expected_average_only_in' },
      is: only('blocks.0.attn'),
    },
    {
      what: 'neurons',
      sae: { hookPoint: 'blocks.0.mlp.hook_post', dIn: dMlp, dOut: dMlp, architecture: 'gated' },
      is: only('blocks.0.mlp'),
    },
    {
      what: 'a transcoder with a skip',
      sae: {
        hookPoint: 'blocks.0.ln2.hook_normalized',
        normalization: 'layer_norm',
        transcoder: { hookPointOut: 'blocks.0.hook_mlp_out', skip: 'linear', denormalizes: true },
      },
      is: only('blocks.0.mlp', 'blocks.0.mlp.b_out'),
    },
    {
      what: 'a transcoder that does not undo its normalisation',
      sae: {
        hookPoint: 'blocks.0.hook_resid_mid',
        normalization: 'constant_norm_rescale',
        transcoder: { hookPointOut: 'blocks.0.hook_mlp_out', skip: 'none', denormalizes: false },
      },
      is: only('blocks.0.mlp', 'blocks.0.mlp.b_out'),
    },
  ]
  const poolings: readonly Partial<VisionConfig>[] = [
    { pooling: 'cls' },
    { pooling: 'mean', finalNorm: 'pooled' },
    { pooling: 'clsAndMean', head: { kind: 'classes', dOut: 4, bias: true } },
    { pooling: 'meanAll', layerScale: true, normalization: 'layerNormPre' },
  ]

  test.each(cases)('at $what: features, bias and error are the part of the hook point', async ({ sae: change, is }) => {
    const sae = { ...base, ...change } as SaeConfig
    for (const pooling of poolings) {
      const config = { ...tinyConfig, ...pooling }
      const { bench, tower, close } = await tinyBench(backend, {
        tower: visionTower([], config),
        saes: [{ config: sae, weights: randomWeights(sae) }],
      })
      const answer = await directLogitAttribution.run(bench, {
        pixels: tower.input(3) as Tensor<'float32'>,
        targets: targetsOf(config),
        by: { features: true },
        topK: sae.dSae,
        numbers: 1000,
      })
      const [found] = answer.features!
      const names = answer.parts.map(({ name }) => name)
      const parts = names.filter((name) => is(name, names))
      expect(parts.length).toBeGreaterThan(0)
      const expected = [0, 1, 2].map((target) => {
        return parts.reduce((sum, name) => sum + Number(answer.components.data[target * names.length + names.indexOf(name)]), 0)
      })
      const total = [0, 1, 2].map(
        (target) => Number(found!.features.data[target]) + Number(found!.bias.data[target]) + Number(found!.error.data[target]),
      )
      expect(largestDifference(total, expected)).toBeLessThan(1e-10 * scaleOf(answer))
      expect(largestDifference(sums(found!.values, 1), Array.from(found!.features.data, Number))).toBeLessThan(1e-10 * scaleOf(answer))
      expect(Math.max(...Array.from(found!.features.data, (value) => Math.abs(Number(value))))).toBeGreaterThan(0)
      await close()
    }
  })

  test('is refused of an SAE whose output no score reads', async () => {
    const sae = { ...base, hookPoint: 'blocks.0.ln1.hook_normalized' }
    const { bench, tower, close } = await tinyBench(backend, { saes: [{ config: sae, weights: randomWeights(sae) }] })
    const input = {
      pixels: tower.input(1) as Tensor<'float32'>,
      targets: targetsOf(tinyConfig),
      by: { features: true },
      topK: 1,
      numbers: 10,
    }
    await expect(directLogitAttribution.run(bench, input)).rejects.toThrow(/writes to blocks.0.ln1.hook_normalized, which no score reads/)
    await close()
  })
})
