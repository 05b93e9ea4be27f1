import { describe, expect, test } from 'vitest'
import { eigenvalues } from '../../../../src/engine/analyses/weights/linear-algebra/eigenvalues.js'
import { type Matrix, matrix, multiply, norm, transpose } from '../../../../src/engine/analyses/weights/linear-algebra/matrix.js'
import { orthogonalize } from '../../../../src/engine/analyses/weights/linear-algebra/orthogonalize.js'
import { singularValues, spreadOf } from '../../../../src/engine/analyses/weights/linear-algebra/singular-values.js'
import { readGolden } from '../compare-goldens.js'

type Rows = readonly (readonly number[])[]

interface Golden {
  readonly singular: readonly { readonly matrix: Rows; readonly values: readonly number[] }[]
  readonly eigen: readonly { readonly matrix: Rows; readonly real: readonly number[]; readonly imaginary: readonly number[] }[]
}

const golden = readGolden<Golden>('decompositions.json')
const matrixOf = (rows: Rows): Matrix => matrix(rows.length, rows[0]!.length, Float64Array.from(rows.flat()))

describe('singular values', () => {
  test.each(golden.singular.map((each, index) => [index, each] as const))(
    'of matrix %i are those of NumPy',
    (_, { matrix: rows, values }) => {
      const found = singularValues(matrixOf(rows))
      expect(found.length).toBe(values.length)
      for (const [at, value] of found.entries()) expect(Math.abs(value - values[at]!)).toBeLessThanOrEqual(1e-13 * values[0]!)
    },
  )

  test.each(golden.singular.map((each, index) => [index, each] as const))(
    'squared, of matrix %i, add up to its squares',
    (_, { matrix: rows }) => {
      const whole = matrixOf(rows)
      expect(spreadOf(singularValues(whole)).frobenius).toBeCloseTo(norm(whole), 12)
    },
  )

  test('of a matrix that keeps lengths are 1, and its rank is whole', () => {
    const { q } = orthogonalize(matrixOf(golden.singular[1]!.matrix))
    const spread = spreadOf(singularValues(q))
    expect(spread.spectral).toBeCloseTo(1, 13)
    expect(spread.effectiveRank).toBeCloseTo(q.columns, 12)
    expect(spread.stableRank).toBeCloseTo(q.columns, 12)
  })

  test('of nothing are nothing', () => {
    expect(spreadOf(new Float64Array(2))).toEqual({ frobenius: 0, spectral: 0, effectiveRank: 0, stableRank: 0 })
  })
})

describe('orthogonal columns', () => {
  test.each(golden.singular.map((each, index) => [index, each] as const))('and a triangle make matrix %i', (_, { matrix: rows }) => {
    const whole = matrixOf(rows)
    const { q, r } = orthogonalize(whole)
    const made = multiply(q, r)
    for (const [at, value] of whole.data.entries()) expect(made.data[at]).toBeCloseTo(value, 12)
    const gram = multiply(transpose(q), q)
    for (let i = 0; i < gram.rows; i++) {
      for (let j = 0; j < gram.columns; j++) {
        const expected = i === j && r.data[i * r.columns + i] !== 0 ? 1 : 0
        expect(Math.abs(gram.data[i * gram.columns + j]! - expected)).toBeLessThan(1e-14)
      }
    }
  })
})

describe('eigenvalues', () => {
  test.each(golden.eigen.map((each, index) => [index, each] as const))(
    'of matrix %i are those of NumPy',
    (_, { matrix: rows, real, imaginary }) => {
      const found = eigenvalues(matrixOf(rows))
      expect(found.length).toBe(rows.length)
      const expected = real.map((value, at) => ({ real: value, imaginary: imaginary[at]! }))
      const size = Math.max(1e-300, ...expected.map((value) => Math.hypot(value.real, value.imaginary)))
      // each expected one once, in whatever order
      for (const value of found) {
        const distances = expected.map((each) => Math.hypot(each.real - value.real, each.imaginary - value.imaginary))
        const nearest = distances.indexOf(Math.min(...distances))
        expect(distances[nearest]!).toBeLessThan(1e-11 * size + 1e-300)
        expected.splice(nearest, 1)
      }
    },
  )
})
