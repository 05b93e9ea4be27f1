import { elementCount, type Tensor } from '../../tensor.js'
import { axisOf, type Kernel, numbersOf, store, wholeNumbers } from './kernel.js'
import { expand, transpose } from './shape.js'

/** A tensor as rows: the elements that share their place along every axis but `axes`. */
function rowsAlong(tensor: Tensor, axes: readonly number[]) {
  const kept = tensor.shape.flatMap((_, axis) => (axes.includes(axis) ? [] : [axis]))
  const data = numbersOf(transpose(tensor, [...kept, ...axes]))
  const rowLength = axes.reduce((product, axis) => product * tensor.shape[axis]!, 1)
  const nRows = elementCount(kept.map((axis) => tensor.shape[axis]!))
  const rows = Array.from({ length: nRows }, (_, row) => Array.from({ length: rowLength }, (_, at) => data[row * rowLength + at]!))
  return { rows, kept }
}

const reduction =
  (combine: (row: readonly number[]) => number): Kernel =>
  ({ inputs: [x, givenAxes], attributes }) => {
    const rank = x!.shape.length
    const named = givenAxes ? wholeNumbers(givenAxes).map((axis) => axisOf(axis, rank)) : []
    const axes = named.length > 0 ? named : x!.shape.map((_, axis) => axis)
    const { rows } = rowsAlong(x!, axes)
    const kept = x!.shape.map((length, axis) => (axes.includes(axis) ? 1 : length))
    const shape = attributes.keepdims === 1 ? kept : kept.filter((_, axis) => !axes.includes(axis))
    return [store(x!.dtype, shape, rows.map(combine))]
  }

const sum = (row: readonly number[]) => row.reduce((total, value) => total + value, 0)
const mean = (row: readonly number[]) => sum(row) / row.length
const largest = (row: readonly number[]) => row.reduce((best, value) => Math.max(best, value), Number.NEGATIVE_INFINITY)
const smallest = (row: readonly number[]) => row.reduce((best, value) => Math.min(best, value), Number.POSITIVE_INFINITY)

/** Puts rows of the last axis back to `axis`. */
function restoreAxis(rows: Tensor, axis: number): Tensor {
  const last = rows.shape.length - 1
  const perm = rows.shape.map((_, at) => (at < axis ? at : at === axis ? last : at - 1))
  return transpose(rows, perm)
}

const softmax: Kernel = ({ inputs: [x], attributes }) => {
  const axis = axisOf(attributes.axis as number, x!.shape.length)
  const { rows, kept } = rowsAlong(x!, [axis])
  const shares = rows.flatMap((row) => {
    const highest = largest(row)
    const powers = row.map((value) => Math.exp(value - highest))
    const total = sum(powers)
    return powers.map((power) => power / total)
  })
  const shape = [...kept.map((at) => x!.shape[at]!), x!.shape[axis]!]
  return [restoreAxis(store(x!.dtype, shape, shares), axis)]
}

const layerNormalization: Kernel = ({ inputs: [x, scale, bias], attributes, nOutputs }) => {
  const { shape, dtype } = x!
  const from = axisOf(attributes.axis as number, shape.length)
  const axes = shape.flatMap((_, axis) => (axis < from ? [] : [axis]))
  const { rows } = rowsAlong(x!, axes)
  const means = rows.map(mean)
  // ONNX holds the attribute in float32.
  const epsilon = Math.fround(attributes.epsilon as number)
  const inverseScales = rows.map((row, at) => 1 / Math.sqrt(mean(row.map((value) => (value - means[at]!) ** 2)) + epsilon))
  const [weights, biases] = [scale, bias].map((parameter) => parameter && repeated(parameter, shape.slice(from)))
  const y = rows.flatMap((row, at) =>
    row.map((value, place) => (value - means[at]!) * inverseScales[at]! * weights![place]! + (biases?.[place] ?? 0)),
  )
  const statistic = shape.map((length, axis) => (axis < from ? length : 1))
  return [store(dtype, shape, y), store(dtype, statistic, means), store(dtype, statistic, inverseScales)].slice(0, nOutputs)
}

/** The elements of a tensor broadcast to `shape`. */
function repeated(parameter: Tensor, shape: readonly number[]): ArrayLike<number> {
  return numbersOf(expand(parameter, shape))
}

/** The places of a row's elements, best first; of equals the first comes first. NaN counts as larger than everything. */
function ranking(row: readonly number[], isLargest: boolean): number[] {
  const order = (a: number, b: number) => (Object.is(a, b) || a === b ? 0 : Number.isNaN(a) || a > b ? -1 : 1)
  return row.map((_, place) => place).sort((a, b) => (isLargest ? order(row[a]!, row[b]!) : order(row[b]!, row[a]!)) || a - b)
}

const argMax: Kernel = ({ inputs: [x], attributes }) => {
  const axis = axisOf(attributes.axis as number, x!.shape.length)
  const { rows } = rowsAlong(x!, [axis])
  const places = rows.map((row) => {
    const highest = largest(row)
    return attributes.select_last_index === 1 ? row.lastIndexOf(highest) : row.indexOf(highest)
  })
  const shape = attributes.keepdims === 1 ? x!.shape.with(axis, 1) : x!.shape.toSpliced(axis, 1)
  return [store('int64', shape, places)]
}

const topK: Kernel = ({ inputs: [x, count], attributes }) => {
  const axis = axisOf(attributes.axis as number, x!.shape.length)
  const k = wholeNumbers(count!)[0]!
  const { rows, kept } = rowsAlong(x!, [axis])
  const places = rows.map((row) => ranking(row, attributes.largest === 1).slice(0, k))
  const values = places.flatMap((best, at) => best.map((place) => rows[at]![place]!))
  const shape = [...kept.map((at) => x!.shape[at]!), k]
  return [store(x!.dtype, shape, values), store('int64', shape, places.flat())].map((result) => restoreAxis(result, axis))
}

export const alongAxes = {
  ReduceMean: reduction(mean),
  ReduceSum: reduction(sum),
  ReduceSumSquare: reduction((row) => sum(row.map((value) => value * value))),
  ReduceMax: reduction(largest),
  ReduceMin: reduction(smallest),
  Softmax: softmax,
  LayerNormalization: layerNormalization,
  ArgMax: argMax,
  TopK: topK,
} as const satisfies Record<string, Kernel>
