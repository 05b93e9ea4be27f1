/** Gradients of reductions, normalisations and rankings. */

import type { GradientBuilder, GradientCall, GradientRule } from '../operator.js'
import { int, normalizeAxis, reducedAxes } from '../operators/rules.js'
import {
  countAlong,
  expandTo,
  filled,
  indicator,
  inputOf,
  literal,
  ofOne,
  outputOf,
  scaleBy,
  sumOver,
  sumTo,
  times,
  type Value,
  wholes,
} from './building.js'

/** Of a reduction: its axes, and `value`, of the result's shape, with those axes at length 1. */
function reduced(b: GradientBuilder, call: GradientCall) {
  const x = inputOf(call, 0)
  const axes = reducedAxes(call, x.shape.length)
  const kept = (value: string) => (int(call, 'keepdims') || axes.length === 0 ? value : b.op('Unsqueeze', [value, wholes(b, axes)]))
  return { x, axes, kept }
}

export const reduceSum: GradientRule = (b, call) => {
  const { x, kept } = reduced(b, call)
  return [expandTo(b, kept(call.gradients[0]!), x)]
}

export const reduceMean: GradientRule = (b, call) => {
  const { x, axes, kept } = reduced(b, call)
  const count = countAlong(b, x, axes)
  const share = kept(call.gradients[0]!)
  return [expandTo(b, typeof count === 'number' ? scaleBy(b, share, x, 1 / count) : b.op('Div', [share, count]), x)]
}

/** 2 g x */
export const reduceSumSquare: GradientRule = (b, call) => {
  const { x, kept } = reduced(b, call)
  return [b.op('Mul', [x.name, scaleBy(b, kept(call.gradients[0]!), x, 2)])]
}

/** Shared evenly by all that are equal to the extreme. */
export const reduceExtreme: GradientRule = (b, call) => {
  const { x, axes, kept } = reduced(b, call)
  const isExtreme = indicator(b, b.op('Equal', [x.name, kept(call.outputNames[0]!)]), x)
  const share = b.op('Div', [kept(call.gradients[0]!), sumOver(b, isExtreme, axes, 1)])
  return [b.op('Mul', [isExtreme, share])]
}

/** p (g - sum g p) */
export const softmax = ofOne((b, { gradient, x, y, call }) => {
  const axis = normalizeAxis(int(call, 'axis'), x.shape.length)
  // A row without any finite score is NaN; a model that then goes on with 0 has a slope of 0 there.
  const isLost = b.existing('IsNaN', [y.name])
  const p = isLost ? b.op('Where', [isLost, literal(b, y, 0), y.name]) : y.name
  return b.op('Mul', [p, b.op('Sub', [gradient, sumOver(b, times(b, gradient, p), [axis], 1)])])
})

/**
 * With n = (x - mean) inverse and w the scale: of y, g w less its mean and less n times the mean of g w n, all times inverse. What comes
 * through the other two outputs joins those two means.
 */
export const layerNormalization: GradientRule = (b, call) => {
  const [x, scale] = [inputOf(call, 0), inputOf(call, 1)]
  const [, mean, inverse] = call.outputNames as [string, string, string]
  const [ofY, ofMean, ofInverse] = call.gradients
  const from = normalizeAxis(int(call, 'axis'), x.shape.length)
  const axes = Array.from({ length: x.shape.length - from }, (_, at) => from + at)
  const normal = b.op('Mul', [b.op('Sub', [x.name, mean]), inverse])
  const weighted = ofY && b.op('Mul', [ofY, normal]) // g n
  const share = (value: string) => {
    const count = countAlong(b, x, axes)
    return typeof count === 'number' ? scaleBy(b, value, x, 1 / count) : b.op('Div', [value, count])
  }
  const toX = () => {
    const steep = ofY && b.op('Mul', [ofY, scale.name])
    const level = sum(b, ofY && weightedMean(b, ofY, { x, scale, axes }), ofMean && b.op('Neg', [share(b.op('Div', [ofMean, inverse]))]))
    const ofScale = ofInverse && share(b.op('Mul', [ofInverse, inverse]))
    const slope = sum(b, weighted && weightedMean(b, weighted, { x, scale, axes }), ofScale)
    const taken = sum(b, level, slope && b.op('Mul', [normal, slope]))!
    return b.op('Mul', [steep ? b.op('Sub', [steep, taken]) : b.op('Neg', [expanded(b, taken, x, slope !== undefined)]), inverse])
  }
  return [
    call.wanted[0] ? toX() : undefined,
    call.wanted[1] && weighted ? sumTo(b, { ...x, name: weighted }, scale.shape) : undefined,
    call.wanted[2] && ofY ? sumTo(b, { ...x, name: ofY }, call.inputs[2]!.shape) : undefined,
  ]
}

/** The mean over `axes` of a value times the scale: where that is one axis, a product with a column, which reads the value once. */
function weightedMean(b: GradientBuilder, value: string, { x, scale, axes }: { x: Value; scale: Value; axes: readonly number[] }): string {
  const length = scale.shape[0]
  if (axes.length > 1 || scale.shape.length !== 1 || typeof length !== 'number' || length === 1) {
    return b.op('ReduceMean', [b.op('Mul', [value, scale.name]), wholes(b, axes)])
  }
  return b.op('MatMul', [value, b.op('Unsqueeze', [scaleBy(b, scale.name, x, 1 / length), wholes(b, [1])])])
}

const expanded = (b: GradientBuilder, value: string, like: Value, isWhole: boolean) => (isWhole ? value : expandTo(b, value, like))

function sum(b: GradientBuilder, left: string | undefined, right: string | undefined): string | undefined {
  return left !== undefined && right !== undefined ? b.op('Add', [left, right]) : (left ?? right)
}

/** Each value's gradient goes back to its place; the rest takes none. */
export const topK: GradientRule = (b, call) => {
  const x = inputOf(call, 0)
  const axis = int(call, 'axis')
  return [b.op('ScatterElements', [filled(b, x, 0), outputOf(call, 1).name, call.gradients[0]!], { axis })]
}
