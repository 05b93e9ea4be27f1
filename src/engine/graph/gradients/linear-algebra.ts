/**
 * Gradients of the matrix products, written so that no operand is transposed where a product can read it transposed, and so that the
 * gradient of a matrix which a whole stack was multiplied by is one product and not a stack of products and their sum.
 */

import type { GradientBuilder, GradientRule } from '../operator.js'
import { inputOf, matrixTransposed, outputOf, permOf, reshapeTo, scaleBy, sumTo, unscaled, type Value, wholes } from './building.js'

/** `alpha A' B' + beta C`; A' is A or its transpose. */
export const gemm: GradientRule = (b, call) => {
  const { alpha, beta, transA, transB } = call.attributes as Readonly<Record<string, number>>
  const [a, other, y] = [inputOf(call, 0), inputOf(call, 1), outputOf(call, 0)]
  const whole = call.gradients[0]!
  const { value, factor } = unscaled(b, whole)
  const g = { ...y, name: value }
  const product = (left: Value, right: Value, isLeftTurned: number, isRightTurned: number) =>
    ofTwoMatrices(b, { left, right, isLeftTurned: isLeftTurned === 1, isRightTurned: isRightTurned === 1, alpha: alpha! * factor })
  const ofA = () => (transA ? product(other, g, transB!, 1) : product(g, other, 0, 1 - transB!))
  const ofB = () => (transB ? product(g, a, 1, transA!) : product(a, g, 1 - transA!, 0))
  const ofC = () => (beta === 0 ? undefined : scaleBy(b, sumTo(b, { ...y, name: whole }, call.inputs[2]!.shape), y, beta!))
  return [ofA, ofB, ofC].map((rule, at) => (call.wanted[at] ? rule() : undefined))
}

export const matMul: GradientRule = (b, call) => {
  const [left, right, y] = [inputOf(call, 0), inputOf(call, 1), outputOf(call, 0)]
  const [isRow, isColumn] = [left.shape.length === 1, right.shape.length === 1]
  // A vector is a matrix of one row or one column; the result lacks that axis.
  const a = isRow ? withAxis(b, left, 0) : left
  const other = isColumn ? withAxis(b, right, 1) : right
  const missing = [...(isRow ? [y.shape.length - (isColumn ? 0 : 1)] : []), ...(isColumn ? [y.shape.length + (isRow ? 1 : 0)] : [])]
  const shape = [...y.shape]
  for (const axis of missing) shape.splice(axis, 0, 1)
  const { value, factor } = unscaled(b, call.gradients[0]!)
  const name = missing.length === 0 ? value : b.op('Unsqueeze', [value, wholes(b, missing)])
  const product = { a, b: other, isTurnedA: false, isTurnedB: false, alpha: factor, gradient: { ...y, name, shape }, wanted: call.wanted }
  const made = ofMatrices(b, product)
  const drop = (value: string | undefined, axis: number) => value && b.op('Squeeze', [value, wholes(b, [axis])])
  return [isRow ? drop(made[0], 0) : made[0], isColumn ? drop(made[1], 1) : made[1]]
}

function withAxis(b: GradientBuilder, vector: Value, axis: number): Value {
  return { ...vector, name: b.op('Unsqueeze', [vector.name, wholes(b, [axis])]), shape: vector.shape.toSpliced(axis, 0, 1) }
}

export const fusedMatMul: GradientRule = (b, call) => {
  const { alpha, transA, transB } = call.attributes as Readonly<Record<string, number>>
  const { value, factor } = unscaled(b, call.gradients[0]!)
  return ofMatrices(b, {
    a: inputOf(call, 0),
    b: inputOf(call, 1),
    isTurnedA: transA === 1,
    isTurnedB: transB === 1,
    alpha: alpha! * factor,
    gradient: { ...outputOf(call, 0), name: value },
    wanted: call.wanted,
  })
}

/** Y = alpha A' B', where A' is A or, turned, its transpose: of stacks of matrices. */
interface Product {
  readonly a: Value
  readonly b: Value
  readonly isTurnedA: boolean
  readonly isTurnedB: boolean
  readonly alpha: number
  /** Of Y. */
  readonly gradient: Value
  readonly wanted: readonly boolean[]
}

/** A' takes alpha G B'^T and B' takes alpha A'^T G; what is wanted is that, or its transpose where the operand is turned. */
function ofMatrices(b: GradientBuilder, product: Product): (string | undefined)[] {
  const { a, b: other, isTurnedA, isTurnedB, alpha, gradient, wanted } = product
  if (isOneMatrix(product)) return byOneMatrix(b, product)
  const times = (left: Value, right: Value, isLeftTurned: boolean, isRightTurned: boolean) =>
    fused(b, { left, right, isLeftTurned, isRightTurned, alpha })
  const rank = gradient.shape.length
  const ofA = (isTurned: boolean) => (isTurned ? times(other, gradient, isTurnedB, true) : times(gradient, other, false, !isTurnedB))
  const ofB = (isTurned: boolean) => (isTurned ? times(gradient, a, true, isTurnedA) : times(a, gradient, !isTurnedA, false))
  const back = (operand: Value, make: (isTurned: boolean) => string, isTurned: boolean) => {
    const made = isTransposed(b, operand) ? matrixTransposed(b, make(!isTurned), rank) : make(isTurned)
    return sumTo(b, { ...operand, name: made, shape: [...gradient.shape.slice(0, -2), ...operand.shape.slice(-2)] }, operand.shape)
  }
  return [wanted[0] ? back(a, ofA, isTurnedA) : undefined, wanted[1] ? back(other, ofB, isTurnedB) : undefined]
}

/** A value whose last axes were exchanged: its gradient is made the other way round, and both transpositions go, or are cheaper as one. */
function isTransposed(b: GradientBuilder, { name, shape }: Value): boolean {
  const made = b.producer(name)
  return made?.op === 'Transpose' && permOf(made.attributes.perm, shape.length).at(-2) === shape.length - 1
}

interface Factors {
  readonly left: Value
  readonly right: Value
  readonly isLeftTurned: boolean
  readonly isRightTurned: boolean
  readonly alpha: number
}

/** Of stacks. */
function fused(b: GradientBuilder, { left, right, isLeftTurned, isRightTurned, alpha }: Factors): string {
  if (!isLeftTurned && !isRightTurned && alpha === 1) return b.op('MatMul', [left.name, right.name])
  return b.op('FusedMatMul', [left.name, right.name], {
    ...(alpha !== 1 && { alpha }),
    ...(isLeftTurned && { transA: 1 }),
    ...(isRightTurned && { transB: 1 }),
  })
}

/** How many columns of the right operand make it worth to transpose the left one beforehand. */
const MANY_COLUMNS = 1024

/** ONNX Runtime goes through the right operand by 128 columns, and for each of them reads the whole left one anew, across its rows where it is turned. */
function ofTwoMatrices(b: GradientBuilder, { left, right, isLeftTurned, isRightTurned, alpha }: Factors): string {
  const columns = right.shape[1]!
  const isBeforehand = isLeftTurned && !isRightTurned && typeof columns === 'number' && columns >= MANY_COLUMNS
  return b.op('Gemm', [isBeforehand ? matrixTransposed(b, left.name, 2) : left.name, right.name], {
    ...(alpha !== 1 && { alpha }),
    ...(isLeftTurned && !isBeforehand && { transA: 1 }),
    ...(isRightTurned && { transB: 1 }),
  })
}

/** Whether one matrix is multiplied by a stack of rows, which can then lie in one. */
function isOneMatrix({ a, b: other, isTurnedA }: Product): boolean {
  const isKnown = [...other.shape, a.shape.at(-1)].every((dim) => typeof dim === 'number')
  return other.shape.length === 2 && !isTurnedA && (a.shape.length === 2 || isKnown)
}

function byOneMatrix(b: GradientBuilder, { a, b: matrix, isTurnedB, alpha, gradient, wanted }: Product): (string | undefined)[] {
  const rowsOf = (value: Value): Value => {
    if (value.shape.length === 2) return value
    const width = value.shape.at(-1) as number
    return { ...value, name: b.op('Reshape', [value.name, wholes(b, [-1, width])]), shape: ['rows', width] }
  }
  const product = (left: Value, right: Value, isLeftTurned: boolean, isRightTurned: boolean) =>
    ofTwoMatrices(b, { left, right, isLeftTurned, isRightTurned, alpha })
  const ofA = () => {
    const rows = product(rowsOf(gradient), matrix, false, !isTurnedB)
    return a.shape.length === 2 ? rows : reshapeTo(b, rows, a)
  }
  const ofB = () => {
    const [rows, gradients] = [rowsOf(a), rowsOf(gradient)]
    return isTurnedB ? product(gradients, rows, true, false) : product(rows, gradients, true, false)
  }
  return [wanted[0] ? ofA() : undefined, wanted[1] ? ofB() : undefined]
}
