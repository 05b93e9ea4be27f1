import { describe, expect, test } from 'vitest'
import { isResidual, type LensLabels, type LogitLensInput, logitLens, logitsOfImage } from '../../../src/engine/analyses/lens/logit-lens.js'
import { poolsTokens } from '../../../src/engine/analyses/lens/read-out.js'
import { scoringOf } from '../../../src/engine/analyses/targets.js'
import { nPositions } from '../../../src/engine/hook-points.js'
import { createRandom } from '../../../src/engine/random.js'
import { elementCount, float32, type Tensor } from '../../../src/engine/tensor.js'
import { onnxruntime, reference, referenceFloat64 } from '../each-backend.js'
import '../close-tensor.js'
import { expectedOf, fixtureNames } from '../models/fixtures.js'
import { type GoldenBench, goldenBench, readGolden } from './golden-bench.js'

function randomLabels({ model: { description, config } }: GoldenBench, nLabels: number): LensLabels {
  const random = createRandom(3)
  const rows = Array.from({ length: nLabels }, () => {
    const row = Array.from({ length: config.head.dOut }, () => random.normal())
    const length = Math.hypot(...row)
    return row.map((value) => value / length)
  })
  const directions = float32([nLabels, config.head.dOut], rows.flat())
  return { directions, scoring: scoringOf(description), bias: description.logitBias ?? 0 }
}

function inputOf(bench: GoldenBench, more: Partial<LogitLensInput> = {}): LogitLensInput {
  const { config, description } = bench.model
  const hookPoints = description.vision.hookPoints.map(({ name }) => name).filter(isResidual)
  const labels = config.head.kind === 'classes' ? undefined : randomLabels(bench, 11)
  const input = { pixels: bench.pixels, hookPoints, ...(labels && { labels }), topK: 3, ...more }
  const nLabels = input.labels && { nLabels: input.labels.directions.shape[0]! }
  return { ...input, nLogits: logitsOfImage(config, { nHookPoints: input.hookPoints.length, ...nLabels }) }
}

/** Scores of an answer of the model, in float64. */
function scoresOf({ data }: Tensor, { config }: GoldenBench['model'], labels?: LensLabels): number[] {
  const width = config.head.dOut
  return Array.from({ length: data.length / width }, (_, row) => {
    const values = Array.from(data.subarray(row * width, (row + 1) * width), Number)
    if (!labels) return values
    const length = labels.scoring.normalized ? Math.hypot(...values) : 1
    const { shape, data: directions } = labels.directions
    return Array.from({ length: shape[0]! }, (_, label) => {
      const product = values.reduce((sum, value, at) => sum + value * directions[label * width + at]!, 0)
      return (labels.scoring.scale * product) / length + labels.bias
    })
  }).flat()
}

const golden = await readGolden()
const layerOutputs = ['blocks.0.hook_resid_post', 'blocks.1.hook_resid_post']

describe.each([referenceFloat64, onnxruntime])('the logit lens on %s', async (underTest) => {
  const backend = await underTest.create()

  test.each(fixtureNames)('%s: the last layer, pooled as the model pools, is its answer', async (name) => {
    const bench = await goldenBench(backend, name)
    const { config } = bench.model
    const input = inputOf(bench, { withLogits: true, ...(!poolsTokens(config) && { target: 0 }) })
    const { tokens, pooled } = await logitLens.run(bench, input)
    const answer = (await expectedOf(name)).get('vision/output')!
    const last = input.hookPoints.length - 1
    const { logits } = pooled ?? tokens
    const [batch, nLayers, ...rest] = logits!.shape as [number, number, ...number[]]
    const size = rest.reduce((a, b) => a * b, 1)
    const own = Array.from({ length: batch }, (_, image) => {
      const at = (image * nLayers + last) * size
      return Array.from(logits!.data.subarray(at, at + size))
    }).flat()
    const expected = scoresOf(answer, bench.model, input.labels)
    // a model that hands on its patches does so without CLS and registers
    const given = config.pooling === 'patches' ? withoutPrefix(own, rest, config) : own
    expect(float32([given.length], given)).toBeCloseTensor(float32([expected.length], expected), { tolerance: 2e-5 })
  })

  test('CLIP: logits, probabilities, entropy and rank of every layer and token are those of PyTorch', async () => {
    const bench = await goldenBench(backend, 'hf-clip')
    const expected = (key: string) => golden[`hf-clip/lens/${key}`]!
    const labels = { directions: golden['hf-clip/labels']!, scoring: scoringOf(bench.model.description), bias: 0 }
    const { tokens } = await logitLens.run(
      bench,
      inputOf(bench, { hookPoints: layerOutputs, labels, topK: 7, target: 2, withLogits: true }),
    )
    expect(tokens.logits).toBeCloseTensor(expected('logits'))
    expect(tokens.entropy).toBeCloseTensor(expected('entropy'))
    expect(Array.from(tokens.targetRank.data)).toEqual(Array.from(expected('rank').data))
    const probabilities = new Float32Array(tokens.topProbabilities.data.length)
    for (const [at, label] of tokens.topClasses.data.entries()) probabilities[at - (at % 7) + label] = tokens.topProbabilities.data[at]!
    expect(float32(tokens.topProbabilities.shape, probabilities)).toBeCloseTensor(expected('probabilities'))
  })

  test('a classifier: logits of every layer and token are those of PyTorch', async () => {
    const bench = await goldenBench(backend, 'hf-vit-classifier')
    const { tokens } = await logitLens.run(bench, inputOf(bench, { hookPoints: layerOutputs, withLogits: true }))
    expect(tokens.logits).toBeCloseTensor(golden['hf-vit-classifier/lens/logits']!)
  })
})

function withoutPrefix(values: readonly number[], [nTokens, width]: readonly number[], config: GoldenBench['model']['config']): number[] {
  const nPrefix = (config.hasCls ? 1 : 0) + config.nRegisters
  return values.filter((_, at) => Math.floor(at / width!) % nTokens! >= nPrefix)
}

describe('what it says of each token', async () => {
  const backend = await reference.create()

  test('is consistent: probabilities sum to 1, entropy, order and rank follow from the logits', async () => {
    const bench = await goldenBench(backend, 'hf-clip')
    const input = inputOf(bench, { withLogits: true, topK: 4, target: 5 })
    const { tokens, pooled, target } = await logitLens.run(bench, input)
    expect(Array.from(target.data)).toEqual(Array(bench.pixels.shape[0]).fill(5))
    for (const values of [tokens, pooled!]) {
      for (let row = 0; row < values.entropy.data.length; row++) {
        const logits = Array.from(values.logits!.data.subarray(row * 11, (row + 1) * 11))
        const most = Math.max(...logits)
        const sum = logits.reduce((total, logit) => total + Math.exp(logit - most), 0)
        const probabilities = logits.map((logit) => Math.exp(logit - most) / sum)
        expect(values.entropy.data[row]).toBeCloseTo(-probabilities.reduce((total, p) => total + p * Math.log(p), 0), 4)
        const order = logits.map((_, index) => index).sort((a, b) => logits[b]! - logits[a]!)
        expect(Array.from(values.topClasses.data.subarray(row * 4, row * 4 + 4))).toEqual(order.slice(0, 4))
        expect(values.topProbabilities.data[row * 4]).toBeCloseTo(probabilities[order[0]!]!, 4)
        expect(values.targetRank.data[row]).toBe(order.indexOf(5) + 1)
        expect(values.targetProbability.data[row]).toBeCloseTo(probabilities[5]!, 4)
      }
    }
  })

  test("takes each image's own answer for the target unless told another", async () => {
    const bench = await goldenBench(backend, 'hf-vit-classifier')
    const input = inputOf(bench)
    const { target, pooled } = await logitLens.run(bench, input)
    const last = input.hookPoints.length - 1
    for (const [image, own] of target.data.entries()) {
      const at = image * input.hookPoints.length + last
      expect(pooled!.topClasses.data[at * 3]).toBe(own)
      expect(pooled!.targetRank.data[at]).toBe(1)
    }
  })

  test('of a mean-pooled linear model averages to its answer: logits are linear in the pooled tokens', async () => {
    const bench = await goldenBench(await referenceFloat64.create(), 'vit-prisma-attn-only')
    const { config } = bench.model
    expect(config).toMatchObject({ pooling: 'meanAll', normalization: 'none' })
    const input = inputOf(bench, { withLogits: true, ...(config.head.kind !== 'classes' && { labels: plainLabels(bench) }) })
    const { tokens, pooled } = await logitLens.run(bench, input)
    const [batch, nLayers, nTokens, nClasses] = tokens.logits!.shape as [number, number, number, number]
    for (let row = 0; row < batch * nLayers; row++) {
      for (let index = 0; index < nClasses; index++) {
        let sum = 0
        for (let token = 0; token < nTokens; token++) sum += tokens.logits!.data[(row * nTokens + token) * nClasses + index]!
        expect(sum / nTokens).toBeCloseTo(pooled!.logits!.data[row * nClasses + index]!, 4)
      }
    }
  })

  test('compiles once, whatever the labels, how many, the target and the images', async () => {
    const bench = await goldenBench(backend, 'hf-clip')
    await logitLens.run(bench, inputOf(bench))
    await logitLens.run(bench, inputOf(bench, { labels: randomLabels(bench, 2), topK: 2, target: 1 }))
    const { tokens } = await logitLens.run(bench, inputOf(bench, { labels: randomLabels(bench, 40), topK: 8 }))
    expect(bench.compiled()).toBe(1)
    expect(tokens.topClasses.shape.at(-1)).toBe(8)
  })

  test('gives no more classes than there are, and none of those that fill up', async () => {
    const bench = await goldenBench(backend, 'hf-clip')
    const { tokens } = await logitLens.run(bench, inputOf(bench, { labels: randomLabels(bench, 2), topK: 5, withLogits: true }))
    expect(tokens.topClasses.shape.at(-1)).toBe(2)
    expect(tokens.logits!.shape.at(-1)).toBe(2)
    expect(Math.max(...tokens.topClasses.data)).toBeLessThan(2)
    for (let row = 0; row < tokens.entropy.data.length; row++) {
      expect(tokens.topProbabilities.data[2 * row]! + tokens.topProbabilities.data[2 * row + 1]!).toBeCloseTo(1, 5)
      expect(tokens.entropy.data[row]).toBeLessThanOrEqual(Math.log(2) + 1e-6)
    }
  })

  test('does not depend on how many images run at once', async () => {
    const bench = await goldenBench(backend, 'hf-vit-classifier')
    const input = inputOf(bench)
    const together = await logitLens.run(bench, input)
    const oneByOne = await logitLens.run(bench, { ...input, nLogits: 2 ** 24 })
    expect(oneByOne.tokens.topLogits).toBeCloseTensor(together.tokens.topLogits)
    expect(oneByOne.pooled!.topClasses).toEqual(together.pooled!.topClasses)
  })
})

const plainLabels = (bench: GoldenBench): LensLabels => ({
  ...randomLabels(bench, 4),
  scoring: { normalized: false, scale: 1 },
  bias: 0,
})

describe('of an edited run', async () => {
  const backend = await reference.create()
  const hookPoint = 'blocks.0.hook_resid_post'

  test('it is that of the plain run where edits change nothing, and another where they do, from there on', async () => {
    const bench = await goldenBench(backend, 'hf-clip')
    const plain = await logitLens.run(bench, inputOf(bench, { withLogits: true }))
    const same = await logitLens.run(bench, inputOf(bench, { withLogits: true, edits: [{ hookPoint, op: 'scale', strength: 1 }] }))
    expect(same.tokens.logits).toBeCloseTensor(plain.tokens.logits!)
    const input = inputOf(bench, { withLogits: true, edits: [{ hookPoint, op: 'scale', strength: -2, positions: [1] }] })
    const edited = await logitLens.run(bench, input)
    const [batch, nLayers, nTokens, nClasses] = plain.tokens.logits!.shape as [number, number, number, number]
    for (let row = 0; row < batch * nLayers * nTokens; row++) {
      const [layer, token] = [Math.floor(row / nTokens) % nLayers, row % nTokens]
      const of = ({ tokens }: typeof plain) => Array.from(tokens.logits!.data.subarray(row * nClasses, (row + 1) * nClasses))
      const name = input.hookPoints[layer]!
      const isOther = token !== 1 && [hookPoint, 'blocks.1.hook_resid_pre'].includes(name)
      if (layer < input.hookPoints.indexOf(hookPoint) || isOther) expect(of(edited)).toEqual(of(plain))
      else expect(of(edited)).not.toEqual(of(plain))
    }
  })

  test('edits that relate images to each other see all of them, however few run at once', async () => {
    const bench = await goldenBench(backend, 'hf-clip')
    const input = inputOf(bench, {
      edits: [
        { hookPoint, op: 'mean' },
        { hookPoint: 'blocks.1.attn.hook_z', op: 'patch', source: { input: 0 } },
      ],
    })
    const whole = await logitLens.run(bench, input)
    const portioned = await logitLens.run(bench, { ...input, nLogits: 2 ** 24 })
    expect(portioned.tokens.topLogits).toBeCloseTensor(whole.tokens.topLogits)
  })

  test('numbers of an edit go with their image', async () => {
    const bench = await goldenBench(backend, 'hf-clip')
    const [batch] = bench.pixels.shape as [number]
    const { dModel } = bench.model.config
    const shape = [batch, nPositions(bench.model.config), dModel]
    const values = { shape, data: Float32Array.from({ length: elementCount(shape) }, (_, at) => Math.sin(at)) }
    const input = inputOf(bench, { edits: [{ hookPoint, op: 'patch', source: { values } }] })
    const whole = await logitLens.run(bench, input)
    const portioned = await logitLens.run(bench, { ...input, nLogits: 2 ** 24 })
    expect(portioned.tokens.topLogits).toBeCloseTensor(whole.tokens.topLogits)
  })
})

describe('refused', async () => {
  const bench = await goldenBench(await reference.create(), 'hf-clip')

  test('are hook points beside the residual stream, each by its path', async () => {
    const input = inputOf(bench, { hookPoints: ['blocks.0.hook_resid_post', 'blocks.0.hook_mlp_out', 'hook_embed'] })
    await expect(logitLens.run(bench, input)).rejects.toMatchObject({
      code: 'INPUT_INVALID',
      problems: [{ path: 'hookPoints[1]' }, { path: 'hookPoints[2]' }],
    })
  })

  test('is a target beyond the classes', async () => {
    await expect(logitLens.run(bench, inputOf(bench, { target: 11 }))).rejects.toMatchObject({ code: 'INPUT_INVALID' })
  })
})
