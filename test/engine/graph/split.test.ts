import { describe, expect, test } from 'vitest'
import { replace } from '../../../src/engine/graph/edit.js'
import type { Graph } from '../../../src/engine/graph/graph.js'
import { resumeInput } from '../../../src/engine/graph/resume.js'
import { splitByInputs } from '../../../src/engine/graph/split.js'
import { validate } from '../../../src/engine/graph/validate.js'
import { float32, type Tensor } from '../../../src/engine/tensor.js'
import { backends, runOnce } from '../each-backend.js'
import { visionTower } from '../interventions/tiny-towers.js'

const tower = visionTower(['blocks.1.attn.hook_result'])

/** The tower with `delta` added at a hook point. */
function edited(hookPoint: string): Graph {
  const rank = tower.hookPoints.find(({ name }) => name === hookPoint)!.shape.length
  return replace(tower.graph, hookPoint, ({ builder, value }) => {
    const delta = builder.input('delta', 'float32', ['batch', ...Array<number>(rank - 1).fill(1)])
    return builder.op('Add', [value, delta])
  })
}

const deltaOf = (hookPoint: string, values: readonly number[]) => {
  const rank = tower.hookPoints.find(({ name }) => name === hookPoint)!.shape.length
  return float32([values.length, ...Array<number>(rank - 1).fill(1)], values)
}

const repeated = ({ dtype, shape, data }: Tensor, n: number): Tensor =>
  ({
    dtype,
    shape: [n * shape[0]!, ...shape.slice(1)],
    data: Float32Array.from({ length: n * data.length }, (_, at) => Number(data[at % data.length])),
  }) as Tensor

describe.each(backends)('a graph in two on %s', (each) => {
  test('gives what the whole gives, wherever it is split, the first part having run once', async () => {
    const backend = await each.create()
    for (const { name: hookPoint } of tower.hookPoints.filter(({ name }) => tower.graph.hookPoints.some((each) => each.name === name))) {
      const graph = edited(hookPoint)
      const { before, after, shared } = splitByInputs(graph, ['delta'])
      validate(before)
      validate(after)
      const pixels = tower.input(3)
      const delta = deltaOf(hookPoint, [0, 0.5, -2])
      const { weights } = tower
      const whole = await runOnce(backend, graph, { inputs: { pixels: repeated(pixels, 3), delta }, weights })
      const values = await runOnce(backend, before, { inputs: 'pixels' in before.inputs ? { pixels } : {}, weights })
      const fed = Object.fromEntries(shared.map((value) => [resumeInput(value), repeated(values[value]!, 3)]))
      const parts = await runOnce(backend, after, { inputs: { ...fed, delta }, weights })
      const [output] = graph.outputs as [string]
      for (const [at, value] of [...whole[output]!.data].entries()) expect(Number(parts[output]!.data[at])).toBeCloseTo(Number(value), 4)
    }
  })
})

describe('a split', () => {
  test('reads as little as the edit allows', () => {
    expect(splitByInputs(edited('blocks.0.hook_resid_post'), ['delta']).shared).toEqual(['blocks.0.hook_resid_post@0'])
    expect(splitByInputs(edited('blocks.1.hook_mlp_out'), ['delta']).shared.toSorted()).toEqual([
      'blocks.1.hook_mlp_out@0',
      'blocks.1.hook_resid_mid',
    ])
  })

  test('computes nothing of the first part in the second', () => {
    const { before, after } = splitByInputs(edited('blocks.0.hook_resid_post'), ['delta'])
    const names = (graph: Graph) => Object.keys(graph.parameters)
    expect(names(before).some((name) => name.startsWith('blocks.1.'))).toBe(false)
    expect(names(after).some((name) => name.startsWith('blocks.0.') || name.startsWith('embed'))).toBe(false)
    expect(Object.keys(after.inputs).toSorted()).toEqual(['delta', resumeInput('blocks.0.hook_resid_post@0')])
    expect(Object.keys(before.inputs)).toEqual(['pixels'])
  })
})
