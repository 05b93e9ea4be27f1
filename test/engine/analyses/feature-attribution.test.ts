import { describe, expect, test } from 'vitest'
import { directLogitAttribution } from '../../../src/engine/analyses/attribution/direct-logit-attribution.js'
import {
  type FeatureAttribution,
  type FeatureAttributionInput,
  featureAttribution,
} from '../../../src/engine/analyses/attribution/feature-attribution/feature-attribution.js'
import { imageRuns } from '../../../src/engine/analyses/image-runs.js'
import type { Target } from '../../../src/engine/analyses/targets.js'
import type { VisionConfig } from '../../../src/engine/models/model.js'
import type { SaeConfig } from '../../../src/engine/saes/sae.js'
import type { Tensor } from '../../../src/engine/tensor.js'
import { onnxruntime, referenceFloat64 } from '../each-backend.js'
import { visionConfig, visionTower } from '../interventions/tiny-towers.js'
import { randomWeights } from '../saes/spliced-tower.js'
import { goldenBench } from './golden-bench.js'
import { tinyBench } from './tiny-bench.js'

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
const at = (hookPoint: string, change: Partial<SaeConfig> = {}): SaeConfig => ({ ...base, hookPoint, ...change })
const transcoder = (layer: number, change: Partial<SaeConfig> = {}): SaeConfig => ({
  ...base,
  hookPoint: `blocks.${layer}.ln2.hook_normalized`,
  transcoder: { hookPointOut: `blocks.${layer}.hook_mlp_out`, skip: 'none', denormalizes: false },
  ...change,
})
const { dMlp: _, ...withoutMlp } = visionConfig
const attentionOnly = withoutMlp as VisionConfig

const direction = ({ head }: VisionConfig): Target => ({
  label: 'score',
  direction: Float32Array.from({ length: head.dOut }, (_unused, index) => Math.sin(index + 1)),
})

const backend = await referenceFloat64.create()
const everything = { most: 10_000, share: 2 }

async function attribute(
  saes: readonly SaeConfig[],
  {
    config = visionConfig,
    on = backend,
    ...change
  }: Partial<FeatureAttributionInput> & { config?: VisionConfig; on?: typeof backend } = {},
): Promise<FeatureAttribution> {
  const { bench, tower, close } = await tinyBench(on, {
    tower: visionTower([], config),
    saes: saes.map((sae) => ({ config: sae, weights: randomWeights(sae) })),
  })
  try {
    return await featureAttribution.run(bench, {
      pixels: tower.input(3) as Tensor<'float32'>,
      target: direction(config),
      freeze: { attention: true, norms: true },
      heads: false,
      nodes: everything,
      edges: everything,
      numbers: 1000,
      ...change,
    })
  } finally {
    await close()
  }
}

const sizes = ({ sources, value }: FeatureAttribution) => Math.max(...Object.values(sources).map(Math.abs), Math.abs(value))

describe('feature attribution', () => {
  const linear: readonly { what: string; saes: readonly SaeConfig[]; config: VisionConfig }[] = [
    { what: 'no SAE, attention only', saes: [], config: attentionOnly },
    { what: 'an SAE at the residual stream, attention only', saes: [at('blocks.0.hook_resid_post')], config: attentionOnly },
    {
      what: 'SAEs of every architecture at every layer, attention only',
      saes: [
        at('hook_ln_pre', { architecture: 'gated', normalization: 'layer_norm' }),
        at('blocks.0.hook_resid_post', { architecture: 'topk', activation: 'topk', k: 5, normalization: 'constant_norm_rescale' }),
        at('blocks.1.hook_resid_pre', { architecture: 'jumprelu' }),
        at('blocks.1.hook_attn_out', { normalization: 'expected_average_only_in', subtractsDecoderBias: false }),
      ],
      config: attentionOnly,
    },
    {
      what: 'attention only, mean pooling',
      saes: [at('blocks.1.hook_attn_out')],
      config: { ...attentionOnly, pooling: 'mean', finalNorm: 'pooled' },
    },
    { what: 'transcoders in place of all MLPs', saes: [transcoder(0), transcoder(1)], config: visionConfig },
    {
      what: 'transcoders with skips',
      saes: [
        transcoder(0, {
          normalization: 'layer_norm',
          transcoder: { hookPointOut: 'blocks.0.hook_mlp_out', skip: 'linear', denormalizes: true },
        }),
        transcoder(1, { transcoder: { hookPointOut: 'blocks.1.hook_mlp_out', skip: 'linear-and-identity', denormalizes: false } }),
      ],
      config: { ...visionConfig, layerScale: true },
    },
  ]

  test.each(linear)('is exact where everything frozen is linear: $what', async ({ saes, config }) => {
    for (const heads of [false, true]) {
      const answer = await attribute(saes, { config, heads })
      expect(Math.abs(answer.sources.remainder)).toBeLessThan(1e-9 * sizes(answer))
      // what nodes are seeded with is float32
      expect(Math.abs(answer.target.value - answer.value)).toBeLessThan(1e-6 * sizes(answer))
      expect(answer.keptShare).toBeCloseTo(1, 9)
    }
  })

  test('a node matters as much as what goes along its edges, in all', async () => {
    for (const { saes, config } of linear) {
      const { nodes, edges } = await attribute(saes, { config, heads: true })
      const scale = Math.max(...nodes.map(({ attribution }) => Math.abs(attribution)))
      for (const [index, { kind, attribution }] of nodes.entries()) {
        const out = edges.filter(({ from }) => from === index).reduce((sum, { influence }) => sum + influence, 0)
        expect(Math.abs(out - attribution), `${kind} ${index}`).toBeLessThan(1e-6 * scale)
      }
    }
  })

  test.each([
    'hf-vit-classifier',
    'hf-dinov2-classifier',
    'hf-dinov2-registers',
    'open-clip-custom',
    'timm-average',
    'timm-no-cls',
    'vit-prisma-solu',
    'vit-prisma-attn-only',
  ])('works for %s: the value is the score, and heads and tokens matter as much as their edges say', async (name) => {
    const bench = await goldenBench(backend, name)
    const { config } = bench.model
    const [first] = [...imageRuns(bench.pixels, 1)] as [Tensor<'float32'>]
    const target = direction(config)
    const input = { pixels: first, target, freeze: { attention: true, norms: true }, heads: true, numbers: 100 }
    const { nodes, edges, value } = await featureAttribution.run(bench, { ...input, nodes: everything, edges: everything })
    const { score } = await directLogitAttribution.run(bench, { pixels: first, targets: [target], by: {}, topK: 1, numbers: 10 })
    expect(Math.abs(value - Number(score.data[0]))).toBeLessThan(1e-9 * Math.max(1, Math.abs(value)))
    const scale = Math.max(...nodes.map(({ attribution }) => Math.abs(attribution)))
    expect(nodes.some(({ kind }) => kind === 'head') && nodes.some(({ kind }) => kind === 'token')).toBe(true)
    for (const [index, { attribution }] of nodes.entries()) {
      const out = edges.filter(({ from }) => from === index).reduce((sum, { influence }) => sum + influence, 0)
      expect(Math.abs(out - attribution)).toBeLessThan(1e-5 * scale)
    }
  })

  test('a feature is made of what is written to it: all edges into it, and biases', async () => {
    const saes = [at('hook_ln_pre', { subtractsDecoderBias: false }), at('blocks.1.hook_attn_out', { subtractsDecoderBias: false })]
    const tower = { ...attentionOnly, normalization: 'layerNormPre', biases: { qkv: false, attnOut: false, mlp: false } } as const
    const { nodes } = await attribute(saes, { config: tower, heads: true })
    const features = nodes.filter(({ kind, sae }) => kind === 'feature' && sae === 1)
    expect(features.length).toBeGreaterThan(10)
    for (const { inputs } of features) expect(inputs!.value).toBeCloseTo(inputs!.fromNodes, 6)
  })

  test('of a model without SAEs the heads that the score reads have what they write directly, where nothing comes after', async () => {
    const { bench, tower, close } = await tinyBench(backend, { tower: visionTower([], attentionOnly) })
    const pixels = tower.input(3) as Tensor<'float32'>
    const targets = [direction(attentionOnly)]
    const { heads } = await directLogitAttribution.run(bench, { pixels, targets, by: { heads: true }, topK: 1, numbers: 10 })
    const answer = await attribute([], { config: attentionOnly, heads: true })
    const last = answer.nodes.filter(({ kind, layer, position }) => kind === 'head' && layer === 1 && position === 0)
    expect(last).toHaveLength(attentionOnly.nHeads)
    for (const { head, attribution } of last) expect(attribution).toBeCloseTo(Number(heads!.data[attentionOnly.nHeads + head!]), 10)
    // and edges to the score are direct attributions of all heads
    for (const { from, to, weight } of answer.edges) {
      const { kind, layer, head, position } = answer.nodes[from]!
      if (to !== -1 || kind !== 'head' || position !== 0) continue
      expect(weight).toBeCloseTo(Number(heads!.data[layer! * attentionOnly.nHeads + head!]), 6)
    }
    await close()
  })

  test('with an MLP in between, what gradients do not say is said', async () => {
    const answer = await attribute([at('blocks.0.hook_resid_post')])
    expect(Math.abs(answer.sources.remainder)).toBeGreaterThan(1e-3 * sizes(answer))
  })

  test('goes through patterns and norms when they are not frozen', async () => {
    const saes = [at('hook_ln_pre')]
    const both = await attribute(saes, { config: attentionOnly })
    const patterns = await attribute(saes, { config: attentionOnly, freeze: { attention: false, norms: true } })
    const norms = await attribute(saes, { config: attentionOnly, freeze: { attention: true, norms: false } })
    const ofFeatures = (answer: FeatureAttribution) => answer.features[0]!.sum
    expect(ofFeatures(patterns)).not.toBeCloseTo(ofFeatures(both), 6)
    expect(ofFeatures(norms)).not.toBeCloseTo(ofFeatures(both), 6)
  })

  test('of a feature at a position: nothing that comes later has a part in it', async () => {
    const saes = [at('hook_ln_pre'), at('blocks.0.hook_attn_out'), at('blocks.1.hook_attn_out')]
    const all = await attribute(saes, { config: attentionOnly })
    const one = all.nodes.find(({ kind, sae }) => kind === 'feature' && sae === 1)!
    const target = { sae: 1, index: one.index!, position: one.position }
    const answer = await attribute(saes, { config: attentionOnly, target, heads: true })
    expect(answer.value).toBeCloseTo(one.inputs!.value, 6)
    expect(answer.nodes.length).toBeGreaterThan(0)
    for (const { kind, sae, layer } of answer.nodes) {
      if (kind === 'head') expect(layer).toBe(0)
      if (kind === 'feature' || kind === 'error') expect(sae).toBe(0)
    }
    expect(Math.abs(answer.sources.remainder)).toBeLessThan(1e-9 * sizes(answer))
  })

  test('keeps the most important nodes and edges: so many, or so much', async () => {
    const saes = [at('blocks.0.hook_resid_post'), at('blocks.1.hook_resid_post')]
    const all = await attribute(saes, { heads: true })
    const few = await attribute(saes, { heads: true, nodes: { most: 7, share: 1 }, edges: { most: 5, share: 1 } })
    expect(few.nodes).toHaveLength(7)
    expect(few.edges.length).toBeLessThanOrEqual(5)
    const bySize = all.nodes.map(({ attribution }) => Math.abs(attribution)).sort((a, b) => b - a)
    expect(few.nodes.map(({ attribution }) => Math.abs(attribution)).sort((a, b) => b - a)).toEqual(bySize.slice(0, 7))
    const share = await attribute(saes, { nodes: { most: 1000, share: 0.5 } })
    expect(share.keptShare).toBeGreaterThanOrEqual(0.5)
    expect(share.nodes.length).toBeLessThan(all.nodes.length / 2)
    expect(share.target.fromKept).not.toBe(0)
  })

  test('is the same on onnxruntime, to its precision', async () => {
    const saes = [
      at('blocks.0.hook_resid_post', { architecture: 'topk', activation: 'topk', k: 5 }),
      transcoder(1, { normalization: 'layer_norm' }),
    ]
    const exact = await attribute(saes, { heads: true })
    const rounded = await attribute(saes, { heads: true, on: await onnxruntime.create() })
    expect(rounded.nodes).toHaveLength(exact.nodes.length)
    expect(rounded.value).toBeCloseTo(exact.value, 4)
    const name = ({ kind, sae, index, layer, head, position }: FeatureAttribution['nodes'][number]) =>
      [kind, sae, index, layer, head, position].join()
    const others = new Map(rounded.nodes.map((node) => [name(node), node.attribution]))
    for (const node of exact.nodes) expect(Math.abs(node.attribution - others.get(name(node))!)).toBeLessThan(1e-4 * sizes(exact))
    const sum = ({ edges }: FeatureAttribution) => edges.reduce((total, { influence }) => total + Math.abs(influence), 0)
    expect(Math.abs(sum(rounded) / sum(exact) - 1)).toBeLessThan(1e-4)
  })

  test('refuses two SAEs at one place, heads, and features that are not there', async () => {
    await expect(attribute([base, { ...base, dSae: 10 }])).rejects.toThrow(
      /saes\[1\]: writes to blocks.0.hook_resid_post, as saes\[0\] does/,
    )
    await expect(attribute([at('blocks.0.attn.hook_z', { flattensHeads: true })])).rejects.toThrow(/features are attributed where/)
    await expect(attribute([at('hook_full_embed')])).rejects.toThrow(/after hook_full_embed/)
    const backwards = transcoder(0, { hookPoint: 'blocks.1.hook_resid_post' })
    await expect(attribute([backwards])).rejects.toThrow(/reads blocks.1.hook_resid_post, which comes after blocks.0.hook_mlp_out/)
    await expect(attribute([base], { target: { sae: 0, index: 20, position: 0 } })).rejects.toThrow(/features 0 to 19/)
    await expect(attribute([base], { target: { sae: 0, index: 0, position: 6 } })).rejects.toThrow(/positions are 0 to 5/)
    await expect(attribute([base], { config: { ...visionConfig, pooling: 'none' } })).rejects.toThrow(/does not pool/)
  })
})
