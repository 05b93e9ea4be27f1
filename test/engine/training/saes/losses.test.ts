import { describe, expect, test } from 'vitest'
import { differentiate, gradientName } from '../../../../src/engine/graph/differentiate.js'
import type { SaeConfig } from '../../../../src/engine/saes/sae.js'
import type { SaeLossOptions } from '../../../../src/engine/training/saes/loss-options.js'
import { saeLoss } from '../../../../src/engine/training/saes/sae-loss.js'
import { onnxruntime, reference, referenceFloat64, runOnce } from '../../each-backend.js'
import '../../close-tensor.js'
import { readJson, readTensors, under } from '../../saes/fixtures.js'

interface Case {
  readonly config: SaeConfig
  readonly options: SaeLossOptions
  readonly withDead: boolean
}

const cases = readJson('losses.json') as Record<string, Case>
const tensors = await readTensors('losses.safetensors')

describe.each([referenceFloat64, onnxruntime])('the loss of an SAE on %s', async (underTest) => {
  const backend = await underTest.create()

  test.each(Object.entries(cases))('%s: terms and gradients are those of PyTorch', async (name, { config, options, withDead }) => {
    const inputs = under(tensors, `${name}/inputs`)
    const expected = under(tensors, `${name}/expected`)
    const gradients = under(tensors, `${name}/grad`)
    const { graph, loss, trainable, stopAt } = saeLoss({ config, options, withDead, batch: inputs.x!.shape[0]! })
    expect([...trainable].sort()).toEqual(Object.keys(gradients).sort())
    const differentiated = differentiate(graph, loss, trainable, { stopAt })
    const actual = await runOnce(backend, differentiated, { inputs, weights: under(tensors, `${name}/weights`) })
    expect(Object.keys(expected)).toContain('loss')
    // Ghost gradients divide one small number by another: what float32 rounds (literals, on a float64 backend) comes out a thousandfold.
    const tolerance = options.ghostGradients ? 2e-3 : 1e-5
    for (const [value, tensor] of Object.entries(expected)) expect(actual[value], value).toBeCloseTensor(tensor, { tolerance })
    for (const parameter of trainable)
      expect(actual[gradientName(parameter)], parameter).toBeCloseTensor(gradients[parameter]!, { tolerance })
  })
})

describe('dead latents', async () => {
  const backend = await reference.create()

  test.each(Object.entries(cases).filter(([, { withDead }]) => withDead))(
    '%s: with none dead the graph that asks for them gives the loss of the one that does not',
    async (name, { config, options }) => {
      const { deadLatents, ...inputs } = under(tensors, `${name}/inputs`)
      const weights = under(tensors, `${name}/weights`)
      const none = { ...deadLatents!, data: new Float32Array(config.dSae) }
      const batch = inputs.x!.shape[0]!
      const run = async (withDead: boolean) => {
        const { graph, loss, trainable, stopAt } = saeLoss({ config, options, withDead, batch })
        return runOnce(backend, differentiate(graph, loss, trainable, { stopAt }), {
          inputs: withDead ? { ...inputs, deadLatents: none } : inputs,
          weights,
        })
      }
      const [asked, unasked] = [await run(true), await run(false)]
      for (const [value, tensor] of Object.entries(unasked)) expect(asked[value], value).toBeCloseTensor(tensor)
    },
  )
})

describe('options that do not fit the SAE', () => {
  const config: SaeConfig = {
    architecture: 'standard',
    activation: 'relu',
    dIn: 4,
    dOut: 4,
    dSae: 8,
    normalization: 'none',
    subtractsDecoderBias: true,
    hookPoint: 'blocks.0.hook_mlp_out',
  }
  const lp = { kind: 'lp', p: 1, weightedByDecoderNorm: false } as const
  const l0 = { kind: 'l0', bandwidth: 0, toInput: false } as const
  test.each([
    [
      { ...config, architecture: 'topk', activation: 'topk', k: 2 },
      { reconstruction: 'mse', sparsity: lp },
      'loss.sparsity: topk is sparse without a loss.',
    ],
    [config, { reconstruction: 'mse', sparsity: l0 }, 'loss.sparsity: l0 is for JumpReLU, not for standard.'],
    [
      { ...config, architecture: 'jumprelu' },
      { reconstruction: 'mse' },
      'loss.sparsity: a JumpReLU SAE needs one; its threshold has no other gradient.',
    ],
    [
      { ...config, architecture: 'jumprelu' },
      { reconstruction: 'mse', sparsity: l0 },
      'loss.sparsity.bandwidth: is 0; expected a number above 0.',
    ],
    [{ ...config, architecture: 'gated' }, { reconstruction: 'mse', ghostGradients: true }, 'loss.ghostGradients: a gated SAE has none.'],
    [config, { reconstruction: 'mse', auxK: { coefficient: 1, k: 9 } }, 'loss.auxK.k: is 9; expected a whole number from 1 to dSae (8).'],
  ] as [SaeConfig, SaeLossOptions, string][])('%#: are refused', (sae, options, message) => {
    expect(() => saeLoss({ config: sae, options })).toThrow(message)
  })
})
