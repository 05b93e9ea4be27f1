import { describe, expect, test } from 'vitest'
import { type OpName, operators, opNames } from '../../../src/engine/graph/operators.js'
import { validate } from '../../../src/engine/graph/validate.js'
import '../close-tensor.js'
import { onnxruntime, reference, referenceFloat64, runOnce, tfjs } from '../each-backend.js'
import { caseGraph, type OperatorCase, operatorCases } from './operator-cases.js'

test('every operator has a case', () => {
  expect(opNames.filter((op) => (operatorCases[op] ?? []).length === 0)).toEqual([])
})

test('every attribute of every operator has a case that sets it', () => {
  const unset = opNames.flatMap((op) =>
    Object.entries(operators[op].attributes)
      // An attribute that is declared to refuse all but its default needs no case.
      .filter(([, spec]) => !('allowed' in spec && spec.allowed?.length === 1))
      .filter(([name]) => !operatorCases[op].some(({ attributes = {} }) => name in attributes))
      .map(([name]) => `${op}.${name}`),
  )
  expect(unset).toEqual([])
})

const hasFloat64 = (types: ReturnType<typeof validate>) => [...types.values()].some(({ dtype }) => dtype === 'float64')
const isFloat64Case = ({ inputs }: OperatorCase) => inputs.some((input) => input && 'dtype' in input && input.dtype === 'float64')

describe.each(opNames)('%s', async (op: OpName) => {
  const [plain, precise, fast, other] = await Promise.all([reference, referenceFloat64, onnxruntime, tfjs].map((each) => each.create()))

  test.each([...operatorCases[op]])('on $title: ONNX Runtime and float64 agree with the reference', async (each: OperatorCase) => {
    const { graph, feeds } = caseGraph(op, each)
    const expected = await runOnce(plain!, graph, { inputs: feeds })
    const types = validate(graph)
    for (const output of graph.outputs) {
      expect({ dtype: expected[output]!.dtype, shape: expected[output]!.shape }).toEqual({
        dtype: types.get(output)!.dtype,
        shape: types.get(output)!.shape,
      })
    }
    const inFloat64 = await runOnce(precise!, graph, { inputs: feeds })
    for (const output of graph.outputs) expect(inFloat64[output]).toBeCloseTensor(expected[output]!, { tolerance: 1e-6 })

    if (each.isUnsupportedByOnnxRuntime) {
      await expect(runOnce(fast!, graph, { inputs: feeds })).rejects.toMatchObject({ code: 'OPERATOR_UNSUPPORTED' })
      return
    }
    const actual = await runOnce(fast!, graph, { inputs: feeds })
    const tolerance = each.tolerance ?? (isFloat64Case(each) ? 1e-12 : 1e-5)
    for (const output of graph.outputs) expect(actual[output]).toBeCloseTensor(expected[output]!, { tolerance })
  })

  test.each([...operatorCases[op]])(
    'on $title: TensorFlow.js agrees with the reference, and refuses float64',
    async (each: OperatorCase) => {
      const { graph, feeds } = caseGraph(op, each)
      if (hasFloat64(validate(graph))) {
        await expect(runOnce(other!, graph, { inputs: feeds })).rejects.toMatchObject({ code: 'OPERATOR_UNSUPPORTED' })
        return
      }
      const [expected, actual] = [await runOnce(plain!, graph, { inputs: feeds }), await runOnce(other!, graph, { inputs: feeds })]
      for (const output of graph.outputs) expect(actual[output]).toBeCloseTensor(expected[output]!, { tolerance: each.tolerance ?? 1e-5 })
    },
  )
})
