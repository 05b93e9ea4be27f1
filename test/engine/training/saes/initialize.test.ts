import { describe, expect, test } from 'vitest'
import { createRandom } from '../../../../src/engine/random.js'
import { type SaeConfig, saeParameters } from '../../../../src/engine/saes/sae.js'
import { geometricMedian, meanOfRows } from '../../../../src/engine/training/saes/geometric-median.js'
import { initializeSae } from '../../../../src/engine/training/saes/initialize.js'
import { LatentActivity } from '../../../../src/engine/training/saes/latent-activity.js'

const config: SaeConfig = {
  architecture: 'standard',
  activation: 'relu',
  dIn: 5,
  dOut: 5,
  dSae: 12,
  normalization: 'none',
  subtractsDecoderBias: true,
  hookPoint: 'blocks.0.hook_mlp_out',
}
const random = createRandom(3)
const inputs = Float32Array.from({ length: 40 * 5 }, (_, at) => random.normal() * (1 + (at % 5)) + (at % 5) - 1)
const start = (changes: Partial<SaeConfig>, options = {}) =>
  initializeSae({ ...config, ...changes }, { inputs, targets: inputs.map((value) => value * 2) }, createRandom(1), options)
const rowNorms = (data: Float32Array, width: number) =>
  Array.from({ length: data.length / width }, (_, row) => Math.hypot(...data.subarray(row * width, (row + 1) * width)))

describe('the weights that an SAE begins with', () => {
  test('decoder rows have length 1, or what is asked for, and the encoder is their transpose', () => {
    const { W_dec, W_enc } = start({}, { decoderNorm: 0.1 })
    for (const norm of rowNorms(W_dec!.data, 5)) expect(norm).toBeCloseTo(0.1, 6)
    expect(W_enc!.data[7]! * 0.1).toBeCloseTo(W_dec!.data[7 * 5]!, 6)
    expect(W_enc!.data[3 * 12 + 4]! * 0.1).toBeCloseTo(W_dec!.data[4 * 5 + 3]!, 6)
  })

  test.each([
    { architecture: 'gated' },
    { architecture: 'jumprelu' },
    { architecture: 'batch-topk', activation: 'batch-topk', k: 2 },
    { normalization: 'expected_average_only_in' },
    { transcoder: { hookPointOut: 'blocks.0.hook_mlp_out', skip: 'linear', denormalizes: true }, normalization: 'layer_norm' },
  ] as Partial<SaeConfig>[])('%j: are all there, and finite', (changes) => {
    const weights = start(changes)
    expect(Object.fromEntries(Object.entries(weights).map(([name, { shape }]) => [name, shape]))).toEqual(
      saeParameters({ ...config, ...changes }),
    )
    for (const { data } of Object.values(weights)) expect(data.every(Number.isFinite)).toBe(true)
  })

  test('the bias is the median of what it is taken from: normalised activations, or raw ones as in ViT-Prisma', () => {
    expect(start({}).b_dec!.data).toEqual(geometricMedian(inputs, 5))
    expect(start({}, { decoderBias: 'mean' }).b_dec!.data).toEqual(meanOfRows(inputs, 5))
    expect(start({}, { decoderBias: 'zeros' }).b_dec!.data).toEqual(new Float32Array(5))
    const normalized = { normalization: 'layer_norm' } as const
    expect(start(normalized, { decoderBias: 'prisma-geometric-median' }).b_dec!.data).toEqual(geometricMedian(inputs, 5))
    expect(start(normalized).b_dec!.data).not.toEqual(geometricMedian(inputs, 5))
    expect(start(normalized).b_dec!.data.reduce((sum, value) => sum + value, 0)).toBeCloseTo(0, 4)
  })

  test("a transcoder's output bias is of its targets", () => {
    const transcoder = { hookPointOut: 'blocks.0.hook_mlp_out', skip: 'none', denormalizes: false } as const
    const { b_dec_out } = start({ transcoder })
    expect([...b_dec_out!.data].map((value) => value / 2)).toEqual([...geometricMedian(inputs, 5)].map((value) => expect.closeTo(value, 5)))
  })

  test('the factor of expected_average_only_in makes the mean length sqrt(dIn)', () => {
    const { input_scale } = start({ normalization: 'expected_average_only_in' })
    const lengths = rowNorms(
      inputs.map((value) => value * input_scale!.data[0]!),
      5,
    )
    expect(lengths.reduce((sum, length) => sum + length, 0) / lengths.length).toBeCloseTo(Math.sqrt(5), 5)
  })

  test('are the same for the same seed', () => {
    expect(start({})).toEqual(start({}))
    expect(initializeSae(config, { inputs }, createRandom(2)).W_dec).not.toEqual(start({}).W_dec)
  })
})

describe('the geometric median', () => {
  test('of points on a line is their median, however far the outliers', () => {
    const median = geometricMedian(Float32Array.from([0, 0, 1, 1, 2, 2, 3, 3, 1000, 1000]), 2)
    expect([...median].map((value) => value.toFixed(3))).toEqual(['2.000', '2.000'])
  })

  test('has no direction in which the distances get smaller', () => {
    const total = (point: Float32Array) =>
      rowNorms(
        inputs.map((value, at) => value - point[at % 5]!),
        5,
      ).reduce((sum, length) => sum + length, 0)
    const median = geometricMedian(inputs, 5)
    for (let axis = 0; axis < 5; axis++) {
      for (const by of [-0.05, 0.05])
        expect(total(median.map((value, at) => (at === axis ? value + by : value)))).toBeGreaterThan(total(median))
    }
  })
})

describe('the activity of latents', () => {
  const options = { dSae: 4, deadAfterSteps: 2, frequencyWindow: 3 }

  test('a latent is dead after more silent steps than the bound, and alive again once it is active', () => {
    const activity = new LatentActivity(options)
    for (const counts of [
      [1, 0, 0, 2],
      [1, 0, 1, 2],
      [1, 0, 0, 2],
    ])
      activity.update(counts, 10)
    expect([...activity.deadMask().data]).toEqual([0, 1, 0, 0])
    activity.update([1, 0, 0, 2], 10)
    activity.update([1, 5, 0, 2], 10)
    expect([...activity.deadMask().data]).toEqual([0, 0, 1, 0])
    expect(activity.nDead).toBe(1)
  })

  test('frequencies are of the last whole window', () => {
    const activity = new LatentActivity(options)
    expect(activity.update([10, 0, 1, 0], 10)).toBeUndefined()
    expect([...activity.logFrequency().data].map((value) => Number(value.toFixed(4)))).toEqual([0, -10, -1, -10])
    activity.update([10, 0, 1, 0], 10)
    const window = activity.update([10, 0, 1, 0], 10)!
    expect(window.below1e5).toBe(0.5)
    expect(window.meanLog10Frequency).toBeCloseTo((0 - 10 - 1 - 10) / 4, 4)
    activity.update([0, 10, 10, 10], 10)
    expect([...activity.logFrequency().data].map((value) => Number(value.toFixed(4)))).toEqual([0, -10, -1, -10])
  })

  test('goes on from its state as if it had never stopped', () => {
    const [one, other] = [new LatentActivity(options), new LatentActivity(options)]
    for (const activity of [one, other]) activity.update([0, 3, 0, 1], 5)
    const resumed = new LatentActivity(options, other.state())
    for (let step = 0; step < 5; step++) expect(resumed.update([step % 2, 0, 1, 0], 5)).toEqual(one.update([step % 2, 0, 1, 0], 5))
    expect(resumed.state()).toEqual(one.state())
  })
})
