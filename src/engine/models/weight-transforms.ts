/**
 * How a checkpoint's tensor becomes parameters: transposed, cut, regrouped. Each transform knows the shape that its source must have, and
 * the way back, so that one name map serves reading and writing.
 */

import { invariant } from '../errors.js'
import { elementCount, type Tensor } from '../tensor.js'
import { weightSize, weightStrides } from './linear.js'
import { type ResizeRule, resizeGrid } from './position-resize.js'

type Shape = readonly number[]
type Weight = Tensor<'float32'>

export interface Transform {
  /** The shape the source must have, from those of the parameters made of it. */
  readonly sourceShape: (targets: readonly Shape[]) => Shape
  readonly apply: (source: Weight, targets: readonly Shape[]) => Weight[]
  /** The source that `apply` makes these parameters of, bit for bit. Absent where it cannot be had back. */
  readonly restore?: (parameters: readonly Weight[]) => Weight
}

const view = ({ data }: Weight, shape: Shape): Weight => ({ dtype: 'float32', shape, data })

const weight = (shape: Shape, data: Float32Array): Weight => {
  invariant(data.length === elementCount(shape), `a weight of shape [${shape}] made of ${data.length} numbers`)
  return { dtype: 'float32', shape, data }
}

/** The same numbers in the same order, stored in another shape. */
function otherShape(storedShape: (target: Shape) => Shape): Transform {
  return {
    sourceShape: ([target]) => storedShape(target!),
    apply: (source, [target]) => [view(source, target!)],
    restore: ([parameter]) => view(parameter!, storedShape(parameter!.shape)),
  }
}

/** The same shape. */
export const asIs: Transform = {
  sourceShape: ([target]) => target!,
  apply: (source) => [source],
  restore: ([parameter]) => parameter!,
}

/** The same numbers, where the source has leading axes of length 1: `[1, n, d]` for `[n, d]`. */
export const unbatched = otherShape((target) => [1, ...target])

/** The same numbers, where the source lacks the parameter's leading axes of length 1: `[d]` for `[1, 1, d]`. */
export const withoutLeadingAxes = otherShape((target) => target.slice(target.findIndex((length) => length !== 1)))

/** Copies a matrix whose element for output `o` and input `i` stands at `at(o, i)` of the source. */
function gathered(source: Float32Array, target: Shape, at: (out: number, input: number) => number): Weight {
  const { dIn, dOut } = weightSize(target)
  const strides = weightStrides({ dIn, dOut })
  const data = new Float32Array(dIn * dOut)
  for (let out = 0; out < dOut; out++) {
    for (let input = 0; input < dIn; input++) data[out * strides.out + input * strides.in] = source[at(out, input)]!
  }
  return weight(target, data)
}

/** The way back of `gathered`: a source of this shape. */
function scattered({ data, shape: target }: Weight, shape: Shape, at: (out: number, input: number) => number): Weight {
  const { dIn, dOut } = weightSize(target)
  const strides = weightStrides({ dIn, dOut })
  const source = new Float32Array(dIn * dOut)
  for (let out = 0; out < dOut; out++) {
    for (let input = 0; input < dIn; input++) source[at(out, input)] = data[out * strides.out + input * strides.in]!
  }
  return weight(shape, source)
}

/** A transform of one matrix whose element for output `o` and input `i` stands at `at(size)(o, i)` of the source. */
function matrixStored(storedShape: (size: Size) => Shape, at: (size: Size) => (out: number, input: number) => number): Required<Transform> {
  return {
    sourceShape: ([target]) => storedShape(weightSize(target!)),
    apply: (source, [target]) => [gathered(source.data, target!, at(weightSize(target!)))],
    restore: ([parameter]) => {
      const size = weightSize(parameter!.shape)
      return scattered(parameter!, storedShape(size), at(size))
    },
  }
}

interface Size {
  readonly dIn: number
  readonly dOut: number
}

/** Whether a weight stored `[out, in]` lies as the parameter does. */
const isStoredAsUsed = (size: Size) => weightStrides(size).in === 1

const storedOutIn = matrixStored(
  ({ dIn, dOut }) => [dOut, dIn],
  ({ dIn }) =>
    (out, input) =>
      out * dIn + input,
)

/** A linear weight stored `[out, in]`, as `torch.nn.Linear` has it. */
export const linearWeight: Transform = {
  sourceShape: storedOutIn.sourceShape,
  apply: (source, [target]) => (isStoredAsUsed(weightSize(target!)) ? [source] : storedOutIn.apply(source, [target!])),
  restore: ([parameter]) => (isStoredAsUsed(weightSize(parameter!.shape)) ? parameter! : storedOutIn.restore([parameter!])),
}

/** A linear weight stored `[in, out]`, to be multiplied from the right. */
export const transposedWeight: Transform = matrixStored(
  ({ dIn, dOut }) => [dIn, dOut],
  ({ dOut }) =>
    (out, input) =>
      input * dOut + out,
)

/** Linear weights stored one above the other, `[q; k; v]`: `[3 out, in]`. */
export const stackedWeights: Transform = {
  sourceShape: (targets) => {
    const { dIn, dOut } = weightSize(targets[0]!)
    return [targets.length * dOut, dIn]
  },
  apply: (source, targets) =>
    targets.map((target, index) => {
      const { dIn, dOut } = weightSize(target)
      const rows = source.data.subarray(index * dOut * dIn, (index + 1) * dOut * dIn)
      return isStoredAsUsed({ dIn, dOut }) ? weight(target, rows) : gathered(rows, target, (out, input) => out * dIn + input)
    }),
  restore: (parameters) => {
    const { dIn, dOut } = weightSize(parameters[0]!.shape)
    return joined(
      parameters.map((parameter) => linearWeight.restore!([parameter])),
      [parameters.length * dOut, dIn],
    )
  },
}

/** Vectors stored one after the other: `[3 d]`. */
export const stackedVectors: Transform = {
  sourceShape: (targets) => [targets.reduce((sum, [length]) => sum + length!, 0)],
  apply: (source, targets) =>
    targets.map((target, index) => weight(target, source.data.subarray(index * target[0]!, (index + 1) * target[0]!))),
  restore: (parameters) => joined(parameters, [parameters.reduce((sum, { data }) => sum + data.length, 0)]),
}

/** Tensors one after the other. */
function joined(parts: readonly Weight[], shape: Shape): Weight {
  const data = new Float32Array(elementCount(shape))
  let at = 0
  for (const part of parts) {
    data.set(part.data, at)
    at += part.data.length
  }
  return weight(shape, data)
}

/** A weight into the heads, stored `[head, in, dHead]` (TransformerLens). */
export function weightIntoHeads(nHeads: number): Transform {
  return matrixStored(
    ({ dIn, dOut }) => [nHeads, dIn, dOut / nHeads],
    ({ dIn, dOut }) => {
      const dHead = dOut / nHeads
      return (out, input) => Math.floor(out / dHead) * dIn * dHead + input * dHead + (out % dHead)
    },
  )
}

/** A weight out of the heads, stored `[head, dHead, out]` (TransformerLens): its rows, taken together, are `[in, out]`. */
export function weightOutOfHeads(nHeads: number): Transform {
  return matrixStored(
    ({ dIn, dOut }) => [nHeads, dIn / nHeads, dOut],
    ({ dOut }) =>
      (out, input) =>
        input * dOut + out,
  )
}

/** A bias of the heads, stored `[head, dHead]`. */
export function biasOfHeads(nHeads: number): Transform {
  return otherShape((target) => [nHeads, target[0]! / nHeads])
}

export interface PositionTable {
  /** Rows of the stored table before those of the patches: 1 where CLS has a position. */
  readonly nStoredPrefix: number
  /** Rows of patches stored, and their grid. */
  readonly stored: { readonly rows: number; readonly columns: number }
  /** The grid the model runs on; another than the stored one is reached by `resize`. */
  readonly grid: { readonly rows: number; readonly columns: number }
  readonly resize?: ResizeRule
}

/**
 * A position table stored `[1, n, d]`; it cannot be had back once resized. Tokens that the model gives no position (registers, and CLS where positions are for patches only)
 * get a row of zeros after the stored prefix, which adds nothing.
 */
export function positionTable({ nStoredPrefix, stored, grid, resize }: PositionTable): Transform {
  const nPatches = grid.rows * grid.columns
  const isStoredGrid = stored.rows === grid.rows && stored.columns === grid.columns
  return {
    sourceShape: ([target]) => [1, nStoredPrefix + stored.rows * stored.columns, target![1]!],
    apply: (source, [target]) => {
      const [nRows, width] = target as [number, number]
      const prefix = source.data.subarray(0, nStoredPrefix * width)
      const patches = source.data.subarray(nStoredPrefix * width)
      if (isStoredGrid && nRows === nStoredPrefix + nPatches) return [view(source, target!)]
      invariant(isStoredGrid || resize, 'a position table for another grid needs a rule to resize it')
      const data = new Float32Array(nRows * width)
      data.set(prefix)
      data.set(isStoredGrid ? patches : resizeGrid(patches, { from: stored, to: grid, width }, resize!), (nRows - nPatches) * width)
      return [weight(target!, data)]
    },
  }
}
