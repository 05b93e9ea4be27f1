import { describe, expect, test } from 'vitest'
import { expose, replace } from '../../../src/engine/graph/edit.js'
import { decode, encode } from '../../../src/engine/saes/encode-decode.js'
import { foldDecoderNorms, foldIdentityIntoSkip, foldInputScale, withDecoderBiasSubtracted } from '../../../src/engine/saes/fold.js'
import type { SaeConfig } from '../../../src/engine/saes/sae.js'
import { encoderGraph, saeGraph } from '../../../src/engine/saes/sae-graph.js'
import { elementCount, float32, type Tensor } from '../../../src/engine/tensor.js'
import { backends, referenceFloat64, runOnce } from '../each-backend.js'
import '../close-tensor.js'
import { readJson, readTensors, under } from './fixtures.js'
import { randomWeights, visionConfig, visionTower } from './spliced-tower.js'

const cases = Object.entries(readJson('forward.json') as Record<string, SaeConfig>)
const tensors = await readTensors('forward.safetensors')
const given = (name: string) => ({ x: tensors[`${name}/x`]!, weights: under(tensors, `${name}/weights`) })

describe.each(backends)('on %s', async (underTest) => {
  const backend = await underTest.create()

  test.each(cases)('%s: reconstruction and error add up to the target', async (name, config) => {
    const { x, weights } = given(name)
    const y = float32(
      [x.shape[0]!, config.dOut],
      Array.from({ length: x.shape[0]! * config.dOut }, (_, at) => Math.cos(at)),
    )
    const inputs: Record<string, Tensor> = config.transcoder ? { x, y } : { x }
    const { reconstruction, hook_sae_error } = await runOnce(backend, saeGraph(config, new Set(['hook_sae_error'])), { inputs, weights })
    const target = config.transcoder ? y : x
    const sum = float32(
      target.shape,
      Array.from(target.data, (_, at) => Number(reconstruction!.data[at]) + Number(hook_sae_error!.data[at])),
    )
    expect(sum).toBeCloseTensor(target)
  })

  test.each(cases)('%s: the encoder alone gives the same latents', async (name, config) => {
    const { x, weights } = given(name)
    const graph = encoderGraph(config)
    const needed = Object.fromEntries(Object.entries(weights).filter(([parameter]) => parameter in graph.parameters))
    const { hook_hidden_post } = await runOnce(backend, graph, { inputs: { x }, weights: needed })
    const whole = await runOnce(backend, expose(saeGraph(config), ['hook_hidden_post']), { inputs: { x }, weights })
    expect(hook_hidden_post).toBeCloseTensor(whole.hook_hidden_post!)
  })
})

describe('spliced into a model at a hook point', async () => {
  const backend = await referenceFloat64.create()
  const hookPoint = 'blocks.0.hook_resid_post'
  const { graph, weights, pixels } = visionTower()
  const prefix = `${hookPoint}.`
  const site = { prefix, axes: ['batch', 'pos', 'dModel'] as const }

  test.each(cases.filter(([, { transcoder }]) => !transcoder))('%s: does to each token what it does by itself', async (_, shape) => {
    const config = { ...shape, dIn: visionConfig.dModel, dOut: visionConfig.dModel }
    const sae = randomWeights(config)
    const spliced = replace(graph, hookPoint, ({ builder, value }) => {
      const encoded = encode(builder, value, config, site)
      return decode(builder, encoded.latentActs, encoded, config, site)
    })
    const exposed = { ...expose(spliced, [hookPoint]), outputs: [hookPoint, `${hookPoint}@0`, `${prefix}hook_hidden_post`] }
    const named = Object.fromEntries(Object.entries(sae).map(([parameter, tensor]) => [`${prefix}${parameter}`, tensor]))
    const values = await runOnce(backend, exposed, { inputs: { pixels }, weights: { ...weights, ...named } })
    const before = values[`${hookPoint}@0`]!
    const rows = (tensor: Tensor) => ({ ...tensor, shape: [elementCount(tensor.shape.slice(0, -1)), tensor.shape.at(-1)!] }) as Tensor
    const alone = await runOnce(backend, expose(saeGraph(config), ['hook_hidden_post']), { inputs: { x: rows(before) }, weights: sae })
    expect(rows(values[hookPoint]!)).toBeCloseTensor(alone.reconstruction!)
    expect(rows(values[`${prefix}hook_hidden_post`]!)).toBeCloseTensor(alone.hook_hidden_post!)
    expect(values[hookPoint]).not.toBeCloseTensor(before)
  })
})

describe('rewriting weights', async () => {
  const backend = await referenceFloat64.create()
  const base: SaeConfig = {
    architecture: 'standard',
    activation: 'relu',
    dIn: 6,
    dOut: 6,
    dSae: 11,
    normalization: 'none',
    subtractsDecoderBias: true,
    hookPoint: 'blocks.0.hook_mlp_out',
  }
  const transcoder = { hookPointOut: 'blocks.0.hook_mlp_out', skip: 'linear-and-identity', denormalizes: true } as const
  const x = float32(
    [4, 6],
    Array.from({ length: 24 }, (_, at) => Math.sin(at * at) * 2),
  )
  const compute = ({ config, weights }: { config: SaeConfig; weights: Readonly<Record<string, Tensor<'float32'>>> }) =>
    runOnce(backend, expose(saeGraph(config), ['hook_hidden_post']), { inputs: { x }, weights })

  test.each([
    ['the input scale', foldInputScale, { normalization: 'expected_average_only_in' }],
    ['the input scale of a transcoder', foldInputScale, { normalization: 'expected_average_only_in', transcoder }],
    [
      'the input scale of a transcoder that predicts as it is',
      foldInputScale,
      { normalization: 'expected_average_only_in', transcoder: { ...transcoder, denormalizes: false } },
    ],
    ['the identity of a skip', foldIdentityIntoSkip, { transcoder }],
    ['the bias taken from the input', (sae) => withDecoderBiasSubtracted(false, sae), {}],
    [
      'the bias not taken from the input',
      (sae) => withDecoderBiasSubtracted(true, sae),
      { subtractsDecoderBias: false, normalization: 'layer_norm' },
    ],
    ["a gated SAE's bias", (sae) => withDecoderBiasSubtracted(false, sae), { architecture: 'gated' }],
    ["a transcoder's bias", (sae) => withDecoderBiasSubtracted(false, sae), { transcoder }],
    ['no bias of a transcoder', (sae) => withDecoderBiasSubtracted(true, sae), { transcoder, subtractsDecoderBias: false }],
  ] as [string, typeof foldInputScale, Partial<SaeConfig>][])(
    '%s: leaves latents and reconstruction as they were',
    async (_, fold, changes) => {
      const config = { ...base, ...changes }
      const weights = randomWeights(config)
      const folded = fold({ config, weights })
      expect(folded.config).not.toEqual(config)
      const [before, after] = [await compute({ config, weights }), await compute(folded)]
      for (const [value, tensor] of Object.entries(before)) expect(after[value]).toBeCloseTensor(tensor)
    },
  )

  test('decoder norms: the reconstruction stays, latents are in units of what they add to it', async () => {
    const weights = randomWeights(base)
    const [before, after] = [await compute({ config: base, weights }), await compute({ config: base, weights: foldDecoderNorms(weights) })]
    expect(after.reconstruction).toBeCloseTensor(before.reconstruction!)
    expect(after.hook_hidden_post).not.toBeCloseTensor(before.hook_hidden_post!)
  })
})
