import { describe, expect, test } from 'vitest'
import { GraphBuilder } from '../../../src/engine/graph/builder.js'
import { replace } from '../../../src/engine/graph/edit.js'
import type { Graph } from '../../../src/engine/graph/graph.js'
import { resumeInput, rowsInput, splitByInputs } from '../../../src/engine/graph/split.js'
import { validate } from '../../../src/engine/graph/validate.js'
import { float32, int64 } from '../../../src/engine/tensor.js'
import { backends, reference, runOnce } from '../each-backend.js'
import { stack, visionTower } from '../interventions/tiny-towers.js'

const tower = visionTower(['blocks.1.attn.hook_result'])
const rankOf = (hookPoint: string) => tower.hookPoints.find(({ name }) => name === hookPoint)!.shape.length

/** The tower with `delta` added at a hook point. */
function edited(hookPoint: string): Graph {
  return replace(tower.graph, hookPoint, ({ builder, value }) => {
    const delta = builder.input('delta', 'float32', ['batch', ...Array<number>(rankOf(hookPoint) - 1).fill(1)])
    return builder.op('Add', [value, delta])
  })
}

describe.each(backends)('a graph in two on %s', (each) => {
  test('gives what the whole gives, wherever it is split, the first half having run once for each picture', async () => {
    const backend = await each.create()
    const { weights } = tower
    const pictures = [tower.input(3), tower.input(4)]
    const rows = [0, 1, 0]
    for (const { name: hookPoint } of tower.graph.hookPoints) {
      const graph = edited(hookPoint)
      const { prefix, suffix } = splitByInputs(graph, ['pixels'])
      validate(prefix)
      validate(suffix)
      const delta = float32([3, ...Array<number>(rankOf(hookPoint) - 1).fill(1)], [0, 0.5, -2])
      const whole = await runOnce(backend, graph, { inputs: { pixels: stack(rows.map((row) => pictures[row]!)), delta }, weights })
      const passed = await runOnce(backend, prefix, { inputs: { pixels: stack(pictures) }, weights })
      const chosen = rowsInput in suffix.inputs ? { [rowsInput]: int64([3], rows) } : {}
      const parts = await runOnce(backend, suffix, { inputs: { ...passed, ...chosen, delta }, weights })
      const [output] = graph.outputs as [string]
      for (const [at, value] of [...whole[output]!.data].entries()) expect(Number(parts[output]!.data[at])).toBeCloseTo(Number(value), 4)
    }
  })
})

describe('a split', () => {
  test('passes on as little as the edit allows', () => {
    const passed = (hookPoint: string) => splitByInputs(edited(hookPoint), ['pixels']).prefix.outputs.toSorted()
    expect(passed('blocks.0.hook_resid_post')).toEqual([resumeInput('blocks.0.hook_resid_post@0')])
    expect(passed('blocks.1.hook_mlp_out')).toEqual(['blocks.1.hook_mlp_out@0', 'blocks.1.hook_resid_mid'].map(resumeInput))
  })

  test('computes nothing of the first half in the second', () => {
    const { prefix, suffix } = splitByInputs(edited('blocks.0.hook_resid_post'), ['pixels'])
    const parameters = (graph: Graph) => Object.keys(graph.parameters)
    expect(parameters(prefix).some((name) => name.startsWith('blocks.1.'))).toBe(false)
    expect(parameters(suffix).some((name) => name.startsWith('blocks.0.') || name.startsWith('embed'))).toBe(false)
    expect(Object.keys(suffix.inputs).toSorted()).toEqual(['delta', resumeInput('blocks.0.hook_resid_post@0'), rowsInput])
    expect(Object.keys(prefix.inputs)).toEqual(['pixels'])
  })
})

const axes = ['batch', 'dModel'] as const

/** squares = x x; scaled = squares s; the output is their sum. */
function graph() {
  const b = new GraphBuilder('g')
  const x = b.input('x', 'float32', ['batch', 2])
  const squares = b.hook('squares', axes, b.op('Mul', [x, x]))
  const scaled = b.hook('scaled', axes, b.op('Mul', [squares, b.input('s', 'float32', ['batch', 1])]))
  return b.build([b.hook('sum', axes, b.op('Add', [scaled, squares])), squares])
}

describe('a graph cut in two by its inputs', () => {
  test('hands over only what the second half reads, and keeps an output where it is made', () => {
    const { prefix, suffix } = splitByInputs(graph(), ['x'])
    validate(prefix)
    validate(suffix)
    expect(Object.keys(prefix.inputs)).toEqual(['x'])
    expect(prefix.outputs).toEqual([resumeInput('squares'), 'squares'])
    expect(Object.keys(suffix.inputs)).toEqual([rowsInput, resumeInput('squares'), 's'])
    expect(suffix.outputs).toEqual(['sum'])
    expect(suffix.hookPoints.map(({ name }) => name)).toEqual(['squares', 'scaled', 'sum'])
  })

  test('goes on from one row of the first half as often as it is asked', async () => {
    const backend = await reference.create()
    const { prefix, suffix } = splitByInputs(graph(), ['x'])
    const made = await runOnce(backend, prefix, { inputs: { x: float32([2, 2], [1, 2, 3, 4]) } })
    const { sum } = await runOnce(backend, suffix, {
      inputs: {
        [resumeInput('squares')]: made[resumeInput('squares')]!,
        [rowsInput]: int64([3], [1, 0, 1]),
        s: float32([3, 1], [0, 1, 2]),
      },
    })
    expect([...sum!.data]).toEqual([9, 16, 2, 8, 27, 48])
  })

  test('hands over a mean of the whole first half as it is', async () => {
    const b = new GraphBuilder('g')
    const x = b.input('x', 'float32', ['batch', 2])
    const mean = b.op('ReduceMean', [x, b.constant(int64([1], [0]))], { keepdims: 1 })
    const out = b.named('out', b.op('Add', [b.op('Mul', [x, b.input('s', 'float32', ['batch', 1])]), mean]))
    const { prefix, suffix } = splitByInputs(b.build([out]), ['x'])
    const backend = await reference.create()
    const made = await runOnce(backend, prefix, { inputs: { x: float32([2, 2], [1, 2, 3, 4]) } })
    const late = { [rowsInput]: int64([1], [1]), s: float32([1, 1], [10]) }
    const { out: value } = await runOnce(backend, suffix, { inputs: { ...made, ...late } })
    expect([...value!.data]).toEqual([32, 43])
  })

  test('does not hand over rows that cannot be told apart: they are made again', () => {
    const b = new GraphBuilder('g')
    const x = b.hook('tokens', ['batch', 'pos', 'dModel'], b.op('Sqrt', [b.input('x', 'float32', ['batch', 3, 2])]))
    const flat = b.op('Reshape', [x, b.constant(int64([2], [-1, 2]))])
    const scaled = b.op('Mul', [b.op('Reshape', [flat, b.constant(int64([3], [-1, 3, 2]))]), b.input('s', 'float32', ['batch', 1, 1])])
    const summed = b.op('Add', [b.op('Reshape', [scaled, b.op('Shape', [flat])]), flat])
    const { prefix, suffix } = splitByInputs(b.build([b.named('out', summed)]), ['x'])
    validate(suffix)
    expect(prefix.outputs).toContain(resumeInput('tokens'))
    expect(prefix.outputs.some((output) => output.includes('Shape'))).toBe(false)
  })
})
