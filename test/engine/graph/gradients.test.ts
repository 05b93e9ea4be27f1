import { describe, expect, test } from 'vitest'
import { GraphBuilder } from '../../../src/engine/graph/builder.js'
import { differentiate, gradientName } from '../../../src/engine/graph/differentiate.js'
import type { Graph } from '../../../src/engine/graph/graph.js'
import { inferTypes } from '../../../src/engine/graph/infer.js'
import { type OpName, operators, opNames } from '../../../src/engine/graph/operators.js'
import { findProblems, validate } from '../../../src/engine/graph/validate.js'
import { type Tensor, tensor } from '../../../src/engine/tensor.js'
import '../close-tensor.js'
import { caseGraph, operatorCases } from '../backends/operator-cases.js'
import { onnxruntime, reference, runOnce } from '../each-backend.js'
import { differenceQuotients } from './difference-quotients.js'
import { type GradientCase, gradientCases } from './gradient-cases.js'

const withRule = opNames.filter((op) => operators[op].gradient !== 'none')

test('every operator with a gradient rule has cases, and no other', () => {
  expect(Object.keys(gradientCases).sort()).toEqual([...withRule].sort())
  for (const op of withRule) expect(gradientCases[op]!.length, op).toBeGreaterThan(0)
})

test('operators without a rule make no floats of floats, or are piecewise constant', () => {
  const stepwise: readonly OpName[] = ['Sign']
  for (const op of opNames.filter((op) => operators[op].gradient === 'none' && !stepwise.includes(op))) {
    for (const each of operatorCases[op]) {
      const types = validate(caseGraph(op, each).graph)
      const isFloat = (value: string) => types.get(value)!.dtype.startsWith('float')
      expect(caseGraph(op, each).graph.outputs.filter(isFloat), op).toEqual([])
    }
  }
})

type Float = 'float32' | 'float64'

const asFloat = (of: Tensor, float: Float): Tensor =>
  of.dtype === 'float64' && float === 'float32' ? tensor('float32', of.shape, Float32Array.from(of.data as Float64Array)) : of

/** The node, and as its one output the sum of `y (y + 0.7)` over the elements of its float outputs. */
function lossOf(op: OpName, each: GradientCase, float: Float) {
  const builder = new GraphBuilder(op)
  const feeds: Record<string, Tensor> = {}
  const values = each.inputs.map((input, at) => {
    if (!input) return ''
    if ('literal' in input) return builder.constant(asFloat(input.literal, float))
    const fed = asFloat(input, float)
    feeds[`x${at}`] = fed
    const shape = fed.shape.map((length, axis) => each.symbols?.[at]?.[axis] ?? length)
    return builder.input(`x${at}`, fed.dtype, shape)
  })
  const attributes = each.attributes?.to ? { to: float } : (each.attributes ?? {})
  const outputs = builder.opMany(op, values, { nOutputs: each.nOutputs ?? 1, attributes })
  const types = inferTypes(builder.build(outputs))
  const some = builder.constant(asFloat(tensor('float64', [], Float64Array.of(0.7)), float))
  const losses = outputs
    .filter((output) => types.get(output)!.dtype === float)
    .map((y) => builder.op('ReduceSum', [builder.op('Mul', [y, builder.op('Add', [y, some])])], { keepdims: 0 }))
  const loss = builder.named(
    'loss',
    losses.reduce((left, right) => builder.op('Add', [left, right])),
  )
  const graph = builder.build([loss])
  return { graph, feeds, by: Object.keys(feeds).filter((name) => feeds[name]!.dtype === float) }
}

describe.each(withRule)('the gradient of %s', async (op) => {
  const [plain, fast] = await Promise.all([reference.create(), onnxruntime.create()])

  test.each([...gradientCases[op]!])('on $title: equals difference quotients in float64', async (each: GradientCase) => {
    const { graph, feeds, by } = lossOf(op, each, 'float64')
    const differentiated = differentiate(graph, 'loss', by)
    expect(findProblems(differentiated)).toEqual([])
    expect(differentiated.outputs).toEqual(['loss', ...by.map((name) => gradientName(name))])
    const types = inferTypes(differentiated)
    for (const name of by) {
      expect({ ...types.get(gradientName(name)) }).toMatchObject({ dtype: 'float64', shape: graph.inputs[name]!.shape })
    }
    const actual = await runOnce(plain, differentiated, { inputs: feeds })
    const expected = await differenceQuotients(plain, graph, { inputs: feeds, by })
    for (const name of by) expect(actual[gradientName(name)], name).toBeCloseTensor(expected[name]!, { tolerance: 1e-7 })
  })

  test.each([...gradientCases[op]!])('on $title: can be differentiated again', async (each: GradientCase) => {
    const { graph, feeds, by } = lossOf(op, each, 'float64')
    const once = differentiate(graph, 'loss', by)
    const twice = differentiate(
      squares(
        once,
        by.map((name) => gradientName(name)),
      ),
      'squares',
      by,
      { prefix: 'again/' },
    )
    expect(findProblems(twice)).toEqual([])
    const actual = await runOnce(plain, twice, { inputs: feeds })
    const expected = await differenceQuotients(plain, { ...twice, outputs: ['squares'] }, { inputs: feeds, by })
    for (const name of by) expect(actual[gradientName(name, 'again/')], name).toBeCloseTensor(expected[name]!, { tolerance: 1e-6 })
  })

  test.each([...gradientCases[op]!])('on $title: ONNX Runtime agrees with the reference', async (each: GradientCase) => {
    const { graph, feeds, by } = lossOf(op, each, 'float32')
    const differentiated = differentiate(graph, 'loss', by)
    const [expected, actual] = [
      await runOnce(plain, differentiated, { inputs: feeds }),
      await runOnce(fast, differentiated, { inputs: feeds }),
    ]
    for (const output of differentiated.outputs) expect(actual[output], output).toBeCloseTensor(expected[output]!)
  })
})

/** With one more output: the sum of the squares of some of its values. */
function squares(graph: Graph, values: readonly string[]): Graph {
  const types = inferTypes(graph)
  const around = { ...graph, whereMade: (value: string) => (types.has(value) ? ('before' as const) : undefined) }
  const b = new GraphBuilder(graph.name, { around, prefix: 'squares/' })
  const parts = values.map((value) => b.op('ReduceSumSquare', [value], { keepdims: 0 }))
  const output = b.named(
    'squares',
    parts.reduce((left, right) => b.op('Add', [left, right])),
  )
  return { ...graph, nodes: [...graph.nodes, ...b.nodes()], outputs: [...graph.outputs, output] }
}
