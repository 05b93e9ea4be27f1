import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Graph } from '../../../src/engine/graph/graph.js'
import { structureHash } from '../../../src/engine/graph/hash.js'
import { parse } from '../../../src/engine/graph/parse.js'
import { print } from '../../../src/engine/graph/print.js'
import { int64, scalar, tensor } from '../../../src/engine/tensor.js'
import { block, programs } from './small-graphs.js'

const reversed = <T>(record: Readonly<Record<string, T>>) => Object.fromEntries(Object.entries(record).toReversed())

/** The same graph with every inner value, constants and hook points included, under another name. */
function renamed(graph: Graph): Graph {
  const kept = new Set([...Object.keys(graph.inputs), ...Object.keys(graph.parameters), ...graph.outputs, ''])
  const rename = (value: string) => (kept.has(value) ? value : `other ${value}`)
  return {
    ...graph,
    name: 'other',
    inputs: reversed(graph.inputs),
    parameters: reversed(graph.parameters),
    constants: Object.fromEntries(Object.entries(graph.constants).map(([name, literal]) => [rename(name), literal])),
    nodes: graph.nodes.map((node) => ({
      ...node,
      inputs: node.inputs.map(rename),
      outputs: node.outputs.map(rename),
      attributes: reversed(node.attributes),
    })),
    hookPoints: [],
  }
}

test('is sha256 in hex, the same every time', () => {
  expect(structureHash(block())).toMatch(/^[0-9a-f]{64}$/)
  expect(structureHash(block())).toBe(structureHash(parse(print(block()))))
})

test('does not depend on the names of the graph and of inner values, nor on the order of declarations', () => {
  expect(structureHash(renamed(block()))).toBe(structureHash(block()))
  fc.assert(fc.property(programs, (graph) => void expect(structureHash(renamed(graph))).toBe(structureHash(graph))))
})

describe('depends on', () => {
  const graph = block()
  const [gemm, add] = ['Gemm', 'Add'].map((op) => graph.nodes.findIndex((node) => node.op === op)) as [number, number]
  const withNode = (index: number, change: object): Graph => ({
    ...graph,
    nodes: graph.nodes.with(index, { ...graph.nodes[index]!, ...change }),
  })
  const literal = Object.keys(graph.constants).find((name) => name.includes('float32'))!
  const shape = Object.keys(graph.constants).find((name) => name.includes('int64[2]'))!

  test.each<[string, Graph]>([
    ['an operator', withNode(add, { op: 'Sub' })],
    ['an attribute', withNode(gemm, { attributes: { transB: 1, alpha: 0.5 } })],
    ['the sign of a zero', withNode(gemm, { attributes: { transB: 1, beta: -0 } })],
    ['which inputs', withNode(add, { inputs: graph.nodes[add]!.inputs.toReversed() })],
    ['an absent input', withNode(gemm, { inputs: graph.nodes[gemm]!.inputs.slice(0, 2) })],
    ['the number of outputs', withNode(1, { outputs: graph.nodes[1]!.outputs.slice(0, 1) })],
    ['the outputs', { ...graph, outputs: [...graph.outputs, 'hook_pre'] }],
    ['which value an output is', { ...graph, outputs: ['hook_pre'] }],
    ['the type of an input', { ...graph, inputs: { x: { dtype: 'float32', shape: ['batch', 3, 5] } } }],
    ['the name of a symbol', { ...graph, inputs: { x: { dtype: 'float32', shape: ['n', 3, 4] } } }],
    ['another parameter', { ...graph, parameters: { ...graph.parameters, more: { dtype: 'float32', shape: [] } } }],
    ['what a constant holds', { ...graph, constants: { ...graph.constants, [literal]: scalar(7) } }],
    ['the shape of a constant', { ...graph, constants: { ...graph.constants, [literal]: tensor('float32', [1], Float32Array.of(1)) } }],
    ['a constant shape', { ...graph, constants: { ...graph.constants, [shape]: int64([2], [-1, 8]) } }],
  ])('%s', (_, other) => {
    expect(structureHash(other)).not.toBe(structureHash(graph))
  })

  test('everything that two random programs differ in', () => {
    fc.assert(
      fc.property(programs, programs, (a, b) => {
        // Two programs are of one structure when they print alike, hook points aside and numbered as the builder does.
        const text = (program: Graph) => print({ ...anonymous(program), hookPoints: [] })
        expect(structureHash(a) === structureHash(b)).toBe(text(a) === text(b))
      }),
    )
  })
})

/** Values numbered by where they are made. */
function anonymous(graph: Graph): Graph {
  const numbers = new Map(graph.nodes.flatMap(({ outputs }) => outputs).map((output, at) => [output, `%${at}`]))
  const rename = (value: string) => (graph.outputs.includes(value) ? value : (numbers.get(value) ?? value))
  const used = new Set(graph.nodes.flatMap(({ inputs }) => inputs))
  return {
    ...graph,
    parameters: Object.fromEntries(Object.entries(graph.parameters).sort()),
    constants: Object.fromEntries(
      Object.entries(graph.constants)
        .filter(([name]) => used.has(name))
        .sort(),
    ),
    nodes: graph.nodes.map((node) => ({ ...node, inputs: node.inputs.map(rename), outputs: node.outputs.map(rename) })),
  }
}
