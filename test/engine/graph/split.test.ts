import { describe, expect, test } from 'vitest'
import { replace } from '../../../src/engine/graph/edit.js'
import type { Graph } from '../../../src/engine/graph/graph.js'
import { resumeInput } from '../../../src/engine/graph/resume.js'
import { rowsInput, splitByInputs } from '../../../src/engine/graph/split.js'
import { validate } from '../../../src/engine/graph/validate.js'
import { float32, int64 } from '../../../src/engine/tensor.js'
import { backends, runOnce } from '../each-backend.js'
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
