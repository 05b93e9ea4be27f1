import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { EngineError } from '../../../src/engine/errors.js'
import { GraphBuilder } from '../../../src/engine/graph/builder.js'
import { type EditSite, expose, replace, replaceEach } from '../../../src/engine/graph/edit.js'
import type { Graph } from '../../../src/engine/graph/graph.js'
import { inferTypes } from '../../../src/engine/graph/infer.js'
import { prune } from '../../../src/engine/graph/prune.js'
import { findProblems } from '../../../src/engine/graph/validate.js'
import { int64, scalar } from '../../../src/engine/tensor.js'
import '../close-tensor.js'
import { backends, onnxruntime, reference, runOnce } from '../each-backend.js'
import { block, dModel, feedsFor, type NormForm, nPos, programs } from './small-graphs.js'

const scaledBy = (factor: number) => (site: EditSite) => site.builder.op('Mul', [site.value, site.builder.constant(scalar(factor))])
const thrownBy = (run: () => unknown): EngineError => {
  try {
    run()
  } catch (error) {
    if (error instanceof EngineError) return error
    throw error
  }
  throw new Error('nothing was thrown')
}
const last = <T>(list: readonly T[]) => list.at(-1)!

describe('exposing', () => {
  test('adds hook points after the outputs there are, each once', () => {
    const graph = block()
    const exposed = expose(graph, ['hook_post', 'hook_pre', 'hook_post'])
    expect(exposed.outputs).toEqual([...graph.outputs, 'hook_post', 'hook_pre'])
    expect(expose(exposed, ['hook_pre'])).toBe(exposed)
  })

  test('names every unknown hook point, with the nearest known ones', () => {
    const error = thrownBy(() => expose(block(), ['hook_psot', 'hook_pre', 'nonsense']))
    expect(error.code).toBe('HOOK_POINT_UNKNOWN')
    expect(error.message).toContain('Did you mean "hook_post"')
    expect(error.problems.map(({ path }) => path)).toEqual(['hook_psot', 'nonsense'])
  })

  test('changes no bit of the result on onnxruntime', async () => {
    const backend = await onnxruntime.create()
    await fc.assert(
      fc.asyncProperty(programs, fc.nat(1000), async (graph, seed) => {
        const feeds = feedsFor(graph, { batch: 2, seed })
        const all = expose(
          graph,
          graph.hookPoints.map(({ name }) => name),
        )
        const [plain, exposed] = [await runOnce(backend, graph, feeds), await runOnce(backend, all, feeds)]
        expect(exposed[graph.outputs[0]!]).toEqual(plain[graph.outputs[0]!])
      }),
      { numRuns: 150 },
    )
  })
})

describe.each(backends)('replacing on %s', async (underTest) => {
  const backend = await underTest.create()
  const feeds = feedsFor(block(), { batch: 2, seed: 5 })
  const outputOf = async (graph: Graph) => (await runOnce(backend, graph, { ...feeds, fetch: [graph.outputs[0]!] }))[graph.outputs[0]!]!

  describe.each<NormForm>(['fused', 'written out'])('with LayerNormalization %s', (form) => {
    const graph = block(form)
    const hookPoints = graph.hookPoints.map(({ name }) => name)

    test.each(hookPoints)('an edit of %s changes the output, and a read of it returns the edited value', async (hookPoint) => {
      const original = expose(graph, [hookPoint])
      const edited = expose(replace(graph, hookPoint, scaledBy(3)), [hookPoint])
      expect(findProblems(edited)).toEqual([])
      const [before, after] = [await runOnce(backend, original, feeds), await runOnce(backend, edited, feeds)]
      expect(after[graph.outputs[0]!]).not.toBeCloseTensor(before[graph.outputs[0]!]!, { tolerance: 1e-3 })
      if (hookPoint === 'normed') return // its last firing is 3 times what feeds into it, whichever came before
      const tripled = (before[hookPoint]!.data as Float32Array).map((value) => value * 3)
      expect(after[hookPoint]).toBeCloseTensor({ ...before[hookPoint]!, data: tripled }, { tolerance: 1e-6 })
    })

    test.each(hookPoints)('an edit of %s by the identity changes nothing', async (hookPoint) => {
      const edited = replace(graph, hookPoint, ({ builder, value }) => builder.op('Identity', [value]))
      expect(await outputOf(edited)).toBeCloseTensor(await outputOf(graph))
    })

    test('edits of one hook point follow one another', async () => {
      const twice = replace(replace(graph, 'ln.hook_scale', scaledBy(2)), 'ln.hook_scale', scaledBy(5))
      expect(await outputOf(twice)).toBeCloseTensor(await outputOf(replace(graph, 'ln.hook_scale', scaledBy(10))))
      expect(twice.nodes.flatMap(({ outputs }) => outputs)).toEqual(
        expect.arrayContaining(['ln.hook_scale@0', 'ln.hook_scale@1', 'ln.hook_scale']),
      )
    })
  })

  test('edits of different hook points may be listed in any order, the scale after the result that it is a part of', async () => {
    const edits = ['ln.hook_normalized', 'ln.hook_scale', 'hook_resid_pre'].map((hookPoint, index) => ({
      hookPoint,
      // several operators, so that the names of the edits meet those of the norm's own body
      edit: (site: EditSite) => [1, 2, 3, 4].reduce((value) => scaledBy(index + 2)({ ...site, value }), site.value),
    }))
    const feeds = feedsFor(block(), { batch: 2, seed: 11 })
    const answers = []
    for (const order of [edits, edits.toReversed()]) {
      const graph = replaceEach(block(), order).graph
      expect(findProblems(graph)).toEqual([])
      answers.push((await runOnce(backend, graph, feeds))[graph.outputs[0]!]!)
    }
    expect(answers[0]).toBeCloseTensor(answers[1]!)
  })

  test('both forms of LayerNormalization mean the same under an edit of the scale', async () => {
    const [fused, writtenOut] = [
      replace(block('fused'), 'ln.hook_scale', scaledBy(1.7)),
      replace(block('written out'), 'ln.hook_scale', scaledBy(1.7)),
    ]
    expect(await outputOf(fused)).toBeCloseTensor(await outputOf(writtenOut))
  })

  test('the order of reading and editing does not matter', async () => {
    const one = expose(replace(block(), 'ln.hook_scale', scaledBy(2)), ['ln.hook_scale'])
    const other = replace(expose(block(), ['ln.hook_scale']), 'ln.hook_scale', scaledBy(2))
    expect(await runOnce(backend, one, feeds)).toEqual(await runOnce(backend, other, feeds))
  })

  test('an edit may bring inputs of its own, shared by the firings', async () => {
    const graph = block()
    const edited = replace(graph, 'normed', ({ builder, value }) =>
      builder.op('Add', [value, builder.input('direction', 'float32', [dModel])]),
    )
    expect(Object.keys(edited.inputs)).toEqual(['x', 'direction'])
    const run = (direction: number[]) =>
      runOnce(backend, edited, {
        ...feeds,
        inputs: { ...feeds.inputs, direction: { dtype: 'float32', shape: [dModel], data: Float32Array.from(direction) } },
      })
    const [still, moved] = [await run([0, 0, 0, 0]), await run([1, 0, 0, 2])]
    expect(still[graph.outputs[0]!]).toBeCloseTensor(await outputOf(graph))
    expect(moved[graph.outputs[0]!]).not.toBeCloseTensor(await outputOf(graph))
  })

  test('a value from elsewhere can take the place of the hook point', async () => {
    const patched = replace(block(), 'hook_pre', ({ builder }) => builder.input('patch', 'float32', ['batch', nPos, 6]))
    const patch = (await runOnce(backend, expose(block(), ['hook_pre']), feeds)).hook_pre!
    const output = await runOnce(backend, patched, { ...feeds, inputs: { ...feeds.inputs, patch } })
    expect(output[patched.outputs[0]!]).toEqual(await outputOf(block()))
  })

  test('pruning keeps the outputs', async () => {
    const wide = replace(replace(block(), 'ln.hook_scale', scaledBy(2)), 'hook_post', ({ builder }) =>
      builder.input('post', 'float32', ['batch', nPos, 6]),
    )
    const pruned = prune(wide)
    expect(findProblems(pruned)).toEqual([])
    const post = (await runOnce(backend, expose(block(), ['hook_post']), feeds)).hook_post!
    const run = async (graph: Graph) => await runOnce(backend, graph, { inputs: { ...feeds.inputs, post }, weights: feeds.weights })
    expect(await run(pruned)).toEqual(await run(wide))
  })
})

describe('replacing', () => {
  test('gives the edit the type of the value and the number of the firing', () => {
    const seen: unknown[] = []
    replace(block(), 'normed', (site) => {
      seen.push([site.firing, site.value, site.type(), site.hookPoint.name])
      return site.value
    })
    const type = { dtype: 'float32', shape: ['batch', nPos, dModel] }
    expect(seen).toEqual([
      [0, 'normed#0@0', type, 'normed'],
      [1, 'normed#1@0', type, 'normed'],
      [2, 'normed@0', type, 'normed'],
    ])
  })

  test('leaves the graph as it was', () => {
    const graph = block()
    const before = structuredClone(graph)
    expose(replace(graph, 'ln.hook_scale', scaledBy(2)), ['hook_pre'])
    expect(graph).toEqual(before)
  })

  test('an edit that returns the value it was given adds nothing', () => {
    const graph = block()
    expect(replace(graph, 'hook_pre', ({ value }) => value)).toBe(graph)
  })

  test('an unknown hook point is refused with the nearest names', () => {
    expect(thrownBy(() => replace(block(), 'hook_pree', scaledBy(1))).message).toContain('Did you mean "hook_pre"')
  })

  test('an edited value of another shape or type is refused', () => {
    const dropped = thrownBy(() =>
      replace(block(), 'hook_pre', ({ builder, value }) => builder.op('ReduceSum', [value, builder.constant(int64([1], [0]))])),
    )
    expect(dropped).toMatchObject({ code: 'SHAPE_MISMATCH', details: { expected: ['batch', nPos, 6], actual: [1, nPos, 6] } })
    const cast = thrownBy(() => replace(block(), 'hook_pre', ({ builder, value }) => builder.op('Cast', [value], { to: 'int64' })))
    expect(cast.message).toContain('int64')
  })

  test('an edit can read only what is made before the hook point', () => {
    const readLater = () => replace(block(), 'hook_pre', ({ builder, value }) => builder.op('Add', [value, 'hook_post']))
    expect(readLater).toThrow('made only later')
  })

  test('an edit that nothing could notice is refused', () => {
    const builder = new GraphBuilder('dead end')
    const x = builder.input('x', 'float32', ['batch'])
    builder.hook('unused', ['batch'], builder.op('Exp', [x]))
    const graph = builder.build([builder.op('Neg', [x])])
    expect(thrownBy(() => replace(graph, 'unused', scaledBy(2)))).toMatchObject({ code: 'EDIT_INVALID' })
    // Reading it is another matter.
    expect(last(expose(graph, ['unused']).outputs)).toBe('unused')
  })
})

test('random programs: many edits at once are the same edits one by one, and the types that come back are those of the graph', () => {
  const isRead = (graph: Graph, value: string) => graph.nodes.some(({ inputs }) => inputs.includes(value))
  const editsOf = (graph: Graph) => {
    const names = graph.hookPoints.map(({ name }) => name).filter((name) => isRead(graph, name))
    const edit = fc.record({ hookPoint: fc.nat().map((at) => names[at % names.length]!), factor: fc.integer({ min: 2, max: 4 }) })
    return fc.array(edit, { maxLength: names.length === 0 ? 0 : 8 })
  }
  const blocks = fc.constantFrom(block('fused'), block('written out'))
  const edited = fc.oneof(programs, blocks).chain((graph) => fc.record({ graph: fc.constant(graph), edits: editsOf(graph) }))
  fc.assert(
    fc.property(edited, ({ graph, edits }) => {
      const before = structuredClone(graph)
      const oneByOne = edits.reduce((current, { hookPoint, factor }) => replace(current, hookPoint, scaledBy(factor)), graph)
      const atOnce = replaceEach(
        graph,
        edits.map(({ hookPoint, factor }) => ({ hookPoint, edit: scaledBy(factor) })),
      )
      expect(atOnce.graph).toEqual(oneByOne)
      expect(new Map(atOnce.types)).toEqual(inferTypes(oneByOne))
      expect(graph).toEqual(before)
    }),
    { numRuns: 100 },
  )
})

test('pruning drops nodes, parameters, constants and hook points that no output needs, and keeps inputs', () => {
  const graph = block()
  const early = prune({ ...graph, outputs: ['ln.hook_scale'] })
  expect(early.nodes.map(({ op }) => op)).toEqual(['Identity', 'LayerNormalization', 'Reciprocal'])
  expect(Object.keys(early.parameters)).toEqual(['ln.w', 'ln.b'])
  expect(early.constants).toEqual({})
  expect(early.inputs).toEqual(graph.inputs)
  expect(early.hookPoints.map(({ name }) => name)).toEqual(['hook_resid_pre', 'ln.hook_scale', 'ln.hook_normalized'])
})

test('random programs: replacing every hook point by itself changes nothing, and both backends agree', async () => {
  const [slow, fast] = [await reference.create(), await onnxruntime.create()]
  await fc.assert(
    fc.asyncProperty(programs, fc.nat(1000), async (graph, seed) => {
      const feeds = feedsFor(graph, { batch: 2, seed })
      const edited = graph.hookPoints
        // What nothing reads cannot be edited.
        .filter(({ name }) => graph.nodes.some(({ inputs }) => inputs.includes(name)))
        .reduce((current, { name }) => replace(current, name, ({ builder, value }) => builder.op('Identity', [value])), graph)
      expect(findProblems(edited)).toEqual([])
      const [plain, again, other] = [
        await runOnce(slow, graph, feeds),
        await runOnce(slow, edited, feeds),
        await runOnce(fast, edited, feeds),
      ]
      expect(again).toEqual(plain)
      expect(other[graph.outputs[0]!]).toBeCloseTensor(plain[graph.outputs[0]!]!, { tolerance: 3e-5 })
    }),
    { numRuns: 60 },
  )
})
