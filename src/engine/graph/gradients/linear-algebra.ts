/**
 * Gradients of the matrix products, written so that no operand is transposed where a product can read it transposed, and so that the
 * gradient of a matrix which a whole stack was multiplied by is one product and not a stack of products and their sum.
 */

import type { GradientBuilder, GradientRule } from '../operator.js'
import { inputOf, matrixTransposed, outputOf, reshapeTo, scaleBy, sumTo, unscaled, type Value, wholes } from './building.js'

/** `alpha A' B' + beta C`; A' is A or its transpose. */
export const gemm: GradientRule = (b, call) => {
  const { alpha, beta, transA, transB } = call.attributes as Readonly<Record<string, number>>
  const [a, other, y] = [inputOf(call, 0), inputOf(call, 1), outputOf(call, 0)]
  const whole = call.gradients[0]!
  const { value: g, factor } = unscaled(b, whole)
  const product = (left: string, right: string, isLeftTransposed: number, isRightTransposed: number) =>
    b.op('Gemm', [left, right], {
      ...(alpha! * factor !== 1 && { alpha: alpha! * factor }),
      ...(isLeftTransposed && { transA: 1 }),
      ...(isRightTransposed && { transB: 1 }),
    })
  const ofA = () => (transA ? product(other.name, g, transB!, 1) : product(g, other.name, 0, 1 - transB!))
  const ofB = () => (transB ? product(g, a.name, 1, transA!) : product(a.name, g, 1 - transA!, 0))
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
  const made = ofMatrices(b, { a, b: other, gradient: { ...y, name, shape }, factor, wanted: call.wanted })
  const drop = (value: string | undefined, axis: number) => value && b.op('Squeeze', [value, wholes(b, [axis])])
  return [isRow ? drop(made[0], 0) : made[0], isColumn ? drop(made[1], 1) : made[1]]
}

function withAxis(b: GradientBuilder, vector: Value, axis: number): Value {
  return { ...vector, name: b.op('Unsqueeze', [vector.name, wholes(b, [axis])]), shape: vector.shape.toSpliced(axis, 0, 1) }
}

interface Product {
  /** `[..., m, k]` */
  readonly a: Value
  /** `[..., k, n]` */
  readonly b: Value
  /** `[..., m, n]`, still to be multiplied by `factor`. */
  readonly gradient: Value
  readonly factor: number
  readonly wanted: readonly boolean[]
}

function ofMatrices(b: GradientBuilder, product: Product): (string | undefined)[] {
  const { a, b: other, gradient, wanted } = product
  const [inner, columns] = other.shape.slice(-2)
  if (other.shape.length === 2 && (a.shape.length === 2 || (typeof inner === 'number' && typeof columns === 'number'))) {
    return byOneMatrix(b, product)
  }
  const batch = gradient.shape.slice(0, -2)
  const [rows] = a.shape.slice(-2)
  const scaled = (value: string) => scaleBy(b, value, a, product.factor)
  const ofA = () => {
    const made = b.op('MatMul', [gradient.name, scaled(matrixTransposed(b, other.name, other.shape.length))])
    return sumTo(b, { ...a, name: made, shape: [...batch, rows!, inner!] }, a.shape)
  }
  const ofB = () => sumTo(b, { ...other, name: rightFactor(b, product, scaled), shape: [...batch, inner!, columns!] }, other.shape)
  return [wanted[0] ? ofA() : undefined, wanted[1] ? ofB() : undefined]
}

/** A' G, or (G' A)' where A is the larger to transpose; a transposition of the result most often meets another, and both go. */
function rightFactor(b: GradientBuilder, { a, gradient }: Product, scaled: (value: string) => string): string {
  const transposed = (value: Value) => matrixTransposed(b, value.name, value.shape.length)
  const [inner, columns] = [a.shape.at(-1)!, gradient.shape.at(-1)!]
  const isWide = typeof inner === 'number' && typeof columns === 'number' && inner > columns
  if (!isWide) return b.op('MatMul', [scaled(transposed(a)), gradient.name])
  const made = b.op('MatMul', [scaled(transposed(gradient)), a.name])
  return matrixTransposed(b, made, Math.max(a.shape.length, gradient.shape.length))
}

/** A stack of rows by one matrix. */
function byOneMatrix(b: GradientBuilder, { a, b: matrix, gradient, factor, wanted }: Product): (string | undefined)[] {
  const alpha = factor === 1 ? {} : { alpha: factor }
  const rowsOf = (value: Value) =>
    value.shape.length === 2 ? value.name : b.op('Reshape', [value.name, wholes(b, [-1, value.shape.at(-1) as number])])
  const ofA = () => {
    const rows = b.op('Gemm', [rowsOf(gradient), matrix.name], { transB: 1, ...alpha })
    return a.shape.length === 2 ? rows : reshapeTo(b, rows, a)
  }
  const ofB = () => b.op('Gemm', [rowsOf(a), rowsOf(gradient)], { transA: 1, ...alpha })
  return [wanted[0] ? ofA() : undefined, wanted[1] ? ofB() : undefined]
}
