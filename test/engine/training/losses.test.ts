import { describe, expect, test } from 'vitest'
import { GraphBuilder } from '../../../src/engine/graph/builder.js'
import { differentiate, gradientName } from '../../../src/engine/graph/differentiate.js'
import { float32, int64, scalar, type Tensor } from '../../../src/engine/tensor.js'
import { accuracy, clipContrastive, crossEntropy, mse, sameGroup } from '../../../src/engine/training/losses.js'
import { backends, runOnce } from '../each-backend.js'
import { expected } from './golden.js'

const golden = expected.losses
const inputs: Record<string, Tensor> = {
  logits: float32([6, 5], golden.logits),
  labels: int64([6], golden.labels),
  image: float32([6, 4], golden.image),
  text: float32([6, 4], golden.text),
  groups: int64([6], golden.groups),
  logScale: scalar(golden.logScale!),
}

/** A graph of one loss, with the inputs it reads. */
function lossGraph(make: (b: GraphBuilder, input: (name: string) => string) => string) {
  const b = new GraphBuilder('loss')
  const used = new Set<string>()
  const loss = b.named(
    'loss',
    make(b, (name) => {
      used.add(name)
      const { dtype, shape } = inputs[name]!
      return b.input(name, dtype, shape.length === 0 ? [] : ['batch', ...shape.slice(1)])
    }),
  )
  return { graph: b.build([loss]), feeds: Object.fromEntries([...used].map((name) => [name, inputs[name]!])) }
}

const losses = {
  crossEntropy: lossGraph((b, input) => crossEntropy(b, input('logits'), input('labels'))),
  crossEntropySmoothed: lossGraph((b, input) => crossEntropy(b, input('logits'), input('labels'), { labelSmoothing: 0.2 })),
  accuracy: lossGraph((b, input) => accuracy(b, input('logits'), input('labels'))),
  mse: lossGraph((b, input) => mse(b, input('image'), input('text'))),
  contrastive: lossGraph((b, input) => clipContrastive(b, { image: input('image'), text: input('text'), logScale: input('logScale') })),
  contrastiveGrouped: lossGraph((b, input) =>
    clipContrastive(b, {
      image: input('image'),
      text: input('text'),
      logScale: input('logScale'),
      positives: sameGroup(b, input('groups')),
    }),
  ),
}

describe.each(backends)('on %s', async (underTest) => {
  const backend = await underTest.create()

  test.each(Object.entries(losses))('%s is PyTorch’s', async (name, { graph, feeds }) => {
    const { loss } = await runOnce(backend, graph, { inputs: feeds })
    expect(loss!.shape).toEqual([])
    const value = golden[name] as number
    expect(Math.abs((loss!.data[0] as number) - value)).toBeLessThanOrEqual(2e-6 * Math.max(1, Math.abs(value)))
  })

  test('logits that no exponential can hold have a finite loss and finite gradients', async () => {
    for (const name of ['crossEntropy', 'crossEntropySmoothed'] as const) {
      const { graph, feeds } = losses[name]
      const logits = float32(
        [6, 5],
        Array.from({ length: 30 }, (_, at) => (at % 7) * 1e4 - 3e4),
      )
      const results = await runOnce(backend, differentiate(graph, 'loss', ['logits']), { inputs: { ...feeds, logits } })
      for (const { data } of Object.values(results)) expect(Array.from(data as Float32Array).every(Number.isFinite)).toBe(true)
    }
  })

  test('the gradient of a cross entropy is the softmax less the target, over the batch', async () => {
    const { graph, feeds } = losses.crossEntropy
    const result = (await runOnce(backend, differentiate(graph, 'loss', ['logits']), { inputs: feeds }))[gradientName('logits')]!
    for (let row = 0; row < 6; row++) {
      const logits = golden.logits.slice(row * 5, row * 5 + 5)
      const powers = logits.map((logit) => Math.exp(logit - Math.max(...logits)))
      const sum = powers.reduce((a, b) => a + b)
      for (let at = 0; at < 5; at++) {
        const gradient = (powers[at]! / sum - Number(golden.labels[row] === at)) / 6
        expect(result.data[row * 5 + at]).toBeCloseTo(gradient, 6)
      }
    }
  })

  test('with groups of one member each, grouped and plain contrast are the same', async () => {
    const { graph, feeds } = losses.contrastiveGrouped
    const alone = int64([6], [5, 4, 3, 2, 1, 0])
    const [grouped, plain] = [
      await runOnce(backend, graph, { inputs: { ...feeds, groups: alone } }),
      await runOnce(backend, losses.contrastive.graph, { inputs: losses.contrastive.feeds }),
    ]
    expect(grouped.loss!.data[0]).toBeCloseTo(plain.loss!.data[0] as number, 5)
  })
})
