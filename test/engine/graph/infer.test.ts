import { describe, expect, test } from 'vitest'
import { GraphBuilder } from '../../../src/engine/graph/builder.js'
import type { Attribute, Dim } from '../../../src/engine/graph/graph.js'
import { inferTypes } from '../../../src/engine/graph/infer.js'
import type { OpName } from '../../../src/engine/graph/operators.js'
import { findProblems } from '../../../src/engine/graph/validate.js'
import { type DType, int64, type Tensor } from '../../../src/engine/tensor.js'

type Operand = readonly Dim[] | Tensor | { readonly dtype: DType; readonly shape: readonly Dim[] } | ''

const whole = (...elements: number[]) => int64([elements.length], elements)

function graphOf(op: OpName, operands: readonly Operand[], attributes: Readonly<Record<string, Attribute>>, nOutputs: number) {
  const builder = new GraphBuilder('rule')
  const values = operands.map((operand, at) => {
    if (operand === '') return ''
    if (Array.isArray(operand)) return builder.input(`x${at}`, 'float32', operand)
    return 'data' in operand ? builder.constant(operand) : builder.input(`x${at}`, (operand as Tensor).dtype, (operand as Tensor).shape)
  })
  return builder.build(builder.opMany(op, values, { nOutputs, attributes }))
}

/** `Reshape of [batch, 50] and 0,-1 with {}` */
function title(op: OpName, operands: readonly Operand[], attributes: Readonly<Record<string, Attribute>>): string {
  const show = (operand: Operand) => {
    if (operand === '') return 'nothing'
    if (Array.isArray(operand)) return `[${operand}]`
    return 'data' in operand
      ? Array.from(operand.data as Float32Array).join()
      : `${(operand as Tensor).dtype}[${(operand as Tensor).shape}]`
  }
  return `${op} of ${operands.map(show).join(' and ')} with ${JSON.stringify(attributes)}`
}

const titled = <T extends readonly [OpName, readonly Operand[], Readonly<Record<string, Attribute>>, unknown]>(rows: readonly T[]) =>
  rows.map(([op, operands, attributes, expected]) => ({
    title: title(op, operands, attributes),
    op,
    operands,
    attributes,
    expected: expected as T[3],
  }))

type Row = [
  op: OpName,
  operands: readonly Operand[],
  attributes: Readonly<Record<string, Attribute>>,
  expected: readonly (readonly Dim[])[],
]

describe('shapes with a symbolic batch', () => {
  test.each(
    titled<Row>([
      ['Add', [['batch', 50, 768], [768]], {}, [['batch', 50, 768]]],
      [
        'Add',
        [
          ['batch', 1, 4],
          [3, 1],
        ],
        {},
        [['batch', 3, 4]],
      ],
      [
        'Add',
        [
          [1, 3],
          ['batch', 1],
        ],
        {},
        [['batch', 3]],
      ],
      ['Where', [{ dtype: 'bool', shape: ['batch', 1] }, [4], []], {}, [['batch', 4]]],
      [
        'MatMul',
        [
          ['batch', 12, 50, 64],
          ['batch', 12, 64, 50],
        ],
        {},
        [['batch', 12, 50, 50]],
      ],
      [
        'MatMul',
        [
          ['batch', 50, 768],
          [768, 512],
        ],
        {},
        [['batch', 50, 512]],
      ],
      ['MatMul', [['batch', 'n'], ['n']], {}, [['batch']]],
      ['Gemm', [['batch', 8], [16, 8], [16]], { transB: 1 }, [['batch', 16]]],
      [
        'Conv',
        [
          ['batch', 3, 224, 224],
          [768, 3, 32, 32],
        ],
        { strides: [32, 32] },
        [['batch', 768, 7, 7]],
      ],
      ['Reshape', [['batch', 50, 768], whole(-1, 768)], {}, [['50*batch', 768]]],
      ['Reshape', [['batch', 50, 768], whole(0, 0, 12, 64)], {}, [['batch', 50, 12, 64]]],
      ['Reshape', [['batch', 50, 768], whole(0, -1)], {}, [['batch', 38400]]],
      ['Reshape', [['batch', 768, 7, 7], whole(-1, 768, 49)], {}, [['batch', 768, 49]]],
      ['Transpose', [['batch', 50, 12, 64]], { perm: [0, 2, 1, 3] }, [['batch', 12, 50, 64]]],
      [
        'Concat',
        [
          ['batch', 1, 8],
          ['batch', 49, 8],
        ],
        { axis: 1 },
        [['batch', 50, 8]],
      ],
      [
        'Concat',
        [
          ['batch', 8],
          ['batch', 8],
          [1, 8],
        ],
        { axis: 0 },
        [['1+2*batch', 8]],
      ],
      [
        'Split',
        [['batch', 9], whole(2, 7)],
        { axis: 1 },
        [
          ['batch', 2],
          ['batch', 7],
        ],
      ],
      [
        'Split',
        [['batch', 9]],
        { axis: 1, num_outputs: 2 },
        [
          ['batch', 5],
          ['batch', 4],
        ],
      ],
      ['Slice', [['batch', 50, 8], whole(1), whole(2 ** 31 - 1), whole(1)], {}, [['batch', 49, 8]]],
      ['Slice', [['batch', 50], whole(0), whole(1), whole(0)], {}, [[1, 50]]],
      ['Slice', [['batch', 50], whole(0), whole(2 ** 31 - 1), whole(0)], {}, [['batch', 50]]],
      ['Gather', [['batch', 50, 8], { dtype: 'int64', shape: [] }], { axis: 1 }, [['batch', 8]]],
      ['Gather', [[49408, 512], { dtype: 'int64', shape: ['batch', 77] }], {}, [['batch', 77, 512]]],
      ['GatherElements', [['batch', 50], { dtype: 'int64', shape: ['batch', 3] }], { axis: 1 }, [['batch', 3]]],
      ['ScatterElements', [['batch', 50], { dtype: 'int64', shape: ['batch', 3] }, ['batch', 3]], { axis: 1 }, [['batch', 50]]],
      [
        'TopK',
        [['batch', 6144], whole(64)],
        {},
        [
          ['batch', 64],
          ['batch', 64],
        ],
      ],
      ['ArgMax', [{ dtype: 'int64', shape: ['batch', 77] }], { axis: 1, keepdims: 0 }, [['batch']]],
      ['ReduceMean', [['batch', 50, 8], whole(-1)], {}, [['batch', 50, 1]]],
      ['ReduceMean', [['batch', 50, 8], whole(0)], { keepdims: 0 }, [[50, 8]]],
      ['ReduceSum', [['batch', 50]], { keepdims: 0 }, [[]]],
      [
        'LayerNormalization',
        [['batch', 50, 8], [8], [8]],
        {},
        [
          ['batch', 50, 8],
          ['batch', 50, 1],
          ['batch', 50, 1],
        ],
      ],
      ['Softmax', [['batch', 12, 50, 50]], {}, [['batch', 12, 50, 50]]],
      ['Squeeze', [['batch', 1, 8], whole(1)], {}, [['batch', 8]]],
      ['Unsqueeze', [['batch', 8], whole(1, -1)], {}, [['batch', 1, 8, 1]]],
      ['Shape', [['batch', 3, 8]], { end: 1 }, [[1]]],
      ['Clip', [['batch', 8], '', []], {}, [['batch', 8]]],
    ]),
  )('$title', ({ op, operands, attributes, expected }) => {
    const graph = graphOf(op, operands, attributes, expected.length)
    expect(findProblems(graph)).toEqual([])
    const types = inferTypes(graph)
    expect(graph.outputs.map((output) => types.get(output)!.shape)).toEqual(expected)
  })

  test('a shape may be put together from that of a value', () => {
    const builder = new GraphBuilder('repeat over the batch')
    const x = builder.input('x', 'float32', ['batch', 3, 8])
    const batch = builder.op('Shape', [x], { end: 1 })
    const shape = builder.op('Identity', [builder.op('Concat', [batch, builder.constant(whole(1, 8))], { axis: 0 })])
    const repeated = builder.op('Expand', [builder.parameter('cls', [8]), shape])
    const graph = builder.build([builder.op('Concat', [repeated, x], { axis: 1 })])
    expect(inferTypes(graph).get(graph.outputs[0]!)!.shape).toEqual(['batch', 4, 8])
  })
})

describe('dtypes', () => {
  test.each(
    titled<[OpName, readonly Operand[], Readonly<Record<string, Attribute>>, readonly DType[]]>([
      ['Cast', [[2]], { to: 'int64' }, ['int64']],
      ['Greater', [[2], [2]], {}, ['bool']],
      ['IsNaN', [[2]], {}, ['bool']],
      ['TopK', [[2], whole(1)], {}, ['float32', 'int64']],
      ['ArgMax', [[2]], {}, ['int64']],
      ['Shape', [[2]], {}, ['int64']],
      ['Gather', [[5, 2], { dtype: 'int32', shape: [3] }], {}, ['float32']],
    ]),
  )('$title', ({ op, operands, attributes, expected }) => {
    const types = inferTypes(graphOf(op, operands, attributes, expected.length))
    expect([...types.values()].slice(-expected.length).map(({ dtype }) => dtype)).toEqual(expected)
  })
})

describe('what does not fit is refused, with the reason', () => {
  const bool = { dtype: 'bool', shape: [2] } as const
  const ids = { dtype: 'int64', shape: [2] } as const
  test.each(
    titled<[OpName, readonly Operand[], Readonly<Record<string, Attribute>>, string]>([
      [
        'Add',
        [
          ['batch', 3],
          ['batch', 4],
        ],
        {},
        'do not broadcast',
      ],
      ['Add', [['batch'], ['other']], {}, 'do not broadcast'],
      ['Add', [['batch'], [4]], {}, 'do not broadcast'],
      ['Add', [[2], ids], {}, 'mix float32 and int64'],
      ['Add', [bool, bool], {}, 'input 0 is bool'],
      ['Div', [ids, ids], {}, 'input 0 is int64'],
      ['And', [[2], bool], {}, 'input 0 is float32'],
      ['Clip', [[2], [1]], {}, 'must be scalars'],
      ['Where', [[2], [2], [2]], {}, 'input 0 is float32'],
      [
        'MatMul',
        [
          [2, 3],
          [4, 5],
        ],
        {},
        'do not multiply',
      ],
      ['MatMul', [[], [2]], {}, 'a scalar'],
      [
        'Gemm',
        [
          [2, 3, 4],
          [4, 5],
        ],
        {},
        'matrices',
      ],
      [
        'Gemm',
        [
          [2, 3],
          [4, 3],
        ],
        {},
        'do not multiply',
      ],
      ['Gemm', [[2, 3], [3, 4], [3]], {}, 'does not broadcast'],
      ['AdamUpdate', [[2], [3], [2], [2], [], []], { beta1: 0.9, beta2: 0.999 }, 'its gradient and moments must be too, not [3]'],
      ['AdamUpdate', [[2], [2], [2], [2], [1], []], { beta1: 0.9, beta2: 0.999 }, 'must be scalars'],
      [
        'Conv',
        [
          [1, 4, 8, 8],
          [2, 3, 2, 2],
        ],
        {},
        '4 channels',
      ],
      [
        'Conv',
        [
          [1, 3, 2, 2],
          [2, 3, 4, 4],
        ],
        {},
        'does not fit',
      ],
      ['Conv', [[1, 3, 8, 8], [2, 3, 2, 2], [3]], {}, 'bias'],
      [
        'Conv',
        [
          [1, 3, 8, 8],
          [2, 3, 2, 2],
        ],
        { strides: [2] },
        'not for rank 2',
      ],
      [
        'Conv',
        [
          [1, 3, 8, 8],
          [2, 3, 2, 2],
        ],
        { strides: [0, 2] },
        'out of range',
      ],
      [
        'Conv',
        [
          [1, 3, 'h', 8],
          [2, 3, 2, 2],
        ],
        {},
        'must be a number',
      ],
      [
        'Conv',
        [
          [1, 3, 8, 8],
          [2, 3, 2, 2],
        ],
        { kernel_shape: [3, 3] },
        'kernel_shape',
      ],
      ['Softmax', [[2, 3]], { axis: 2 }, 'out of range'],
      ['LayerNormalization', [[2, 3], [2]], {}, 'does not broadcast'],
      ['ReduceMean', [[2, 3], whole(2)], {}, 'out of range'],
      ['ReduceMean', [[2, 3], whole(1, -1)], {}, 'repeat'],
      ['ReduceMean', [[2, 3], ids], {}, 'must be a constant'],
      ['TopK', [[3], whole(4)], {}, 'the top 4 of 3'],
      ['TopK', [[3], whole(1, 2)], {}, 'one element'],
      ['Reshape', [['batch', 50], whole(-1, 7)], {}, 'does not reshape'],
      ['Reshape', [[2, 3], whole(4)], {}, 'does not reshape'],
      ['Reshape', [[2, 3], whole(-1, -1)], {}, 'is not a shape'],
      ['Reshape', [[2], whole(2, 0)], {}, '0 at axis 1'],
      ['Transpose', [[2, 3]], { perm: [0, 0] }, 'does not permute'],
      ['Squeeze', [[2, 3], whole(0)], {}, 'not of length 1'],
      ['Expand', [[2, 3], whole(3, 2)], {}, 'do not broadcast'],
      ['Expand', [[2], whole(-1)], {}, 'is not a shape'],
      [
        'Concat',
        [
          [2, 3],
          [2, 4],
        ],
        { axis: 0 },
        'do not join',
      ],
      ['Split', [[5], whole(2, 2)], {}, 'parts'],
      ['Split', [[5]], {}, 'must be given'],
      ['Split', [[5], whole(2, 3)], { num_outputs: 2 }, 'exclude'],
      ['Slice', [['batch', 5], whole(2), whole(4), whole(0)], {}, 'symbolic length'],
      ['Slice', [[5], whole(0), whole(4), whole(0), whole(0)], {}, 'a step of 0'],
      ['Slice', [[5], whole(0, 1), whole(4)], {}, 'differ in length'],
      ['Gather', [[5], [2]], {}, 'input 1 is float32'],
      ['GatherElements', [[5, 2], { dtype: 'int64', shape: [3] }], {}, 'do not fit'],
      ['ScatterElements', [[5], { dtype: 'int64', shape: [2] }, [3]], {}, 'with updates'],
    ]),
  )('$title', ({ op, operands, attributes, expected: reason }) => {
    const nOutputs = op === 'AdamUpdate' ? 3 : op === 'TopK' || op === 'Split' ? 2 : 1
    const problems = findProblems(graphOf(op, operands, attributes, nOutputs))
    expect(problems).toHaveLength(1)
    expect(problems[0]!.message).toContain(reason)
    expect(problems[0]!.path).toContain(`nodes[0] (${op}`)
  })
})
