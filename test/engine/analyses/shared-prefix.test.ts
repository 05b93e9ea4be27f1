import { describe, expect, test } from 'vitest'
import { inChunks, rowsOf, sharedPrefix } from '../../../src/engine/analyses/shared-prefix.js'
import { expose } from '../../../src/engine/graph/edit.js'
import type { Graph } from '../../../src/engine/graph/graph.js'
import { inferTypes } from '../../../src/engine/graph/infer.js'
import { splitByInputs } from '../../../src/engine/graph/split.js'
import { applyEdits } from '../../../src/engine/interventions/apply-edits.js'
import type { Edit } from '../../../src/engine/interventions/edit.js'
import { float32 } from '../../../src/engine/tensor.js'
import '../close-tensor.js'
import { backends, onnxruntime, runOnce } from '../each-backend.js'
import { randomVector, row, visionTower } from '../interventions/tiny-towers.js'
import { pixels, tinyBench } from './tiny-bench.js'

const tower = visionTower()
const pictures = pixels(tower, [1, 2])

describe.each(backends)('what variants share, on %s', (backend) => {
  test('is at every hook point what a whole run computes', async () => {
    const device = await backend.create()
    const { bench, close } = await tinyBench(device, { tower })
    for (const { name } of tower.hookPoints.filter(({ optional }) => !optional)) {
      const edits: Edit[] = [{ hookPoint: name, op: 'scale', strength: 1.5 }]
      const edited = applyEdits(tower.graph, edits, tower)
      const run = await sharedPrefix(bench, `scale ${name}`, () => edited.graph)
      const start = await run.begin({ pixels: pictures })
      const outputs = await start.run([1, 0, 1], edited.inputs(3))
      const whole = await runOnce(device, edited.graph, {
        inputs: { pixels: pictures, ...edited.inputs(2) },
        weights: tower.weights,
      })
      const [output] = edited.graph.outputs as [string]
      for (const [at, picture] of [1, 0, 1].entries()) {
        expect(row(outputs[output]!, at), name).toBeCloseTensor(row(whole[output]!, picture), { tolerance: 1e-6 })
      }
    }
    await close()
  })
})

describe('a run that begins where it is edited', () => {
  const edits: Edit[] = [
    { hookPoint: 'blocks.1.hook_resid_pre', op: 'add', vector: randomVector(8, 1), strength: 1, unit: 'raw' },
    { hookPoint: 'blocks.1.mlp.hook_post', op: 'scale', strength: 0.5 },
  ]

  test('has nothing of the blocks before in it', () => {
    const { suffix } = splitByInputs(applyEdits(tower.graph, edits, tower).graph, ['pixels'])
    expect(Object.keys(suffix.parameters).filter((name) => !/^(blocks\.1|ln_final|head)\./.test(name))).toEqual([])
    const ofHead = applyEdits(tower.graph, [{ hookPoint: 'blocks.0.attn.hook_z', op: 'zero', heads: [1] }], tower)
    expect(Object.keys(splitByInputs(ofHead.graph, ['pixels']).suffix.parameters)).not.toContain('blocks.0.attn.W_Q')
  })

  test('is compiled once, however many variants there are and whatever their strengths', async () => {
    const { bench, nCompiled, close } = await tinyBench(await onnxruntime.create(), { tower })
    for (const strength of [1, 2, 3]) {
      const edited = applyEdits(tower.graph, [{ ...edits[0]!, strength } as Edit, edits[1]!], tower)
      const run = await sharedPrefix(bench, 'twice edited', () => edited.graph)
      const start = await run.begin({ pixels: pictures })
      await start.run([0, 1, 1], edited.inputs(3))
    }
    expect(nCompiled()).toBe(2)
    await close()
  })

  test('computes no rows that nothing reads, before the edits or after', async () => {
    const { bench, close } = await tinyBench(await onnxruntime.create(), { tower })
    const made: Graph[] = []
    const ready: typeof bench.ready = (key, build) =>
      bench.ready(key, () => {
        made.push(build())
        return made.at(-1)!
      })
    const start = async (read: readonly string[]) => {
      const edited = applyEdits(tower.graph, edits, tower)
      const run = await sharedPrefix({ ...bench, ready }, `read ${read.join()}`, () => expose(edited.graph, read))
      const { run: variants } = await run.begin({ pixels: pictures })
      return variants([0, 1], edited.inputs(2))
    }
    const [output] = tower.graph.outputs as [string]
    const narrow = await start([])
    const whole = await start(['blocks.1.hook_resid_post'])
    const lengths = made.map((graph) => inferTypes(graph).get('blocks.1.hook_mlp_out')?.shape[1])
    // the model pools CLS
    expect(lengths).toEqual([undefined, 1, undefined, 6])
    expect(narrow[output]!).toBeCloseTensor(whole[output]!, { tolerance: 1e-6 })
    await close()
  })

  test('gives what is before the edits once for each picture', async () => {
    const { bench, close } = await tinyBench(await onnxruntime.create(), { tower })
    const graph = () => expose(applyEdits(tower.graph, edits, tower).graph, ['blocks.0.attn.hook_z', 'blocks.1.hook_resid_post'])
    const start = await (await sharedPrefix(bench, 'exposed', graph)).begin({ pixels: pictures })
    expect(Object.entries(start.shared).map(([name, { shape }]) => [name, shape[0]])).toEqual([['blocks.0.attn.hook_z', 2]])
    const variants = await start.run([0, 0, 0], applyEdits(tower.graph, edits, tower).inputs(3))
    expect(variants['blocks.1.hook_resid_post']!.shape[0]).toBe(3)
    await close()
  })
})

test('rows run some at a time and come back in their order', async () => {
  const all = float32([5, 2], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  const sizes: number[] = []
  const { x } = await inChunks(
    5,
    async (from, to) => {
      sizes.push(to - from)
      return rowsOf({ x: all }, from, to) as { x: typeof all }
    },
    2,
  )
  expect(sizes).toEqual([2, 2, 1])
  expect(x).toEqual(all)
})
