import { describe, expect, test } from 'vitest'
import { expose } from '../../../src/engine/graph/edit.js'
import type { Graph } from '../../../src/engine/graph/graph.js'
import { inferTypes } from '../../../src/engine/graph/infer.js'
import { narrowed } from '../../../src/engine/graph/narrow.js'
import { validate } from '../../../src/engine/graph/validate.js'
import type { Activation, VisionConfig } from '../../../src/engine/models/model.js'
import '../close-tensor.js'
import { onnxruntime, reference, runOnce } from '../each-backend.js'
import { stack, visionConfig, visionTower } from '../interventions/tiny-towers.js'

/** Of a value, how long its axis is. */
const lengthOf = (graph: Graph, value: string, axis: number) => inferTypes(graph).get(value)?.shape[axis]

describe.each([reference, onnxruntime])('a graph without rows that nobody reads on %s', (backend) => {
  const variants: readonly [string, Partial<VisionConfig>][] = [
    ['a tower', {}],
    ['one without norms of its own weights', { normalization: 'layerNormPre' }],
    ['one without norms', { normalization: 'none' }],
    ['one with layer scale', { layerScale: true }],
    ...(['relu', 'quick_gelu', 'gelu_new', 'solu_ln'] as readonly Activation[]).map((activation): [string, Partial<VisionConfig>] => [
      activation,
      { activation },
    ]),
    ['one that is normed after it is pooled', { finalNorm: 'pooled' }],
  ]
  test.each(variants)('computes what the whole does: %s', async (_, more) => {
    const tower = visionTower([], { ...visionConfig, ...more })
    const device = await backend.create()
    const graph = narrowed(tower.graph)
    validate(graph)
    // The last block is of one token but for its keys and values; the one before it is whole.
    expect(lengthOf(graph, 'blocks.1.attn.hook_q', 1)).toBe(1)
    expect(lengthOf(graph, 'blocks.1.attn.hook_k', 1)).toBe(6)
    expect(lengthOf(graph, 'blocks.1.hook_mlp_out', 1)).toBe(1)
    expect(lengthOf(graph, 'blocks.0.hook_mlp_out', 1)).toBe(6)
    expect(graph.hookPoints.map(({ name }) => name)).not.toContain('blocks.1.hook_mlp_out')
    expect(graph.hookPoints.map(({ name }) => name)).toContain('blocks.1.hook_resid_pre')
    const inputs = { pixels: stack([1, 2, 3].map(tower.input)) }
    const [output] = graph.outputs as [string]
    const [whole, narrow] = [
      await runOnce(device, tower.graph, { inputs, weights: tower.weights }),
      await runOnce(device, graph, { inputs, weights: tower.weights }),
    ]
    expect(narrow[output]!).toBeCloseTensor(whole[output]!, { tolerance: 1e-6 })
  })
})

describe('what stays whole', () => {
  test('is what is an output, or kept', () => {
    const { graph } = visionTower()
    const read = narrowed(expose(graph, ['blocks.1.hook_mlp_out']))
    expect(lengthOf(read, 'blocks.1.hook_mlp_out', 1)).toBe(6)
    const kept = narrowed(graph, ['blocks.1.attn.hook_z'])
    expect(lengthOf(kept, 'blocks.1.attn.hook_z', 1)).toBe(6)
    expect(lengthOf(kept, 'blocks.1.hook_attn_out', 1)).toBe(1)
  })

  test('is a model that pools all its tokens', () => {
    const { graph } = visionTower([], { ...visionConfig, pooling: 'meanAll' })
    expect(narrowed(graph)).toBe(graph)
  })
})
