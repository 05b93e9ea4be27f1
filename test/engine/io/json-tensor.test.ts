import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { EngineError } from '../../../src/engine/errors.js'
import { fromJsonTensor, toJsonTensor } from '../../../src/engine/io/json-tensor.js'
import { float32, int64, scalar, tensor } from '../../../src/engine/tensor.js'
import { arbitraryTensor } from './arbitrary-tensors.js'

const throughText = (value: unknown) => JSON.parse(JSON.stringify(value)) as unknown

describe('writing', () => {
  test('nests the elements as deep as the shape', () => {
    expect(toJsonTensor(float32([2, 1, 2], [1, 2, 3, 4.5]))).toEqual({ shape: [2, 1, 2], dtype: 'float32', data: [[[1, 2]], [[3, 4.5]]] })
    expect(toJsonTensor(scalar(3))).toEqual({ shape: [], dtype: 'float32', data: 3 })
    expect(toJsonTensor(float32([0, 2], []))).toEqual({ shape: [0, 2], dtype: 'float32', data: [] })
    expect(toJsonTensor(tensor('bool', [2], Uint8Array.of(1, 0)))).toEqual({ shape: [2], dtype: 'bool', data: [true, false] })
  })

  test('writes what JSON has not as text', () => {
    expect(toJsonTensor(float32([3], [Number.NaN, Infinity, -Infinity]))).toMatchObject({ data: ['NaN', 'Infinity', '-Infinity'] })
    expect(toJsonTensor(tensor('int64', [2], BigInt64Array.of(5n, 2n ** 63n - 1n)))).toMatchObject({ data: [5, '9223372036854775807'] })
  })

  test('writes base64 of the little-endian bytes', () => {
    expect(toJsonTensor(float32([1], [1]), 'base64')).toEqual({ shape: [1], dtype: 'float32', encoding: 'base64', data: 'AACAPw==' })
  })
})

test('there and back, through text, changes nothing', () => {
  fc.assert(
    fc.property(arbitraryTensor, fc.constantFrom('nested', 'base64'), (tensor, encoding) => {
      const back = fromJsonTensor(throughText(toJsonTensor(tensor, encoding as 'nested' | 'base64')), 'x')
      // Text has no negative zero.
      const same = (value: number | bigint) => (encoding === 'nested' && value === 0 ? 0 : value)
      expect({ ...back, data: Array.from<number | bigint, number | bigint>(back.data, same) }).toEqual({
        ...tensor,
        data: Array.from<number | bigint, number | bigint>(tensor.data, same),
      })
    }),
  )
})

describe('reading refuses', () => {
  const good = { shape: [2, 2], dtype: 'float32', data: [[1, 2], [3, 4]] } // biome-ignore format: as one writes it
  const problemsOf = (value: unknown): [string, string][] => {
    try {
      fromJsonTensor(value, 'edits[0].value')
    } catch (error) {
      expect(error).toBeInstanceOf(EngineError)
      expect(error).toMatchObject({ code: 'INPUT_INVALID' })
      return (error as EngineError).problems.map(({ path, message }) => [path.replace('edits[0].value', '$'), message])
    }
    throw new Error('it was accepted')
  }

  test.each([
    ['no tensor', 3, [['$', 'is 3; expected a tensor']]],
    ['null', null, [['$', 'is null']]],
    ['a bare list', [1, 2], [['$', 'is a list of 2']]],
    ['a misspelt field', { ...good, dtpye: 'float32' }, [['$.dtpye', 'is not a field of a tensor']]],
    ['an unknown dtype', { ...good, dtype: 'float16' }, [['$.dtype', 'is "float16"; expected one of float32']]],
    ['an inherited dtype', { ...good, dtype: 'toString' }, [['$.dtype', 'is "toString"']]],
    ['nothing at all', {}, [['$.dtype', 'is missing'], ['$.shape', 'is missing']]], // biome-ignore format: short
    ['half a length', { ...good, shape: [2.5, 2] }, [['$.shape', 'expected a list']]],
    ['another encoding', { ...good, encoding: 'hex' }, [['$.encoding', 'is "hex"; expected "base64"']]],
    ['a missing row', { ...good, data: [[1, 2]] }, [['$.data', 'has 1 items; expected 2 (axis 0 of shape [2, 2])']]],
    ['every short row', { ...good, data: [[1], [3]] }, [['$.data[0]', 'has 1 items'], ['$.data[1]', 'has 1 items']]], // biome-ignore format: short
    ['a number in place of a row', { ...good, data: [1, [3, 4]] }, [['$.data[0]', 'is 1; expected a list of 2']]],
    [
      'a row in place of a number',
      {
        ...good,
        data: [
          [1, [2]],
          [3, 4],
        ],
      },
      [['$.data[0][1]', 'is a list of 1; expected a number']],
    ],
    ['null, text and true as numbers', { ...good, data: [[null, '2'], [true, 4]] }, [['$.data[0][0]', 'is null'], ['$.data[0][1]', 'is "2"'], ['$.data[1][0]', 'is true']]], // biome-ignore format: a table
    [
      'a number beyond float32',
      {
        ...good,
        data: [
          [1e300, 2],
          [3, 4],
        ],
      },
      [['$.data[0][0]', 'beyond the range of float32']],
    ],
    ['half an integer', { shape: [1], dtype: 'int32', data: [0.5] }, [['$.data[0]', 'is 0.5; expected an integer']]],
    ['an integer too large', { shape: [1], dtype: 'uint8', data: [256] }, [['$.data[0]', 'from 0 to 255']]],
    ['a 64-bit integer that a double rounded', { shape: [1], dtype: 'int64', data: [2 ** 60] }, [['$.data[0]', 'as text']]],
    [
      'a 64-bit integer too large',
      { shape: [1], dtype: 'int64', data: ['9223372036854775808'] },
      [['$.data[0]', 'beyond the range of int64']],
    ],
    ['a number as a boolean', { shape: [1], dtype: 'bool', data: [1] }, [['$.data[0]', 'expected true or false']]],
    ['base64 that is not text', { ...good, encoding: 'base64' }, [['$.data', 'expected base64 text']]],
    ['base64 that is not base64', { ...good, encoding: 'base64', data: 'AA*A' }, [['$.data', 'is not base64']]],
    ['base64 without padding', { ...good, encoding: 'base64', data: 'AAA' }, [['$.data', 'is not base64']]],
    [
      'base64 of another length',
      { ...good, encoding: 'base64', data: 'AACAPw==' },
      [['$.data', 'has 4 bytes; shape [2, 2] of float32 needs 16']],
    ],
    ['base64 of a boolean that is 2', { shape: [1], dtype: 'bool', encoding: 'base64', data: 'Ag==' }, [['$.data', 'neither 0 nor 1']]],
  ])('%s', (_, value, expected) => {
    expect(problemsOf(value)).toEqual(expected.map(([path, message]) => [path, expect.stringContaining(message!)]))
  })

  test('a shape that claims more than is there, at no cost', () => {
    expect(problemsOf({ shape: [2 ** 40], dtype: 'float32', data: [] })).toEqual([['$.data', expect.stringContaining('has 0 items')]])
    expect(problemsOf({ shape: [2 ** 40], dtype: 'float32', encoding: 'base64', data: '' })).toEqual([
      ['$.data', expect.stringContaining('has 0 bytes')],
    ])
  })

  test('a thousand wrong elements with the first twenty', () => {
    expect(problemsOf({ shape: [1000], dtype: 'float32', data: new Array(1000).fill('x') })).toHaveLength(20)
  })
})

test('64-bit integers are read from numbers and from text', () => {
  expect(fromJsonTensor({ shape: [2], dtype: 'int64', data: [7, '-9223372036854775808'] }, 'x').data).toEqual(
    BigInt64Array.of(7n, -(2n ** 63n)),
  )
  expect(fromJsonTensor({ shape: [1], dtype: 'int64', data: [7] }, 'x')).toEqual(int64([1], [7]))
})
