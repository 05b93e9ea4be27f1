/** Attributions as PyTorch computes them by hand: test/fixtures/make/attribution.py. */

import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { directLogitAttribution } from '../../../src/engine/analyses/attribution/direct-logit-attribution.js'
import {
  type AttributionNode,
  featureAttribution,
} from '../../../src/engine/analyses/attribution/feature-attribution/feature-attribution.js'
import { openFileSource } from '../../../src/engine/io/byte-source.js'
import { openWeights } from '../../../src/engine/io/weight-file.js'
import type { SaeConfig } from '../../../src/engine/saes/sae.js'
import { float32, type Tensor } from '../../../src/engine/tensor.js'
import { onnxruntime, referenceFloat64 } from '../each-backend.js'
import { type GoldenBench, goldenBench } from './golden-bench.js'

const file = path.resolve(import.meta.dirname, '../../fixtures/attribution/expected.safetensors')
const opened = await openWeights(await openFileSource(file, 'expected.safetensors'), 'expected.safetensors')
const golden = new Map<string, Tensor>()
for (const name of opened.entries.keys()) golden.set(name, await opened.read(name))
await opened.close()

const numbers = (name: string) => Array.from(golden.get(name)!.data, Number)
const [nTargets, width] = golden.get('directions')!.shape as [number, number]
const targets = Array.from({ length: nTargets }, (_, at) => {
  return { label: String(at), direction: Float32Array.from(numbers('directions').slice(at * width, (at + 1) * width)) }
})

const config: SaeConfig = {
  architecture: 'standard',
  activation: 'relu',
  dIn: 16,
  dOut: 16,
  dSae: 40,
  normalization: 'none',
  subtractsDecoderBias: true,
  hookPoint: 'blocks.0.hook_resid_post',
}
const weights = Object.fromEntries(
  ['W_enc', 'W_dec', 'b_enc', 'b_dec'].map((name) => [name, golden.get(`sae/${name}`) as Tensor<'float32'>]),
)

/**
 * Of the scale of what is expected, or of a thousandth of the score: through a norm that is not frozen a token's own length does nothing. The library's
 * own softmax is float32.
 */
function expectClose(actual: readonly number[], expected: readonly number[], tolerance: number): void {
  expect(actual).toHaveLength(expected.length)
  const scale = Math.max(...expected.map(Math.abs), 1e-3 * Math.abs(numbers('score')[0]!))
  const off = Math.max(...actual.map((value, at) => Math.abs(value - expected[at]!)))
  expect(off).toBeLessThan(tolerance * scale)
}

const firstPicture = ({ pixels }: GoldenBench) => {
  const shape = [1, ...pixels.shape.slice(1)]
  return float32(shape, pixels.data.slice(0, pixels.data.length / pixels.shape[0]!))
}

describe.each([
  { underTest: referenceFloat64, tolerance: 1e-6 },
  { underTest: onnxruntime, tolerance: 1e-4 },
])('attributions on $underTest are those of PyTorch', async ({ underTest, tolerance }) => {
  const bench = await goldenBench(await underTest.create(), 'hf-clip', [{ config, weights }])
  const pixels = firstPicture(bench)
  const { logitScale } = bench.model.description

  test('direct ones, by component, head, source token and neuron', async () => {
    const by = { heads: true, sources: true, neurons: true }
    const topK = 24
    const answer = await directLogitAttribution.run(bench, { pixels, targets, by, topK, numbers: 100 })
    expect(logitScale).toBeGreaterThan(1)
    expectClose(Array.from(answer.score.data, Number), numbers('score'), tolerance)
    const nParts = answer.parts.length
    for (const [at, { name }] of answer.parts.entries()) {
      const expected = name === 'embed' ? [0, 0, 0] : numbers(`components/${name}`)
      const actual = targets.map((_, target) => Number(answer.components.data[target * nParts + at]))
      if (name === 'embed') expect(actual).toEqual(expected)
      else expectClose(actual, expected, tolerance * 10)
    }
    expect(nParts).toBe(1 + [...golden.keys()].filter((name) => name.startsWith('components/')).length)
    expectClose(Array.from(answer.heads!.data, Number), numbers('heads'), tolerance)
    expectClose(Array.from(answer.sources!.data, Number), numbers('sources'), tolerance)
    const neurons = numbers('neurons')
    const { values, indices } = answer.neurons!
    const actual = new Array<number>(neurons.length)
    for (let at = 0; at < values.data.length; at++)
      actual[Math.floor(at / topK) * topK + Number(indices.data[at])] = Number(values.data[at])
    expectClose(actual, neurons, tolerance)
  })

  const most = 100_000
  const everything = { nodes: { most, share: 2 }, edges: { most, share: 2 }, numbers: 100, heads: true }
  const place = ({ kind, sae, index, layer, head, position }: Omit<AttributionNode, 'attribution'>) =>
    [kind, sae, index, layer, head, position].join()

  test.each([
    { what: 'patterns and norms frozen', isFrozen: true, suffix: '' },
    { what: 'nothing frozen', isFrozen: false, suffix: '/free' },
  ])('gradient times activation, $what', async ({ isFrozen, suffix }) => {
    const freeze = { attention: isFrozen, norms: isFrozen }
    const { nodes, value } = await featureAttribution.run(bench, { pixels, target: targets[0]!, freeze, ...everything })
    expect(Math.abs(value / numbers('score')[0]! - 1)).toBeLessThan(tolerance)
    const found = new Map(nodes.map((node) => [place(node), node.attribution]))
    const [length, nHeads] = [10, 4]
    const compare = (name: string, at: (index: number) => Omit<AttributionNode, 'attribution'>) => {
      const expected = numbers(`total/${name}${suffix}`)
      expectClose(
        expected.map((_, index) => found.get(place(at(index))) ?? 0),
        expected,
        tolerance * 10,
      )
    }
    compare('tokens', (position) => ({ kind: 'token', position }))
    compare('errors', (position) => ({ kind: 'error', sae: 0, position }))
    compare('features', (at) => ({ kind: 'feature', sae: 0, index: at % 40, position: Math.floor(at / 40) }))
    compare('heads', (at) => {
      const layer = Math.floor(at / (length * nHeads))
      return { kind: 'head', layer, head: at % nHeads, position: Math.floor(at / nHeads) % length }
    })
  })

  test('edges: what tokens and heads write to a feature directly', async () => {
    const freeze = { attention: true, norms: true }
    const { nodes, edges } = await featureAttribution.run(bench, { pixels, target: targets[0]!, freeze, ...everything })
    const [position, index] = numbers('direct/feature') as [number, number]
    const to = nodes.findIndex((node) => place(node) === place({ kind: 'feature', sae: 0, index, position }))
    const into = new Map(edges.filter((edge) => edge.to === to).map(({ from, weight }) => [place(nodes[from]!), weight]))
    const compare = (name: string, at: (index: number) => Omit<AttributionNode, 'attribution'>) => {
      const expected = numbers(name)
      expectClose(
        expected.map((_, each) => into.get(place(at(each))) ?? 0),
        expected,
        tolerance * 10,
      )
    }
    compare('direct/tokens', (each) => ({ kind: 'token', position: each }))
    compare('direct/heads', (each) => ({ kind: 'head', layer: 0, head: each % 4, position: Math.floor(each / 4) }))
  })
})
