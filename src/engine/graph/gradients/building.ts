/**
 * The vocabulary that gradient rules are written in: literals, sums back to a broadcast operand's shape, reshapes that work for symbolic
 * axes too.
 */

import { invariant } from '../../errors.js'
import { float32, int64, type Tensor, tensor } from '../../tensor.js'
import type { GradientBuilder, GradientCall } from '../operator.js'
import type { Dim, ValueType } from '../value-type.js'

/** A value by name, with its type. */
export interface Value extends ValueType {
  readonly name: string
}

/** Input `index`, which must be there. */
export function inputOf({ names, inputs }: GradientCall, index: number): Value {
  const { dtype, shape } = inputs[index]!
  return { name: names[index]!, dtype, shape }
}

export function outputOf({ outputNames, outputs }: GradientCall, index: number): Value {
  const { dtype, shape } = outputs[index]!
  return { name: outputNames[index]!, dtype, shape }
}

/** The rule of an operator with one input and one output. */
export const ofOne =
  (rule: (builder: GradientBuilder, given: { gradient: string; x: Value; y: Value; call: GradientCall }) => string | undefined) =>
  (builder: GradientBuilder, call: GradientCall) => [
    rule(builder, { gradient: call.gradients[0]!, x: inputOf(call, 0), y: outputOf(call, 0), call }),
  ]

/** A scalar literal of a float dtype. */
export function literal(builder: GradientBuilder, { dtype }: Pick<ValueType, 'dtype'>, value: number): string {
  return builder.constant(dtype === 'float64' ? tensor('float64', [], Float64Array.of(value)) : float32([], [value]))
}

/** Axes, a shape, indices. */
export function wholes(builder: GradientBuilder, values: readonly number[]): string {
  return builder.constant(int64([values.length], values))
}

export function scaleBy(builder: GradientBuilder, value: string, type: Pick<ValueType, 'dtype'>, factor: number): string {
  return factor === 1 ? value : builder.op('Mul', [value, literal(builder, type, factor)])
}

/** The number that a constant of one element holds, whatever its rank. */
export function scalarLiteral(builder: GradientBuilder, value: string): number | undefined {
  const held: Tensor | undefined = builder.literal(value)
  return held && held.data.length === 1 ? Number(held.data[0]) : undefined
}

/**
 * A value that was made by a multiplication by a literal, without it. Sums, products and moves take the factor along: a matrix product has it
 * for nothing, and what is smaller is multiplied instead. Not in float64: an attribute of ONNX is a float32.
 */
export function unscaled(builder: GradientBuilder, value: string): { readonly value: string; readonly factor: number } {
  const made = builder.producer(value)
  const scalarAt = (at: number) => {
    const held = made && builder.literal(made.inputs[at]!)
    return held?.shape.length === 0 && held.dtype === 'float32' ? Number(held.data[0]) : undefined
  }
  const [left, right] = made?.op === 'Mul' || made?.op === 'Div' ? [scalarAt(0), scalarAt(1)] : []
  if (right !== undefined && right !== 0) return { value: made!.inputs[0]!, factor: made!.op === 'Mul' ? right : 1 / right }
  if (left !== undefined && made!.op === 'Mul') return { value: made!.inputs[1]!, factor: left }
  return { value, factor: 1 }
}

/** 1 where a condition holds and 0 where it does not: a product with it is many times faster than a choice by `Where`. */
export function indicator(builder: GradientBuilder, condition: string, { dtype }: Pick<ValueType, 'dtype'>): string {
  return builder.op('Cast', [condition], { to: dtype })
}

/** What a value repeats, where it does; else the value. */
export function unrepeated(builder: GradientBuilder, value: string): string {
  const made = builder.producer(value)
  return made?.op === 'Expand' ? unrepeated(builder, made.inputs[0]!) : value
}

/** A gradient times a value that has the gradient's whole shape: what is only repeated need not be written out for that. */
export function times(builder: GradientBuilder, gradient: string, whole: string): string {
  return builder.op('Mul', [unrepeated(builder, gradient), whole])
}

/** Sums over axes; none: the value itself. */
export function sumOver(builder: GradientBuilder, value: string, axes: readonly number[], keepdims: 0 | 1): string {
  return axes.length === 0 ? value : builder.op('ReduceSum', [value, wholes(builder, axes)], { keepdims })
}

/** The sum over everything that broadcasting `to` to the value's shape repeats: a value of shape `to`. */
export function sumTo(builder: GradientBuilder, value: Value, to: readonly Dim[]): string {
  const from = value.shape
  const extra = from.length - to.length
  const leading = Array.from({ length: extra }, (_, axis) => axis)
  const repeated = from.flatMap((dim, axis) => (axis >= extra && to[axis - extra] === 1 && dim !== 1 ? [axis] : []))
  const longLeading = leading.filter((axis) => from[axis] !== 1)
  if (longLeading.length + repeated.length === 0) {
    return extra === 0 ? value.name : builder.op('Squeeze', [value.name, wholes(builder, leading)])
  }
  const { value: name, factor } = unscaled(builder, value.name)
  const scaled = (sum: string) => scaleBy(builder, sum, value, factor)
  if (repeated.length === 0 && leading.some((axis) => typeof from[axis] === 'string') && to.length > 0 && isKnown(to)) {
    return scaled(sumOfRows(builder, { ...value, name }, to))
  }
  if (repeated.length === 0) return scaled(sumOver(builder, name, leading, 0))
  const summed = sumOver(builder, name, [...longLeading, ...repeated], 1)
  return scaled(extra === 0 ? summed : builder.op('Squeeze', [summed, wholes(builder, leading)]))
}

const isKnown = (dims: readonly Dim[]): dims is readonly number[] => dims.every((dim) => typeof dim === 'number')

/** The sum over a batch, as a product with a row of ones: twice as fast as ONNX Runtime's sum. */
function sumOfRows(builder: GradientBuilder, value: Value, to: readonly number[]): string {
  const width = to.reduce((product, length) => product * length, 1)
  const rows = value.shape.length === 2 ? value.name : builder.op('Reshape', [value.name, wholes(builder, [-1, width])])
  const nRows = builder.op('Shape', [rows], { start: 0, end: 1 })
  const sum = builder.op('MatMul', [builder.op('Expand', [literal(builder, value, 1), nRows]), rows])
  return to.length === 1 ? sum : builder.op('Reshape', [sum, wholes(builder, to)])
}

/** The lengths of `value`'s axes as an int64 vector: a constant where they are known, read from the value where they are not. */
export function shapeOf(builder: GradientBuilder, value: Value): string {
  return isKnown(value.shape) ? wholes(builder, value.shape) : builder.op('Shape', [value.name])
}

/** These lengths as an int64 vector, the symbolic ones read from values that have such an axis. */
export function lengths(builder: GradientBuilder, dims: readonly Dim[], among: readonly Value[]): string {
  if (isKnown(dims)) return wholes(builder, dims)
  const whole = among.find(({ shape }) => shape.join() === dims.join())
  if (whole) return shapeOf(builder, whole)
  const parts = dims.map((dim) => {
    if (typeof dim === 'number') return wholes(builder, [dim])
    const source = among.find(({ shape }) => shape.includes(dim))
    invariant(source, `no value has an axis of length ${dim}`)
    const axis = source.shape.indexOf(dim)
    return builder.op('Shape', [source.name], { start: axis, end: axis + 1 })
  })
  return parts.length === 1 ? parts[0]! : builder.op('Concat', parts, { axis: 0 })
}

/** A value with as many elements as `like`, in the shape of it. */
export function reshapeTo(builder: GradientBuilder, value: string, like: Value): string {
  const { value: plain, factor } = unscaled(builder, value)
  const isOpen = like.shape.filter((dim) => typeof dim === 'string').length > 1
  // With one length open it need not be read from a value, which would have to be kept for it.
  const dims = isOpen
    ? shapeOf(builder, like)
    : wholes(
        builder,
        like.shape.map((dim) => (typeof dim === 'number' ? dim : -1)),
      )
  return scaleBy(builder, builder.op('Reshape', [plain, dims]), like, factor)
}

/** A value repeated to the shape of `like`. */
export function expandTo(builder: GradientBuilder, value: string, like: Value): string {
  return builder.op('Expand', [value, shapeOf(builder, like)])
}

/** A number everywhere, in the shape and dtype of `like`. */
export function filled(builder: GradientBuilder, like: Value, value: number): string {
  const scalar = literal(builder, like, value)
  return like.shape.length === 0 ? scalar : expandTo(builder, scalar, like)
}

/** How many elements the axes hold together: a number, or a value of shape `[1]` and of `like`'s dtype where a length is symbolic. */
export function countAlong(builder: GradientBuilder, like: Value, axes: readonly number[]): number | string {
  const known = axes.reduce((product, axis) => product * (typeof like.shape[axis] === 'number' ? (like.shape[axis] as number) : 1), 1)
  const open = axes.filter((axis) => typeof like.shape[axis] === 'string')
  if (open.length === 0) return known
  const lengths = open.map((axis) => {
    const length = builder.op('Shape', [like.name], { start: axis, end: axis + 1 })
    return builder.op('Cast', [length], { to: like.dtype })
  })
  const product = lengths.reduce((left, right) => builder.op('Mul', [left, right]))
  return scaleBy(builder, product, like, known)
}

/** Two transpositions in a row become one, or none. */
export function transpose(builder: GradientBuilder, value: string, perm: readonly number[]): string {
  const before = builder.producer(value)
  if (before?.op !== 'Transpose') return isIdentity(perm) ? value : builder.op('Transpose', [value], { perm })
  const first = permOf(before.attributes.perm, perm.length)
  const both = perm.map((axis) => first[axis]!)
  const source = before.inputs[0]!
  return isIdentity(both) ? source : builder.op('Transpose', [source], { perm: both })
}

/** A Transpose's `perm`, which reverses the axes when it is absent. */
export function permOf(perm: unknown, rank: number): readonly number[] {
  return (perm as readonly number[] | undefined) ?? Array.from({ length: rank }, (_, axis) => rank - 1 - axis)
}

const isIdentity = (perm: readonly number[]) => perm.every((axis, at) => axis === at)

/** The last two axes exchanged. */
export function matrixTransposed(builder: GradientBuilder, value: string, rank: number): string {
  const perm = Array.from({ length: rank }, (_, axis) => (axis < rank - 2 ? axis : axis === rank - 2 ? rank - 1 : rank - 2))
  return transpose(builder, value, perm)
}
