import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import type { Backend } from '../../../src/engine/backends/backend.js'
import { structureHash } from '../../../src/engine/graph/hash.js'
import { applyEdits, editInputs, editStructure } from '../../../src/engine/interventions/apply-edits.js'
import type { Edit } from '../../../src/engine/interventions/edit.js'
import { mergeEditInputs } from '../../../src/engine/interventions/merge-inputs.js'
import type { VisionConfig } from '../../../src/engine/models/model.js'
import type { Tensor } from '../../../src/engine/tensor.js'
import '../close-tensor.js'
import { backends } from '../each-backend.js'
import { randomVector, row, run, runGraph, stack, textConfig, textTower, visionConfig, visionTower } from './tiny-towers.js'

const tower = visionTower()
/** One block: enough to have every kind of hook point. */
const oneBlock = visionTower([], { ...visionConfig, nLayers: 1 })
const optional = oneBlock.hookPoints.filter((hookPoint) => hookPoint.optional).map(({ name }) => name)
const hookPoints = oneBlock.hookPoints.filter((hookPoint) => !hookPoint.optional)
const lengthAt = (hookPoint: string) => Number(tower.hookPoints.find(({ name }) => name === hookPoint)!.shape.at(-1))
const oneBlockOfText = textTower({ ...textConfig, nLayers: 1 })
const hookPointsOfText = oneBlockOfText.hookPoints.filter((hookPoint) => !hookPoint.optional).map(({ name }) => name)

const resid = 'blocks.0.hook_resid_post'
const v = randomVector(8, 1)
const w = randomVector(8, 2)
const add = (strength: number, more: Partial<Edit> = {}): Edit =>
  ({ hookPoint: resid, op: 'add', vector: v, strength, unit: 'raw', ...more }) as Edit

describe.each(backends)('edits on %s', (under) => {
  let backend: Backend
  beforeAll(async () => {
    backend = await under.create()
  })

  describe.each(hookPoints)('at $name', ({ name, axes, shape }) => {
    const vector = randomVector(Number(shape.at(-1)), 3)
    const positions = axes.includes('pos') || axes.includes('patch') || axes.includes('qPos') ? { positions: [0, 1] } : {}

    test('an edit changes what the hook point hands on and what the model answers', async () => {
      const before = await run(backend, oneBlock, { read: [name] })
      const edits: Edit[] = [{ hookPoint: name, ...positions, op: 'add', vector, strength: 0.5, unit: 'raw' }]
      const after = await run(backend, oneBlock, { edits, read: [name] })
      expect(after.values[name]!.shape).toEqual(before.values[name]!.shape)
      expect(after.values[name]!.data).not.toEqual(before.values[name]!.data)
      expect(after.output).not.toBeCloseTensor(before.output, { tolerance: 1e-4 })
    })

    test('what changes nothing changes nothing', async () => {
      const before = await run(backend, oneBlock, { read: [name] })
      const values = before.values[name]! as Tensor<'float32'>
      const nothings: Edit[] = [
        { hookPoint: name, op: 'add', vector, strength: 0, unit: 'norm' },
        { hookPoint: name, op: 'scale', strength: 1 },
        { hookPoint: name, op: 'patch', source: { input: 0 } },
        { hookPoint: name, op: 'patch', source: { values: { shape: values.shape, data: values.data } } },
        { hookPoint: name, op: 'mean' },
        { hookPoint: name, op: 'clamp-projection', vector, min: -1000, max: 1000 },
        { hookPoint: name, op: 'zero', ...('positions' in positions ? { positions: [1] } : {}) },
        { hookPoint: name, op: 'patch', source: { values: { shape: values.shape, data: values.data } } },
      ]
      const after = await run(backend, oneBlock, { edits: nothings, read: [name] })
      expect(after.values[name]).toBeCloseTensor(values, { tolerance: 1e-6 })
      expect(after.output).toBeCloseTensor(before.output)
      const exact = await run(backend, oneBlock, { edits: nothings.slice(0, 5), read: [name] })
      // Reading a LayerNorm's scale is free; before an edit it is written out (write-out.ts), which rounds otherwise.
      if (name.endsWith('hook_scale')) expect(exact.values[name]).toBeCloseTensor(values, { tolerance: 1e-6 })
      else expect(exact.values[name]!.data).toEqual(values.data)
    })
  })

  test.each(optional)('an edit at the optional %s changes the answer', async (name) => {
    const wide = visionTower([name], oneBlock.config as VisionConfig)
    const before = await run(backend, wide)
    const vector = randomVector(8, 3)
    const after = await run(backend, wide, {
      edits: [{ hookPoint: name, positions: [0, 1], op: 'add', vector, strength: 0.5, unit: 'raw' }],
    })
    expect(after.output).not.toBeCloseTensor(before.output, { tolerance: 1e-4 })
  })

  test.each(hookPointsOfText)('an edit at %s of a text tower changes the answer', async (name) => {
    const before = await run(backend, oneBlockOfText)
    const { axes, shape } = oneBlockOfText.hookPoints.find((hookPoint) => hookPoint.name === name)!
    const vector = randomVector(Number(shape.at(-1)), 3)
    const positions = axes.includes('pos') || axes.includes('qPos') ? { positions: [1, 3] } : {}
    const edits: Edit[] = [{ hookPoint: name, ...positions, op: 'add', vector, strength: 0.5, unit: 'raw' }]
    const after = await run(backend, oneBlockOfText, { edits })
    expect(after.output).not.toBeCloseTensor(before.output, { tolerance: 1e-4 })
  })

  test('steering adds up: a then b equals a + b', async () => {
    const strength = fc.integer({ min: -40, max: 40 }).map((quarter) => quarter / 4)
    await fc.assert(
      fc.asyncProperty(strength, strength, async (a, b) => {
        const twice = await run(backend, tower, { edits: [add(a), add(b)] })
        const once = await run(backend, tower, { edits: [add(a + b)] })
        expect(twice.output).toBeCloseTensor(once.output)
      }),
      { numRuns: 10 },
    )
  })

  test('unit "norm" adds a vector of length strength', async () => {
    const { values: before } = await run(backend, tower, { read: [resid] })
    const { values: after } = await run(backend, tower, { edits: [add(3, { unit: 'norm' } as Partial<Edit>)], read: [resid] })
    const difference = after[resid]!.data.slice(0, 8) as Float32Array
    for (const [at, value] of (before[resid]!.data as Float32Array).subarray(0, 8).entries()) difference[at] = difference[at]! - value
    expect(Math.hypot(...difference)).toBeCloseTo(3, 5)
  })

  test('edits apply in order: set then scale is not scale then set, and zero after anything is zero', async () => {
    const set: Edit = { hookPoint: resid, op: 'set', vector: w }
    const scale: Edit = { hookPoint: resid, op: 'scale', strength: 2 }
    const last = async (edits: Edit[]) =>
      [...((await run(backend, tower, { edits, read: [resid] })).values[resid]!.data as Float32Array)].slice(0, 8)
    expect(await last([set, scale])).toEqual(Array.from(w, (value) => 2 * value))
    expect(await last([scale, set])).toEqual([...w])
    expect(await last([scale, add(1), { hookPoint: resid, op: 'zero' }])).toEqual(new Array(8).fill(0))
    expect(await last([{ hookPoint: resid, op: 'set', value: 0.25 }])).toEqual(new Array(8).fill(0.25))
  })

  test('projecting out leaves nothing along the direction, and doing it again changes nothing', async () => {
    const out: Edit = { hookPoint: resid, op: 'project-out', vector: v }
    const once = await run(backend, tower, { edits: [out], read: [resid] })
    const twice = await run(backend, tower, { edits: [out, out], read: [resid] })
    expect(twice.values[resid]).toBeCloseTensor(once.values[resid]!, { tolerance: 1e-6 })
    for (const along of alongLastAxis(once.values[resid]!, v)) expect(Math.abs(along)).toBeLessThan(1e-5)
  })

  test('clamping brings the component along a direction between the bounds and leaves the rest', async () => {
    const clamp: Edit = { hookPoint: resid, op: 'clamp-projection', vector: v, min: -0.25, max: 0.5 }
    const before = await run(backend, tower, { read: [resid] })
    const after = await run(backend, tower, { edits: [clamp], read: [resid] })
    const [unclamped, clamped] = [alongLastAxis(before.values[resid]!, v), alongLastAxis(after.values[resid]!, v)]
    expect(unclamped.some((along) => along > 0.5 || along < -0.25)).toBe(true)
    for (const [at, along] of unclamped.entries()) expect(clamped[at]).toBeCloseTo(Math.min(0.5, Math.max(-0.25, along)), 5)
    const out: Edit = { hookPoint: resid, op: 'project-out', vector: v }
    const rest = await run(backend, tower, { edits: [out], read: [resid] })
    const restAfter = await run(backend, tower, { edits: [clamp, out], read: [resid] })
    expect(restAfter.values[resid]).toBeCloseTensor(rest.values[resid]!)
  })

  test('one bound is enough', async () => {
    const high: Edit = { hookPoint: resid, op: 'clamp-projection', vector: v, min: 7 }
    const { values } = await run(backend, tower, { edits: [high], read: [resid] })
    for (const along of alongLastAxis(values[resid]!, v)) expect(along).toBeCloseTo(7, 5)
  })

  test.each([
    { hookPoint: resid, positions: 'cls' as const, changed: [0] },
    { hookPoint: resid, positions: 'patches' as const, changed: [2, 3, 4, 5] },
    { hookPoint: resid, positions: [1, 5], changed: [1, 5] },
    { hookPoint: 'hook_embed', positions: 'patches' as const, changed: [0, 1, 2, 3] },
    { hookPoint: 'hook_embed', positions: [3], changed: [3] },
    { hookPoint: 'blocks.1.ln2.hook_scale', positions: 'cls' as const, changed: [0] },
  ])('positions $positions at $hookPoint touch only positions $changed', async ({ hookPoint, positions, changed }) => {
    const length = lengthAt(hookPoint)
    const before = await run(backend, tower, { edits: [{ hookPoint, op: 'scale', strength: 1 }], read: [hookPoint], seeds: [1, 2] })
    const after = await run(backend, tower, { edits: [{ hookPoint, positions, op: 'set', value: 9 }], read: [hookPoint], seeds: [1, 2] })
    const nPositions = before.values[hookPoint]!.shape[1]!
    for (const [at, value] of after.values[hookPoint]!.data.entries()) {
      const isChanged = changed.includes(Math.floor(Number(at) / length) % nPositions)
      expect(value).toBe(isChanged ? 9 : before.values[hookPoint]!.data[Number(at)])
    }
  })

  test('heads and positions together touch only those heads at those positions', async () => {
    for (const [name, headAt, positionAt] of [
      ['blocks.0.attn.hook_z', 4, 8],
      ['blocks.0.attn.hook_pattern', 36, 6],
    ] as const) {
      const before = await run(backend, tower, { read: [name] })
      const after = await run(backend, tower, { edits: [{ hookPoint: name, heads: [1], positions: [2], op: 'zero' }], read: [name] })
      const nPositions = 6
      for (const [at, value] of after.values[name]!.data.entries()) {
        const isChanged = Math.floor(Number(at) / headAt) % 2 === 1 && Math.floor(Number(at) / positionAt) % nPositions === 2
        expect(value).toBe(isChanged ? 0 : before.values[name]!.data[Number(at)])
      }
    }
  })

  test('patching from another input gives its value to every row, and its answer when the whole residual stream is patched', async () => {
    const last = 'blocks.1.hook_resid_post'
    const edits: Edit[] = [{ hookPoint: last, op: 'patch', source: { input: 1 } }]
    const clean = await run(backend, tower, { seeds: [1, 2, 3] })
    const patched = await run(backend, tower, { edits, seeds: [1, 2, 3] })
    for (const index of [0, 1, 2]) expect(row(patched.output, index)).toBeCloseTensor(row(clean.output, 1))
  })

  test('patching from values takes one row for all inputs, or one for each', async () => {
    const { values } = await run(backend, tower, { read: [resid], seeds: [4, 5] })
    const cached = values[resid]! as Tensor<'float32'>
    const clean = await run(backend, tower, { seeds: [4, 5] })
    const patch = ({ shape, data }: Tensor): Edit => ({
      hookPoint: resid,
      op: 'patch',
      source: { values: { shape, data: data as Float32Array } },
    })
    const each = await run(backend, tower, { edits: [patch(cached)], seeds: [1, 2] })
    expect(each.output).toBeCloseTensor(clean.output)
    const one = await run(backend, tower, { edits: [patch(row(cached, 1))], seeds: [1, 2] })
    for (const index of [0, 1]) expect(row(one.output, index)).toBeCloseTensor(row(clean.output, 1))
  })

  test('mean ablation takes the mean over the inputs at each position, or a stored mean', async () => {
    const before = await run(backend, tower, { read: [resid], seeds: [1, 2, 3] })
    const after = await run(backend, tower, { edits: [{ hookPoint: resid, op: 'mean' }], read: [resid], seeds: [1, 2, 3] })
    const rows = [0, 1, 2].map((index) => row(before.values[resid]!, index).data as Float32Array)
    const expected = rows[0]!.map((value, at) => (value + rows[1]![at]! + rows[2]![at]!) / 3)
    for (const index of [0, 1, 2]) {
      expect(row(after.values[resid]!, index)).toBeCloseTensor({ ...row(before.values[resid]!, 0), data: expected } as Tensor, {
        tolerance: 1e-6,
      })
    }
    const stored = await run(backend, tower, { edits: [{ hookPoint: resid, op: 'mean', vector: w }], read: [resid] })
    expect(Array.from((stored.values[resid]!.data as Float32Array).subarray(0, 8))).toEqual([...w])
  })

  test('a hook point that fires three times is edited at each firing', async () => {
    const wide = visionTower(['blocks.0.hook_q_input'])
    const name = 'blocks.0.ln1.hook_normalized'
    const edits: Edit[] = [{ hookPoint: name, op: 'zero' }]
    const read = ['q', 'k', 'v'].map((letter) => `blocks.0.attn.hook_${letter}`)
    const { values } = await run(backend, wide, { edits, read })
    for (const [index, letter] of ['q', 'k', 'v'].entries()) {
      const bias = wide.weights[`blocks.0.attn.b_${letter.toUpperCase()}`]!.data as Float32Array
      const first = (values[read[index]!]!.data as Float32Array).subarray(0, bias.length)
      for (const [at, value] of bias.entries()) expect(first[at]).toBeCloseTo(value, 6)
    }
  })

  test('scores behind a causal mask stay minus infinity, whatever is done to the others', async () => {
    const text = textTower()
    const name = 'blocks.0.attn.hook_attn_scores'
    const vector = randomVector(5, 4)
    const edits: Edit[] = [
      { hookPoint: name, op: 'scale', strength: -3 },
      { hookPoint: name, op: 'project-out', vector },
      { hookPoint: name, op: 'clamp-projection', vector, max: 0.1 },
      add(2, { hookPoint: name, vector } as Partial<Edit>),
      { hookPoint: name, op: 'scale', strength: 0 },
    ]
    const { output, values } = await run(backend, text, { edits, read: [name, 'blocks.0.attn.hook_pattern'] })
    const masked = (nSeen: number) => Array.from({ length: 5 }, (_, key) => (key < nSeen ? 0 : Number.NEGATIVE_INFINITY))
    const scores = Array.from(values[name]!.data as Float32Array, (value) => value + 0) // -0 + 0 is 0
    expect(scores.slice(0, 10)).toEqual([...masked(1), ...masked(2)])
    const pattern = Array.from(values['blocks.0.attn.hook_pattern']!.data as Float32Array)
    expect(pattern.slice(5, 10)).toEqual([0.5, 0.5, 0, 0, 0])
    expect(Array.from(output.data as Float32Array).every(Number.isFinite)).toBe(true)
  })

  test('two requests of equal structure in one batch equal both by themselves', async () => {
    const values = (await run(backend, tower, { read: [resid], seeds: [9] })).values[resid]! as Tensor<'float32'>
    const request = (strength: number, positions: NonNullable<Edit['positions']>, input: number): Edit[] => [
      { hookPoint: 'hook_embed', op: 'patch', positions: [input], source: { input } },
      { hookPoint: resid, op: 'patch', positions, source: { values: { shape: values.shape, data: values.data } } },
      add(strength, { positions } as Partial<Edit>),
      { hookPoint: 'blocks.1.attn.hook_z', heads: [input], op: 'zero' },
    ]
    const requests = [
      { edits: request(1.5, 'cls', 1), seeds: [1, 2] },
      { edits: request(-2, [0, 3], 0), seeds: [3, 4, 5] },
      { edits: request(0.5, 'all', 1), seeds: [6, 7] },
    ]
    const alone = await Promise.all(requests.map((each) => run(backend, tower, each)))
    const { graph, roles, couplesRows, needsWholeRequest } = applyEdits(tower.graph, requests[0]!.edits, tower)
    expect({ couplesRows, needsWholeRequest }).toEqual({ couplesRows: false, needsWholeRequest: true })
    const shares = requests.map(({ edits, seeds }) => ({ nRows: seeds.length, inputs: editInputs(edits, tower, seeds.length) }))
    const pixels = stack(requests.flatMap(({ seeds }) => seeds.map(tower.input)))
    const together = await runGraph(backend, tower, { graph, inputs: { pixels, ...mergeEditInputs(shares, roles) } })
    expect(together.output).toBeCloseTensor(stack(alone.map(({ output }) => output)))
  })
})

describe('structure', () => {
  const hash = (edits: Edit[]) => structureHash(applyEdits(tower.graph, edits, tower).graph)
  const same = (one: Edit, other: Edit) => {
    expect(editStructure([one])).toBe(editStructure([other]))
    expect(hash([one])).toBe(hash([other]))
  }

  test('numbers, positions and heads leave no trace in it', () => {
    same(add(1), add(-7, { vector: w, unit: 'norm', positions: [2] } as Partial<Edit>))
    const z = 'blocks.0.attn.hook_z'
    same({ hookPoint: z, op: 'scale', strength: 0 }, { hookPoint: z, op: 'scale', strength: 5, heads: [1], positions: 'cls' })
    same({ hookPoint: z, op: 'patch', source: { input: 0 } }, { hookPoint: z, op: 'patch', source: { input: 3 } })
    same({ hookPoint: resid, op: 'clamp-projection', vector: v, min: 0 }, { hookPoint: resid, op: 'clamp-projection', vector: w, max: 2 })
  })

  test('every replacement by a vector is the same', () => {
    same({ hookPoint: resid, op: 'zero' }, { hookPoint: resid, op: 'set', vector: v })
    same({ hookPoint: resid, op: 'set', value: 3 }, { hookPoint: resid, op: 'mean', vector: w })
  })

  test('other techniques, hook points and orders are other structures', () => {
    const scale: Edit = { hookPoint: resid, op: 'scale', strength: 1 }
    const lists: Edit[][] = [
      [],
      [add(1)],
      [scale],
      [add(1), scale],
      [scale, add(1)],
      [add(1, { hookPoint: 'hook_embed' } as Partial<Edit>)],
      [{ hookPoint: resid, op: 'mean' }],
    ]
    expect(new Set(lists.map(editStructure)).size).toBe(lists.length)
    expect(new Set(lists.map(hash)).size).toBe(lists.length)
  })

  test('only the mean over inputs couples rows; only it and patching from an input need the whole request', () => {
    const flags = (edit: Edit) => {
      const { couplesRows, needsWholeRequest } = applyEdits(tower.graph, [edit], tower)
      return [couplesRows, needsWholeRequest]
    }
    expect(flags({ hookPoint: resid, op: 'mean' })).toEqual([true, true])
    expect(flags({ hookPoint: resid, op: 'patch', source: { input: 0 } })).toEqual([false, true])
    expect(flags({ hookPoint: resid, op: 'mean', vector: v })).toEqual([false, false])
    expect(flags(add(1))).toEqual([false, false])
  })

  test('the graph that was edited stays as it was', () => {
    const before = structureHash(tower.graph)
    applyEdits(tower.graph, [add(1)], tower)
    expect(structureHash(tower.graph)).toBe(before)
  })
})

/** `x . v / |v|` of every row along the last axis. */
function alongLastAxis({ data }: Tensor, vector: Float32Array): number[] {
  const norm = Math.hypot(...vector)
  return Array.from({ length: data.length / vector.length }, (_, at) =>
    vector.reduce((sum, value, index) => sum + (value / norm) * Number(data[at * vector.length + index]), 0),
  )
}
