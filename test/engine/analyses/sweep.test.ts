/** Sweeps against the edits that they are made of: each point is one forward pass with that edit. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { sweep } from '../../../src/engine/analyses/steering/sweep.js'
import type { SweepInput, SweepTarget } from '../../../src/engine/analyses/steering/sweep-contract.js'
import type { Backend } from '../../../src/engine/backends/backend.js'
import { probabilitiesOf } from '../../../src/engine/distributions.js'
import { applyEdits, editInputs } from '../../../src/engine/interventions/apply-edits.js'
import type { Edit } from '../../../src/engine/interventions/edit.js'
import { mergeEditInputs } from '../../../src/engine/interventions/merge-inputs.js'
import { writtenHookPoint } from '../../../src/engine/interventions/spliced-sae.js'
import type { Tensor } from '../../../src/engine/tensor.js'
import { backends, onnxruntime, reference, referenceFloat64 } from '../each-backend.js'
import { saeConfigs, tinySae } from '../interventions/tiny-saes.js'
import { randomVector, row, run, runGraph, stack, type TinyTower, visionConfig, visionTower } from '../interventions/tiny-towers.js'
import { pixels, tinyBench } from './tiny-bench.js'

const LOGIT_SCALE = 10
const classifier = visionTower([], { ...visionConfig, pooling: 'mean', head: { kind: 'classes', dOut: 5, bias: true } })

const target = (label: string, seed: number, answer?: number): SweepTarget => ({
  label,
  direction: randomVector(5, seed),
  ...(answer !== undefined && { answer }),
})

const plainInput = (tower: TinyTower, more: Partial<SweepInput> = {}): SweepInput => ({
  ...{ pixels: pixels(tower, [1, 2]), hookPoint: 'blocks.0.hook_resid_post', op: 'add', unit: 'raw' },
  directions: [{ vector: randomVector(8, 5) }, { vector: randomVector(8, 6) }],
  places: [{ positions: 'all' }, { positions: 'cls' }],
  lines: [0, 1].flatMap((image) => [0, 1].flatMap((place) => [0, 1].map((direction) => ({ image, direction, place })))),
  strengths: [-2, 0, 3],
  targets: [target('a', 11), target('b', 12)],
  ...more,
})

/** CLIP's score of an output; a classifier's logit. */
function scoreOf(output: Tensor, { direction }: SweepTarget, isClip = true): number {
  const values = Array.from(output.data, Number)
  const product = values.reduce((sum, value, at) => sum + value * direction[at]!, 0)
  return isClip ? (LOGIT_SCALE * product) / Math.sqrt(values.reduce((sum, value) => sum + value * value, 0)) : product
}

/** What each line's points are as forward passes with an edit, of equal structure: each is a request of its own, and all are one batch. */
async function asForwards(
  backend: Backend,
  tower: TinyTower,
  input: SweepInput,
  editOf: (at: Edge) => Edit,
): Promise<{ rows: Tensor[]; plain: Tensor[] }> {
  const points = input.lines.flatMap(({ image, ...line }) =>
    input.strengths.map((strength) => ({ image, edit: editOf({ ...line, strength }) })),
  )
  const { graph, roles } = applyEdits(tower.graph, [points[0]!.edit], tower)
  const shares = points.map(({ edit }) => ({ nRows: 1, inputs: editInputs([edit], tower, 1) }))
  const pictures = stack(points.map(({ image }) => tower.input(image + 1)))
  const { output } = await runGraph(backend, tower, { graph, inputs: { [tower.inputName]: pictures, ...mergeEditInputs(shares, roles) } })
  const { output: plain } = await run(backend, tower, { seeds: [1, 2] })
  return { rows: points.map((_, point) => row(output, point)), plain: [row(plain, 0), row(plain, 1)] }
}

interface Edge {
  readonly direction: number
  readonly place: number
  readonly strength: number
}

describe.each(backends)('a sweep on %s', (each) => {
  test.each([
    ['blocks.0.hook_resid_post', 8],
    ['blocks.1.hook_mlp_out', 8],
    ['blocks.1.attn.hook_z', 4],
    ['hook_embed', 8],
    ['blocks.0.attn.hook_attn_scores', 6],
  ])('has the scores of forward passes with each edit, at %s', async (hookPoint, length) => {
    const backend = await each.create()
    const { bench, tower, close } = await tinyBench(backend, { logitScale: LOGIT_SCALE })
    const input = plainInput(tower, {
      hookPoint,
      directions: [{ vector: randomVector(length, 5) }, { vector: randomVector(length, 6) }],
      places: [{ positions: 'all' }, { positions: [1, 3], ...(hookPoint.endsWith('hook_z') && { heads: [1] }) }],
    })
    const { points, defaults } = await sweep.run(bench, input)
    const expected = await asForwards(backend, tower, input, ({ direction, place, strength }) => {
      return { hookPoint, ...input.places[place]!, op: 'add', vector: input.directions[direction]!.vector, strength, unit: 'raw' }
    })
    for (const [point, output] of expected.rows.entries()) {
      for (const [index, each] of input.targets.entries()) expect(points.scores[point * 2 + index]).toBeCloseTo(scoreOf(output, each), 3)
    }
    for (const [image, output] of expected.plain.entries())
      expect(defaults.scores[image * 2]).toBeCloseTo(scoreOf(output, input.targets[0]!), 3)
    expect(points.probabilities).toBeUndefined()
    await close()
  })

  test('is the picture as it is at strength 0, bit for bit', async () => {
    const { bench, tower, close } = await tinyBench(await each.create())
    const input = plainInput(tower, { strengths: [0, 2] })
    const { points, defaults } = await sweep.run(bench, input)
    for (const [line, { image }] of input.lines.entries()) {
      for (const at of [0, 1]) expect(points.scores[line * 2 * 2 + at]).toBe(defaults.scores[image * 2 + at])
    }
    expect(points.scores[2]).not.toBe(defaults.scores[0])
    await close()
  })

  test('compiles once, whatever numbers it is asked with', async () => {
    const { bench, tower, nCompiled, close } = await tinyBench(await each.create())
    await sweep.run(bench, plainInput(tower))
    const before = nCompiled()
    await sweep.run(
      bench,
      plainInput(tower, {
        directions: [{ vector: randomVector(8, 9) }],
        places: [{ positions: [2] }],
        lines: [{ image: 1, direction: 0, place: 0 }],
        strengths: [7],
        targets: [target('c', 3)],
      }),
    )
    expect(nCompiled()).toBe(before)
    await close()
  })
})

describe('a sweep', () => {
  test('does not depend on how it is cut', async () => {
    const { bench, tower, close } = await tinyBench(await onnxruntime.create())
    const answers = [target('x', 1), target('y', 2), target('z', 3)]
    const many = plainInput(tower, { strengths: Array.from({ length: 9 }, (_, at) => at - 4), answers })
    const whole = await sweep.run(bench, many)
    await fc.assert(
      fc.asyncProperty(fc.subarray([...many.lines.keys()], { minLength: 1 }), async (chosen) => {
        const part = await sweep.run(bench, { ...many, lines: chosen.map((line) => many.lines[line]!) })
        for (const [at, line] of chosen.entries()) {
          const n = many.strengths.length
          expect(part.points.scores.subarray(at * n * 2, (at + 1) * n * 2)).toEqual(
            whole.points.scores.subarray(line * n * 2, (line + 1) * n * 2),
          )
          expect(part.points.divergences!.subarray(at * n, (at + 1) * n)).toEqual(
            whole.points.divergences!.subarray(line * n, (line + 1) * n),
          )
        }
      }),
      { numRuns: 8 },
    )
    await close()
  })

  test('adds up: the unit "norm" is the direction divided by its length', async () => {
    const { bench, tower, close } = await tinyBench(await referenceFloat64.create())
    const vector = randomVector(8, 5)
    const length = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0))
    const lines = [{ image: 0, direction: 0, place: 0 }]
    const raw = await sweep.run(bench, plainInput(tower, { directions: [{ vector }], lines, strengths: [3] }))
    const norm = await sweep.run(bench, plainInput(tower, { directions: [{ vector }], lines, unit: 'norm', strengths: [3 * length] }))
    expect(norm.points.scores[0]).toBeCloseTo(raw.points.scores[0]!, 5)
    await close()
  })

  test('says how probable targets are among the answers, and how far the answers moved', async () => {
    const backend = await referenceFloat64.create()
    const { bench, tower, close } = await tinyBench(backend, { tower: classifier })
    const unit = (index: number) => Float32Array.from({ length: 5 }, (_, at) => (at === index ? 1 : 0))
    const input = plainInput(tower, {
      targets: [{ label: 'class 3', direction: unit(3), answer: 3 }, target('own', 4)],
      answers: 'classes',
      lines: [{ image: 1, direction: 0, place: 0 }],
      strengths: [2],
    })
    const { points, defaults } = await sweep.run(bench, input)
    const plain = (await run(backend, tower, { seeds: [2] })).output
    const [{ vector }] = input.directions as [{ vector: Float32Array }]
    const steered = (
      await run(backend, tower, { seeds: [2], edits: [{ hookPoint: input.hookPoint, op: 'add', vector, strength: 2, unit: 'raw' }] })
    ).output
    const [p, q] = [plain, steered].map(({ data }) => probabilitiesOf(Array.from(data, Number))) as [Float64Array, Float64Array]
    expect(defaults.probabilities![2]).toBeCloseTo(p[3]!, 6)
    expect(points.probabilities![0]).toBeCloseTo(q[3]!, 6)
    expect(points.probabilities![1]).toBeNaN()
    expect(points.scores[0]).toBeCloseTo(Number(steered.data[3]), 5)
    expect(points.divergences![0]).toBeCloseTo(
      p.reduce((sum, each, at) => sum + each * Math.log(each / q[at]!), 0),
      6,
    )
    expect(points.best![0]).toBe(q.indexOf(Math.max(...q)))
    await close()
  })

  test.each(Object.keys(saeConfigs))('moves a feature of an SAE as its edit does: %s', async (name) => {
    const backend = await reference.create()
    const config = saeConfigs[name]!
    const sae = tinySae(config)
    const { bench, tower, close } = await tinyBench(backend, { logitScale: LOGIT_SCALE, saes: [{ config, weights: sae.own }] })
    const withSae: TinyTower = { ...tower, saes: [sae], weights: { ...tower.weights, ...sae.weights } }
    const hookPoint = writtenHookPoint(config)
    const rowOf = (latent: number) => sae.own.W_dec!.data.slice(latent * config.dOut, (latent + 1) * config.dOut)
    const heads = config.headIndex === undefined ? {} : { heads: [config.headIndex] }
    for (const op of ['feature-add', 'feature-set'] as const) {
      const input = plainInput(tower, {
        ...{ hookPoint, op, strengths: [-1, 2] },
        directions: [
          { vector: rowOf(3), latent: 3 },
          { vector: rowOf(20), latent: 20, factor: 1.5 },
        ],
        places: [
          { positions: 'all', ...heads },
          { positions: [0, 4], ...heads },
        ],
      })
      const { points } = await sweep.run(bench, input)
      const expected = await asForwards(backend, withSae, input, ({ direction, place, strength }) => {
        const { latent, factor = 1 } = input.directions[direction]!
        const { positions } = input.places[place]!
        const s = strength * factor
        return op === 'feature-add'
          ? { hookPoint, positions, sae: 0, op, features: [{ feature: latent!, strength: s }] }
          : { hookPoint, positions, sae: 0, op, features: [{ feature: latent!, value: s }] }
      })
      for (const [point, output] of expected.rows.entries())
        expect(points.scores[point * 2]).toBeCloseTo(scoreOf(output, input.targets[0]!), 3)
    }
    await close()
  })

  test('refuses hook points that are not there, directions that do not fit, and places that are not there', async () => {
    const { bench, tower, close } = await tinyBench(await reference.create())
    const asked = (more: Partial<SweepInput>) => sweep.run(bench, plainInput(tower, more))
    await expect(asked({ hookPoint: 'blocks.9.hook_resid_post' })).rejects.toMatchObject({ code: 'HOOK_POINT_UNKNOWN' })
    await expect(asked({ directions: [{ vector: randomVector(7, 1) }] })).rejects.toMatchObject({ code: 'INPUT_INVALID' })
    await expect(asked({ places: [{ positions: [9] }] })).rejects.toMatchObject({ code: 'POSITION_OUT_OF_RANGE' })
    await close()
  })
})
