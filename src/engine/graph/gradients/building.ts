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

/** Sums over axes; none: the value itself. */
export function sumOver(builder: GradientBuilder, value: string, axes: readonly number[], keepdims: 0 | 1): string {
  return axes.length === 0 ? value : builder.op('ReduceSum', [value, wholes(builder, axes)], { keepdims })
}

/** The sum over everything that broadcasting `to` to `from` repeats: a value of shape `from` becomes one of shape `to`. */
export function sumTo(builder: GradientBuilder, value: string, from: readonly Dim[], to: readonly Dim[]): string {
  const extra = from.length - to.length
  const leading = Array.from({ length: extra }, (_, axis) => axis)
  const repeated = from.flatMap((dim, axis) => (axis >= extra && to[axis - extra] === 1 && dim !== 1 ? [axis] : []))
  if (repeated.length === 0 && leading.some((axis) => from[axis] !== 1)) return sumOver(builder, value, leading, 0)
  const summed = sumOver(builder, value, [...leading.filter((axis) => from[axis] !== 1), ...repeated], 1)
  return extra === 0 ? summed : builder.op('Squeeze', [summed, wholes(builder, leading)])
}

/** The lengths of `value`'s axes as an int64 vector: a constant where they are known, read from the value where they are not. */
export function shapeOf(builder: GradientBuilder, value: Value): string {
  const known = value.shape.filter((dim) => typeof dim === 'number')
  return known.length === value.shape.length ? wholes(builder, known) : builder.op('Shape', [value.name])
}

/** These lengths as an int64 vector, the symbolic ones read from values that have such an axis. */
export function lengths(builder: GradientBuilder, dims: readonly Dim[], among: readonly Value[]): string {
  if (dims.every((dim) => typeof dim === 'number')) return wholes(builder, dims)
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
  const free = like.shape.filter((dim) => typeof dim === 'string')
  if (free.length > 1) return builder.op('Reshape', [value, shapeOf(builder, like)])
  // With one length open it need not be read from a value, which would have to be kept for it.
  const dims = like.shape.map((dim) => (typeof dim === 'number' ? dim : -1))
  return builder.op('Reshape', [value, wholes(builder, dims)])
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
