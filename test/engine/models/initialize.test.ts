import { describe, expect, test } from 'vitest'
import { type InitScheme, initializeWeights, initSchemes } from '../../../src/engine/models/initialize.js'
import type { TextConfig, VisionConfig } from '../../../src/engine/models/model.js'
import { textGraph } from '../../../src/engine/models/text-tower.js'
import { visionGraph } from '../../../src/engine/models/vit.js'
import { createRandom } from '../../../src/engine/random.js'

const block = {
  nLayers: 3,
  dModel: 96,
  nHeads: 3,
  dHead: 40, // not dModel / nHeads
  dMlp: 160,
  activation: 'solu_ln',
  normalization: 'layerNorm',
  normEps: 1e-5,
  biases: { qkv: true, attnOut: true, mlp: true },
  scaleAttention: true,
  layerScale: true,
  normalizeOutput: false,
} as const
const vision: VisionConfig = {
  ...block,
  imageSize: { height: 40, width: 48 },
  patchSize: { height: 8, width: 4 },
  nChannels: 3,
  patchBias: true,
  hasCls: true,
  nRegisters: 2,
  lnPre: true,
  finalNorm: 'tokens',
  pooling: 'clsAndMean',
  head: { kind: 'classes', dOut: 70, bias: true },
}
const text: TextConfig = {
  ...block,
  contextLength: 48,
  vocabSize: 300,
  causal: true,
  pooling: { kind: 'argmax' },
  head: { kind: 'projection', dOut: 64, bias: false },
}

const spread = (values: Float32Array) => {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  return { mean, std: Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length) }
}

const [d, L, h, dh, m] = [96, 3, 3, 40, 160]
const width = 1 / Math.sqrt(d)
const both = 1 / Math.sqrt(2 * L * d)
const nPatch = 3 * 8 * 4
/** Standard deviations by the published formulas: vision tower, then those of the text tower that differ. */
const expected: Record<InitScheme, Record<string, number>> = {
  clip: { patch: 0.02, cls: width, pos: 0.02, qkv: both, out: width, in: 1 / Math.sqrt(2 * d), mlp: both, head: width, tokens: 0.02 },
  'openai-clip': {
    patch: 0.02,
    cls: width,
    pos: width,
    qkv: width,
    out: both,
    in: 1 / Math.sqrt(2 * d),
    mlp: both,
    head: width,
    tokens: 0.02,
  },
  vit: { patch: 0.02, cls: 0.02, pos: 0.02, qkv: 0.02, out: 0.02, in: 0.02, mlp: 0.02, head: 0.02, tokens: 0.02 },
  he: {
    patch: Math.sqrt(2 / nPatch),
    cls: 1e-6,
    pos: 0.02,
    qkv: Math.sqrt(2 / (d + h * dh)),
    out: Math.sqrt(2 / (d + h * dh)),
    in: Math.sqrt(2 / d),
    mlp: Math.sqrt(2 / m),
    head: Math.sqrt(2 / (2 * d)),
    tokens: 0.02,
  },
  'vit-prisma': {
    patch: Math.sqrt(2 / nPatch),
    cls: 1e-6,
    pos: 0.02,
    qkv: Math.sqrt(2 / (dh * (d + h))),
    out: Math.sqrt(2 / (d * (dh + h))),
    in: Math.sqrt(2 / m),
    mlp: Math.sqrt(2 / d),
    head: Math.sqrt(2 / 70),
    tokens: 0.02,
  },
}
const names: Record<string, string> = {
  patch: 'embed.proj.weight',
  cls: 'cls_token',
  pos: 'pos_embed.W_pos',
  qkv: 'blocks.1.attn.W_K',
  out: 'blocks.2.attn.W_O',
  in: 'blocks.0.mlp.W_in',
  mlp: 'blocks.2.mlp.W_out',
  head: 'head.W_H',
}

describe.each(initSchemes())('the scheme %s', (scheme) => {
  const weights = initializeWeights(vision, createRandom(7), { scheme })
  const textWeights = initializeWeights(text, createRandom(7), { scheme })

  test.each(Object.entries(names))('draws %s with the spread that its formula says', (key, name) => {
    const { data } = weights[name]!
    const { mean, std } = spread(data)
    const wanted = expected[scheme][key]!
    // four standard errors of a normal's spread and mean
    expect(Math.abs(std / wanted - 1)).toBeLessThan(4 / Math.sqrt(2 * data.length))
    expect(Math.abs(mean)).toBeLessThan((4 * wanted) / Math.sqrt(data.length))
  })

  test('draws tokens, and positions of a text tower', () => {
    expect(spread(textWeights['embed.W_E']!.data).std).toBeCloseTo(expected[scheme].tokens!, 3)
    expect(spread(textWeights['pos_embed.W_pos']!.data).std).toBeCloseTo(scheme === 'openai-clip' ? 0.01 : 0.02, 3)
  })

  test('gives every parameter of the graph its shape, biases zero, norms one and zero, layer scale small', () => {
    for (const [made, { parameters }] of [
      [weights, visionGraph(vision)],
      [textWeights, textGraph(text)],
    ] as const) {
      expect(Object.entries(made).map(([name, { shape }]) => [name, shape])).toEqual(
        Object.entries(parameters).map(([name, { shape }]) => [name, shape]),
      )
    }
    const constants = Object.entries(weights).filter(([name]) => /\.(b|b_\w+|bias|w|ls[12])$/.test(name))
    for (const [name, { data }] of constants) {
      const value = Math.fround(name.endsWith('.w') ? 1 : /ls[12]$/.test(name) ? 0.1 : 0)
      expect(
        data.every((each) => each === value),
        name,
      ).toBe(true)
    }
    expect(constants.length + Object.keys(names).length).toBeGreaterThan(30)
  })
})

describe('random weights', () => {
  test('are the same for the same seed, and others for another', () => {
    const made = (seed: number) => initializeWeights(vision, createRandom(seed), { scheme: 'he' })
    expect(made(1)).toEqual(made(1))
    expect(made(1)['head.W_H']).not.toEqual(made(2)['head.W_H'])
  })

  test('of one layer do not depend on the others, nor on what was drawn before', () => {
    const random = createRandom(1)
    random.normal()
    const deeper = initializeWeights({ ...vision, nLayers: 5, nRegisters: 0, layerScale: false }, random, { scheme: 'vit' })
    expect(deeper['blocks.2.mlp.W_in']).toEqual(initializeWeights(vision, createRandom(1), { scheme: 'vit' })['blocks.2.mlp.W_in'])
  })

  test('of two towers differ where they have the same name', () => {
    const [a, b] = [
      initializeWeights(vision, createRandom(1), { scheme: 'vit' }),
      initializeWeights(text, createRandom(1), { scheme: 'vit' }),
    ]
    expect(a['blocks.0.mlp.W_in']!.data).not.toEqual(b['blocks.0.mlp.W_in']!.data)
  })

  test.each<[string, Partial<VisionConfig>]>([
    ['attention-only', { dMlp: undefined as never, layerScale: false }],
    ['without norms and biases', { normalization: 'none', biases: { qkv: false, attnOut: false, mlp: false }, patchBias: false }],
    ['without CLS and head', { hasCls: false, nRegisters: 0, pooling: 'mean', head: { kind: 'none', dOut: 96, bias: false } }],
  ])('can be made for a model %s', (_, change) => {
    const { dMlp, ...rest } = { ...vision, ...change }
    const config: VisionConfig = { ...rest, ...(dMlp !== undefined && { dMlp }) }
    expect(Object.keys(initializeWeights(config, createRandom(3)))).toEqual(Object.keys(visionGraph(config).parameters))
  })
})
