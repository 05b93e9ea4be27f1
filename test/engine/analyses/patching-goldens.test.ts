/** What PyTorch hooks give on a tiny model that is written by hand: test/fixtures/make/patching.py. */

import path from 'node:path'
import { describe, expect, test } from 'vitest'
import type { GridSpec } from '../../../src/engine/analyses/patching/grid.js'
import type { Metric } from '../../../src/engine/analyses/patching/metric.js'
import { type PatchingInput, patching } from '../../../src/engine/analyses/patching/patching.js'
import { type PathPatchingInput, pathPatching } from '../../../src/engine/analyses/patching/path-patching.js'
import { hookPointsOf } from '../../../src/engine/hook-points.js'
import { openFileSource } from '../../../src/engine/io/byte-source.js'
import { openWeights } from '../../../src/engine/io/weight-file.js'
import type { VisionConfig } from '../../../src/engine/models/model.js'
import { visionGraph } from '../../../src/engine/models/vit.js'
import type { SaeConfig } from '../../../src/engine/saes/sae.js'
import { float32, type Tensor } from '../../../src/engine/tensor.js'
import { describeDifference } from '../close-tensor.js'
import { onnxruntime, reference } from '../each-backend.js'
import { visionConfig } from '../interventions/tiny-towers.js'
import { tinyBench } from './tiny-bench.js'

const folder = path.resolve(import.meta.dirname, '../../fixtures/patching')

async function readTensors(file: string): Promise<Record<string, Tensor<'float32'>>> {
  const opened = await openWeights(await openFileSource(path.join(folder, file), file), file)
  try {
    const tensors: Record<string, Tensor<'float32'>> = {}
    for (const name of opened.entries.keys()) {
      const { shape, data } = await opened.read(name)
      tensors[name] = float32(shape, Array.from(data, Number))
    }
    return tensors
  } finally {
    await opened.close()
  }
}

const weights = await readTensors('weights.safetensors')
const expected = await readTensors('expected.safetensors')
const config: VisionConfig = { ...visionConfig, nLayers: 3, nRegisters: 0 }
const tower = {
  graph: visionGraph(config),
  config,
  hookPoints: hookPointsOf(config),
  weights,
  input: () => weights['input/clean']!,
  inputName: 'pixels',
}
const [clean, corrupted] = [weights['input/clean']!, weights['input/corrupted']!]
const score: Metric = { kind: 'score', target: { label: 'direction', direction: weights['input/direction']!.data } }
const answers = [0, 1, 2, 3].map((at) => ({ label: String(at), direction: weights['input/answers']!.data.slice(5 * at, 5 * at + 5) }))

const sae: SaeConfig = {
  architecture: 'standard',
  activation: 'relu',
  dIn: 8,
  dOut: 8,
  dSae: 10,
  normalization: 'layer_norm',
  subtractsDecoderBias: true,
  hookPoint: 'blocks.1.hook_resid_post',
}
const saeWeights = Object.fromEntries(['W_enc', 'b_enc', 'W_dec', 'b_dec'].map((name) => [name, weights[`input/sae/${name}`]!]))

const pairs = { clean, corrupted, direction: 'denoise', source: { kind: 'other' }, metric: score } as const

describe.each([reference, onnxruntime])('the numbers of PyTorch hooks on %s', (backend) => {
  const bench = backend
    .create()
    .then((device) => tinyBench(device, { tower, logitScale: 10, saes: [{ config: sae, weights: saeWeights }] }))
  const grid = async (spec: GridSpec, input: Partial<PatchingInput> = {}) =>
    patching.run((await bench).bench, { ...pairs, grid: spec, methods: ['patching'], ...input })
  const same = (actual: Tensor<'float32'> | undefined, name: string) => {
    const { shape, data } = expected[name]!
    expect(describeDifference(float32(shape, actual!.data), expected[name]!, { tolerance: 2e-5 }), name).toBeUndefined()
    expect(actual!.data.length).toBe(data.length)
  }

  test('heads, both ways', async () => {
    const denoised = await grid({ over: 'heads' }, { methods: ['patching', 'attribution'] })
    same(denoised.clean, 'clean')
    same(denoised.corrupted, 'corrupted')
    same(denoised.values.patching, 'heads/denoise')
    same(denoised.values.attribution, 'attribution/heads')
    same((await grid({ over: 'heads' }, { direction: 'noise' })).values.patching, 'heads/noise')
  })

  test('integrated gradients of heads', async () => {
    const answer = await grid({ over: 'heads' }, { methods: ['integrated-gradients'], steps: 32 })
    const difference = describeDifference(answer.values['integrated-gradients']!, expected['integrated/heads']!, { tolerance: 2e-4 })
    expect(difference).toBeUndefined()
  })

  test('positions and components', async () => {
    const positions = await grid({ over: 'positions', components: ['resid_mid'] }, { methods: ['patching', 'attribution'] })
    same(positions.values.patching, 'positions/resid_mid')
    same(positions.values.attribution, 'attribution/resid_mid')
    for (const component of ['attn_out', 'mlp_out', 'resid_pre'] as const) {
      same((await grid({ over: 'components', components: [component] })).values.patching, `components/${component}`)
    }
  })

  test('divergence and cosine', async () => {
    same((await grid({ over: 'heads' }, { metric: { kind: 'kl', among: answers } })).values.patching, 'kl')
    same((await grid({ over: 'heads' }, { metric: { kind: 'cosine' } })).values.patching, 'cosine')
  })

  test('features of an SAE', async () => {
    const answer = await grid({ over: 'features', features: [0, 3, 5] }, { methods: ['patching', 'attribution'] })
    same(answer.values.patching, 'features')
    same(answer.values.attribution, 'features/attribution')
  })

  test('direct paths, and one that leads through others', async () => {
    const ask = async (input: Pick<PathPatchingInput, 'senders' | 'receivers' | 'through'>) =>
      pathPatching.run((await bench).bench, { ...pairs, ...input })
    const direct = await ask({
      senders: [{ kind: 'head', layer: 0, head: 1 }, { kind: 'mlp', layer: 0 }, { kind: 'embed' }],
      receivers: [
        { kind: 'head', layer: 2, head: 0, inputs: ['q'] },
        { kind: 'head', layer: 2, head: 0, inputs: ['v'] },
        { kind: 'mlp', layer: 2 },
        { kind: 'output' },
      ],
      through: [],
    })
    same(direct.values, 'paths')
    const through = await ask({
      senders: [{ kind: 'head', layer: 0, head: 1 }],
      receivers: [{ kind: 'head', layer: 2, head: 0, inputs: ['k'] }],
      through: [
        { kind: 'mlp', layer: 0 },
        { kind: 'head', layer: 1, head: 1 },
      ],
    })
    same(through.values, 'through')
  })
})
