import { describe, expect, test } from 'vitest'
import { steer } from '../../../src/engine/analyses/steering/steer.js'
import type { SteerInput } from '../../../src/engine/analyses/steering/steer-contract.js'
import { divergence, probabilitiesOf } from '../../../src/engine/distributions.js'
import type { EngineError } from '../../../src/engine/errors.js'
import type { Edit } from '../../../src/engine/interventions/edit.js'
import { float32, type Tensor } from '../../../src/engine/tensor.js'
import '../close-tensor.js'
import { onnxruntime, referenceFloat64 } from '../each-backend.js'
import { saeConfig, tinySae } from '../interventions/tiny-saes.js'
import { randomVector, row, run, stack, visionConfig, visionTower } from '../interventions/tiny-towers.js'
import { tinyBench } from './tiny-bench.js'

const resid = 'blocks.0.hook_resid_post'
const last = 'blocks.1.hook_resid_post'
const config = { ...visionConfig, head: { kind: 'classes', dOut: 5, bias: true } } as const
const tower = visionTower([], config)
const sae = tinySae(saeConfig)
const withSae = { ...tower, saes: [sae], weights: { ...tower.weights, ...sae.weights } }
const pixels = (...seeds: number[]) => stack(seeds.map(tower.input)) as Tensor<'float32'>

const v = randomVector(8, 1)
const add = (strength: number): Edit => ({ hookPoint: resid, op: 'add', vector: v, strength, unit: 'norm' })
const scaled: Edit = { hookPoint: resid, op: 'feature-scale', sae: 0, features: [{ feature: 3, strength: 4 }], positions: 'patches' }

const ask = (more: Partial<SteerInput>): SteerInput => ({
  pixels: pixels(1, 2, 3),
  edits: [add(3)],
  read: [],
  withValues: false,
  targets: [],
  readBytes: 0,
  ...more,
})

describe.each([referenceFloat64, onnxruntime])('steering on %s', (under) => {
  const bench = async () => (await tinyBench(await under.create(), { tower, saes: [{ config: saeConfig, weights: sae.own }] })).bench

  test('gives for each picture what runs with and without the edits give', async () => {
    const backend = await under.create()
    const edits = [add(3), scaled, { hookPoint: last, op: 'zero', positions: [2] } as Edit]
    const { output, changes } = await steer.run(await bench(), ask({ edits, read: ['hook_embed', resid, last], withValues: true }))
    const read = { read: ['hook_embed', resid, last], seeds: [1, 2, 3] }
    const [plain, edited] = [await run(backend, withSae, read), await run(backend, withSae, { ...read, edits })]
    expect(output.default).toBeCloseTensor(plain.output)
    expect(output.steered).toBeCloseTensor(edited.output)
    for (const { hookPoint, values } of changes) {
      expect(values!.default).toBeCloseTensor(plain.values[hookPoint]!)
      expect(values!.steered).toBeCloseTensor(edited.values[hookPoint]!)
    }
  })

  test('what comes before the edits has not changed; what comes after has, by its difference and its angle', async () => {
    const { changes } = await steer.run(await bench(), ask({ read: ['hook_embed', last], withValues: true }))
    const [before, after] = changes as [(typeof changes)[number], (typeof changes)[number]]
    expect([...before.size.data, ...before.relative.data].every((value) => value === 0)).toBe(true)
    expect(before.cosine.data.every((value) => value === 1)).toBe(true)
    expect(after.size.shape).toEqual([3, 6])
    const [was, is] = [after.values!.default.data, after.values!.steered.data].map((data) => [...data.slice(8, 16)]) as [number[], number[]]
    const difference = Math.hypot(...is.map((value, at) => value - was[at]!))
    expect(after.size.data[1]).toBeCloseTo(difference, 5)
    expect(after.relative.data[1]).toBeCloseTo(difference / Math.hypot(...was), 5)
    const product = is.reduce((sum, value, at) => sum + value * was[at]!, 0)
    expect(after.cosine.data[1]).toBeCloseTo(product / Math.hypot(...was) / Math.hypot(...is), 5)
  })

  test('the perturbation is what the edits add, and random directions are as long', async () => {
    const edits = [{ ...add(3), positions: 'patches' } as Edit]
    const { perturbations, controls, output, logits } = await steer.run(
      await bench(),
      ask({ edits, answers: 'classes', controls: { n: 5, seed: 4 } }),
    )
    expect(perturbations).toHaveLength(1)
    const [{ hookPoint, size, relative }] = perturbations as [(typeof perturbations)[number]]
    expect(hookPoint).toBe(resid)
    for (const [at, value] of size.data.entries()) expect(value).toBeCloseTo(at % 6 < 2 ? 0 : 3, 5)
    expect(relative.data.every((value, at) => (at % 6 < 2 ? value === 0 : value > 0))).toBe(true)

    expect(controls!.kind).toBe('divergence')
    expect(controls!.controls.shape).toEqual([3, 5, 1])
    const kl = (image: number, steered: Tensor<'float32'>) =>
      divergence(
        probabilitiesOf(row(logits!.default, image).data as Float32Array),
        probabilitiesOf(row(steered, image).data as Float32Array),
      )
    for (const image of [0, 1, 2]) expect(controls!.effect.data[image]).toBeCloseTo(kl(image, output.steered), 5)
    expect(new Set(controls!.controls.data).size).toBe(15)
  })

  test('a random direction of strength 0 moves nothing, and the same seed gives the same numbers', async () => {
    const workbench = await bench()
    const nothing = await steer.run(workbench, ask({ edits: [add(0)], controls: { n: 3, seed: 1 } }))
    expect(nothing.controls!.kind).toBe('distance')
    for (const value of nothing.controls!.controls.data) expect(value).toBeCloseTo(0, 6)
    const target = { label: 'a class', direction: Float32Array.of(0, 0, 1, 0, 0) }
    const once = await steer.run(workbench, ask({ targets: [target], controls: { n: 3, seed: 1 } }))
    const again = await steer.run(workbench, ask({ targets: [target], controls: { n: 3, seed: 1 } }))
    expect(again.controls!.controls.data).toEqual(once.controls!.controls.data)
    expect(once.scores!.steered.data[1]! - once.scores!.default.data[1]!).toBeCloseTo(once.controls!.effect.data[1]!, 5)
    expect(once.scores!.default.data[0]).toBeCloseTo((once.output.default.data as Float32Array)[2]!, 5)
  })

  test('a control is the edit with the direction that was drawn', async () => {
    const target = { label: 'a class', direction: Float32Array.of(1, 0, 0, 0, 0) }
    const workbench = await bench()
    const { randomDirections } = await import('../../../src/engine/analyses/steering/random-directions.js')
    const [direction] = randomDirections(1, { seed: 9, length: 8, norm: 1 }) as [Float32Array]
    const controls = await steer.run(workbench, ask({ targets: [target], controls: { n: 1, seed: 9 } }))
    const direct = await steer.run(workbench, ask({ edits: [{ ...add(3), vector: direction } as Edit], targets: [target] }))
    for (const image of [0, 1, 2]) {
      expect(controls.controls!.controls.data[image]).toBeCloseTo(
        direct.scores!.steered.data[image]! - direct.scores!.default.data[image]!,
        4,
      )
    }
  })

  test('more pictures than run at once are answered one by one', async () => {
    const seeds = Array.from({ length: 20 }, (_, at) => at)
    const many = await steer.run(await bench(), ask({ pixels: pixels(...seeds) }))
    const one = await steer.run(await bench(), ask({ pixels: pixels(18) }))
    expect(row(many.output.steered, 18)).toBeCloseTensor(one.output.steered)
    expect(row(many.output.default, 18)).toBeCloseTensor(one.output.default)
  })
})

test('labels are scored by the cosine, times the temperature', async () => {
  const { bench } = await tinyBench(await onnxruntime.create(), { tower })
  const embeddings = float32([2, 5], [1, 0, 0, 0, 0, 0, 0.6, 0.8, 0, 0])
  const { output, logits } = await steer.run(bench, ask({ answers: { embeddings, logitScale: 10, logitBias: -1 } }))
  const values = [...(output.steered.data as Float32Array).slice(0, 5)]
  expect(logits!.steered.data[0]).toBeCloseTo((10 * values[0]!) / Math.hypot(...values) - 1, 4)
  expect(logits!.steered.data[1]).toBeCloseTo((10 * (0.6 * values[1]! + 0.8 * values[2]!)) / Math.hypot(...values) - 1, 4)
})

test('edits that need other inputs, and directions where there are none, are refused', async () => {
  const { bench } = await tinyBench(await onnxruntime.create(), { tower })
  const refusal = async (more: Partial<SteerInput>) => (await steer.run(bench, ask(more)).catch((error) => error)) as EngineError
  const mean = await refusal({ edits: [add(1), { hookPoint: last, op: 'mean' }] })
  expect([mean.code, mean.message]).toEqual(['EDIT_INVALID', expect.stringMatching(/edits\[1\].*stored mean/)])
  const pattern: Edit = { hookPoint: 'blocks.0.attn.hook_pattern', op: 'zero', positions: [0] }
  const odd = await refusal({ edits: [pattern], controls: { n: 2, seed: 0 } })
  expect([odd.code, odd.message]).toEqual(['INPUT_INVALID', expect.stringMatching(/controls.*hook_pattern.*kPos/)])
})
