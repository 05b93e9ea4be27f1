import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { EngineError } from '../../../src/engine/errors.js'
import { GraphBuilder } from '../../../src/engine/graph/builder.js'
import type { Graph, Node } from '../../../src/engine/graph/graph.js'
import { findProblems, validate } from '../../../src/engine/graph/validate.js'
import { float32, scalar } from '../../../src/engine/tensor.js'
import { block, programs } from './small-graphs.js'

const graph = block()
const withNode = (index: number, change: Partial<Node>): Graph => ({
  ...graph,
  nodes: graph.nodes.with(index, { ...graph.nodes[index]!, ...change }),
})
const indexOf = (op: string) => graph.nodes.findIndex((node) => node.op === op)

test('valid graphs have no problems', () => {
  expect(findProblems(block('fused'))).toEqual([])
  expect(findProblems(block('written out'))).toEqual([])
  fc.assert(fc.property(programs, (program) => void expect(findProblems(program)).toEqual([])))
})

test('gives the type of every value', () => {
  const types = validate(graph)
  expect(types.get('hook_post')).toEqual({ dtype: 'float32', shape: ['batch', 3, 6] })
  expect(types.get(graph.outputs[0]!)).toEqual({ dtype: 'float32', shape: ['batch', 2] })
  for (const node of graph.nodes) for (const output of node.outputs) expect(types.has(output)).toBe(true)
})

describe('finds', () => {
  const gemm = indexOf('Gemm')
  test.each<[string, Graph, string, string]>([
    ['an operator that is none', withNode(gemm, { op: 'Gem' as never }), `nodes[${gemm}]`, '"Gem" is not an operator'],
    ['an operator named like a method of objects', withNode(gemm, { op: 'toString' as never }), `nodes[${gemm}]`, 'is not an operator'],
    ['too few inputs', withNode(gemm, { inputs: ['w_in'] }), `nodes[${gemm}]`, 'has 1 inputs; Gemm takes 2 to 3'],
    ['too many inputs', withNode(gemm, { inputs: ['w_in', 'w_in', 'b_in', 'b_in'] }), `nodes[${gemm}]`, 'has 4 inputs'],
    ['a needed input that is absent', withNode(gemm, { inputs: ['', 'w_in'] }), `nodes[${gemm}]`, 'input 0 is absent'],
    ['too many outputs', withNode(gemm, { outputs: ['a', 'b'] }), `nodes[${gemm}]`, 'has 2 outputs; Gemm takes 1'],
    ['an output without a name', withNode(indexOf('LayerNormalization'), { outputs: ['a', '', 'c'] }), 'nodes[1]', 'output 1 has no name'],
    [
      'an attribute that it does not have',
      withNode(gemm, { attributes: { transpose: 1 } }),
      `nodes[${gemm}]`,
      'attribute "transpose"; Gemm has alpha',
    ],
    ['an attribute of objects', withNode(gemm, { attributes: { constructor: 1 } }), `nodes[${gemm}]`, 'attribute "constructor"'],
    [
      'an attribute of the wrong kind',
      withNode(gemm, { attributes: { transB: 'yes' } }),
      `nodes[${gemm}]`,
      'attribute "transB" is "yes"; expected 0 or 1',
    ],
    ['a fraction for a whole number', withNode(gemm, { attributes: { transB: 0.5 } }), `nodes[${gemm}]`, 'expected 0 or 1'],
    [
      'a required attribute that is missing',
      withNode(gemm, { op: 'Concat', attributes: {} }),
      `nodes[${gemm}]`,
      'lacks the attribute "axis"',
    ],
    ['a dtype that is none', withNode(0, { op: 'Cast', attributes: { to: 'float16' } }), 'nodes[0]', 'the name of a dtype'],
    [
      'a value that nothing defines',
      withNode(gemm, { inputs: ['nobody', 'w_in'] }),
      `nodes[${gemm}]`,
      'reads "nobody", which nothing defines',
    ],
    ['a value read before it is made', withNode(1, { inputs: ['hook_post', 'ln.w'] }), 'nodes[1]', 'reads "hook_post" before it is made'],
    ['a node that reads itself', withNode(0, { inputs: ['hook_resid_pre'] }), 'nodes[0]', 'before it is made'],
    [
      'a value made twice',
      { ...graph, nodes: [...graph.nodes, graph.nodes[0]!] },
      `nodes[${graph.nodes.length}]`,
      'value "hook_resid_pre" is defined twice',
    ],
    [
      'an input that is also a parameter',
      { ...graph, parameters: { ...graph.parameters, x: graph.inputs.x! } as never },
      'parameters["x"]',
      'defined twice',
    ],
    ['an unknown output', { ...graph, outputs: ['nobody'] }, 'outputs[0]', '"nobody" is not a value'],
    ['an output listed twice', { ...graph, outputs: ['hook_pre', 'hook_pre'] }, 'outputs[1]', 'an output twice'],
    ['no output', { ...graph, outputs: [] }, 'outputs', 'no output'],
    [
      'an axis that is no length',
      { ...graph, inputs: { x: { dtype: 'float32', shape: ['batch', 3.5, 4] } } },
      'inputs["x"]',
      'axis length 3.5',
    ],
    [
      'an axis that is an expression',
      { ...graph, inputs: { ...graph.inputs, z: { dtype: 'float32', shape: ['2*batch'] } } },
      'inputs["z"]',
      '"2*batch"',
    ],
    [
      'a parameter of symbolic shape',
      { ...graph, parameters: { ...graph.parameters, p: { dtype: 'float32', shape: ['n'] } } },
      'parameters["p"]',
      '"n"',
    ],
    [
      'an unknown dtype',
      { ...graph, inputs: { ...graph.inputs, z: { dtype: 'float16' as never, shape: [] } } },
      'inputs["z"]',
      '"float16" is not a dtype',
    ],
    [
      'a literal of the wrong length',
      { ...graph, constants: { ...graph.constants, c: { ...scalar(1), shape: [2] } } },
      'constants["c"]',
      'has 1 elements for shape [2]',
    ],
    [
      'a hook point without a value',
      { ...graph, hookPoints: [{ name: 'gone', axes: [], firings: ['gone'] }] },
      'hookPoints["gone"]',
      '"gone" is not a value',
    ],
    [
      'a hook point without firings',
      { ...graph, hookPoints: [{ name: 'gone', axes: [], firings: [] }] },
      'hookPoints["gone"]',
      'its last firing must be',
    ],
    [
      'a hook point whose axes do not match',
      { ...graph, hookPoints: [{ ...graph.hookPoints[0]!, axes: ['batch'] }] },
      'hookPoints["hook_resid_pre"]',
      'and 1 axes (batch)',
    ],
    [
      'two hook points of one name',
      { ...graph, hookPoints: [graph.hookPoints[0]!, graph.hookPoints[0]!] },
      'hookPoints["hook_resid_pre"]',
      'taken',
    ],
  ])('%s', (_, broken, path, message) => {
    const problems = findProblems(broken)
    const found = problems.find((problem) => problem.path.startsWith(path) && problem.message.includes(message))
    expect(found, JSON.stringify(problems)).toBeDefined()
    expect(() => validate(broken)).toThrow(expect.objectContaining({ code: 'GRAPH_INVALID' }))
  })
})

test('everything is reported at once, each with its place, and what follows from it is not', () => {
  const broken: Graph = {
    ...withNode(indexOf('Gemm'), { attributes: { transB: 2 } }),
    outputs: ['nobody', ...graph.outputs],
    hookPoints: [...graph.hookPoints, { name: 'gone', axes: [], firings: ['gone'] }],
  }
  expect(findProblems(broken).map(({ path }) => path)).toEqual([expect.stringContaining('(Gemm -> '), 'outputs[0]', 'hookPoints["gone"]'])
  try {
    validate(broken)
    expect.unreachable()
  } catch (error) {
    expect(error).toBeInstanceOf(EngineError)
    expect((error as EngineError).problems).toHaveLength(3)
    expect((error as EngineError).message).toContain('Graph "block" is not valid: nodes[')
  }
})

test('at most 100 problems are collected', () => {
  const outputs = Array.from({ length: 500 }, (_, at) => `nobody ${at}`)
  expect(findProblems({ ...graph, outputs })).toHaveLength(100)
})

test('any node that is taken away is missed', () => {
  const numbers = fc.nat(graph.nodes.length - 1)
  fc.assert(
    fc.property(numbers, (index) => void expect(findProblems({ ...graph, nodes: graph.nodes.toSpliced(index, 1) })).not.toEqual([])),
  )
})

test('any two nodes where the second reads the first cannot change places', () => {
  for (const [index, node] of graph.nodes.entries()) {
    const next = graph.nodes[index + 1]
    if (!next?.inputs.some((input) => node.outputs.includes(input))) continue
    const swapped = graph.nodes.with(index, next).with(index + 1, node)
    expect(findProblems({ ...graph, nodes: swapped }).some(({ message }) => message.includes('before it is made'))).toBe(true)
  }
})

describe('the builder', () => {
  test('refuses values that nothing defines, names that are taken and literals that are data', () => {
    const builder = new GraphBuilder('careful')
    builder.input('x', 'float32', [2])
    expect(() => builder.op('Neg', ['y'])).toThrow('which nothing defines')
    expect(() => builder.input('x', 'float32', [3])).toThrow('is declared as')
    expect(() => builder.parameter('x', [2])).toThrow('defined twice')
    expect(() => builder.input('__proto__', 'float32', [])).toThrow('cannot name a value')
    expect(() => builder.constant(float32([4097], new Float32Array(4097)))).toThrow('too large')
  })

  test('shares equal literals and parameters, and tells zero from negative zero', () => {
    const builder = new GraphBuilder('sharing')
    expect(builder.constant(float32([2], [1, 2]))).toBe(builder.constant(float32([2], [1, 2])))
    expect(builder.constant(scalar(0))).not.toBe(builder.constant(scalar(-0)))
    expect(builder.constant(float32([1], [0]))).not.toBe(builder.constant(float32([], [0])))
    expect(builder.parameter('w', [2])).toBe(builder.parameter('w', [2]))
    expect(() => builder.parameter('w', [3])).toThrow('is declared as')
  })

  test('puts an Identity before a hook point whose value is read elsewhere, so that an edit reaches only what comes after', () => {
    const builder = new GraphBuilder('hooks')
    const x = builder.input('x', 'float32', [2])
    const free = builder.op('Exp', [x])
    expect(builder.hook('free', ['dModel'], free)).toBe('free')
    const read = builder.op('Neg', [x])
    builder.op('Abs', [read])
    builder.hook('read', ['dModel'], read)
    builder.hook('again', ['dModel'], 'read')
    expect(builder.build(['again']).nodes.map(({ op, outputs }) => `${op} -> ${outputs}`)).toEqual([
      'Exp -> free',
      'Neg -> v1:Neg',
      'Abs -> v2:Abs',
      'Identity -> read',
      'Identity -> again',
    ])
  })
})
