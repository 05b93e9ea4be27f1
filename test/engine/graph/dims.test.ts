import fc from 'fast-check'
import { expect, test } from 'vitest'
import { add, divide, isSymbol, multiply } from '../../../src/engine/graph/dims.js'
import type { Dim } from '../../../src/engine/graph/value-type.js'

test('lengths are written in one form, whichever way they came about', () => {
  expect(multiply(['batch', 50])).toBe('50*batch')
  expect(multiply([50, 'batch', 1])).toBe('50*batch')
  expect(multiply(['pos', 'batch'])).toBe('batch*pos')
  expect(multiply([multiply(['batch', 5]), 10])).toBe('50*batch')
  expect(multiply(['batch', 0])).toBe(0)
  expect(add(['batch', 1, 'batch', 2])).toBe('3+2*batch')
  expect(add([0, 'batch'])).toBe('batch')
  expect(add([])).toBe(0)
  expect(multiply([])).toBe(1)
  expect(multiply([add(['batch', 1]), add(['batch', 2])])).toBe('2+3*batch+batch*batch')
})

test('a quotient exists where it is a length for every batch', () => {
  expect(divide('50*batch', 50)).toBe('batch')
  expect(divide('50*batch', 'batch')).toBe(50)
  expect(divide('50*batch', '10*batch')).toBe(5)
  expect(divide('4+2*batch', 2)).toBe('2+batch')
  expect(divide('50*batch', 7)).toBeUndefined()
  expect(divide('3+2*batch', 2)).toBeUndefined()
  expect(divide(12, 'batch')).toBeUndefined()
  expect(divide('batch', '1+batch')).toBeUndefined()
  expect(divide(12, 0)).toBeUndefined()
  expect(divide(0, 5)).toBe(0)
})

test('only a plain word is a symbol', () => {
  expect(['batch', 'n_1', '2*batch', 'a+b', '', '1', 3].map((dim) => isSymbol(dim))).toEqual([
    true,
    true,
    false,
    false,
    false,
    false,
    false,
  ])
})

/** The number that a length is when the symbols are bound. */
function evaluate(dim: Dim, symbols: Readonly<Record<string, number>>): number {
  const factor = (text: string) => (/^\d+$/.test(text) ? Number(text) : symbols[text]!)
  if (typeof dim === 'number') return dim
  const terms = dim.split('+').map((term) => term.split('*').reduce((product, each) => product * factor(each), 1))
  return terms.reduce((sum, term) => sum + term, 0)
}

const atom = fc.oneof(fc.nat(6), fc.constantFrom('batch', 'pos'))
const length = fc.array(fc.array(atom, { maxLength: 3 }), { maxLength: 3 }).map((terms) => add(terms.map((factors) => multiply(factors))))

test('means what arithmetic with the bound symbols means', () => {
  fc.assert(
    fc.property(length, length, fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 9 }), (a, b, batch, pos) => {
      const value = (dim: Dim) => evaluate(dim, { batch, pos })
      expect(value(add([a, b]))).toBe(value(a) + value(b))
      expect(value(multiply([a, b]))).toBe(value(a) * value(b))
      expect(add([a, b])).toBe(add([b, a]))
      expect(multiply([a, b])).toBe(multiply([b, a]))
      const quotient = divide(multiply([a, b]), b)
      if (quotient !== undefined) expect(quotient).toBe(a)
    }),
  )
})
