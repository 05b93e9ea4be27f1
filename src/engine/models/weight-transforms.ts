/**
 * How a checkpoint's tensor becomes parameters: transposed, cut, regrouped. Each transform knows the shape that its source must have.
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
}

const view = ({ data }: Weight, shape: Shape): Weight => ({ dtype: 'float32', shape, data })

const weight = (shape: Shape, data: Float32Array): Weight => {
  invariant(data.length === elementCount(shape), `a weight of shape [${shape}] made of ${data.length} numbers`)
  return { dtype: 'float32', shape, data }
}

/** The same shape. */
export const asIs: Transform = {
  sourceShape: ([target]) => target!,
  apply: (source) => [source],
}

/** The same numbers, where the source has leading axes of length 1: `[1, n, d]` for `[n, d]`. */
export const unbatched: Transform = {
  sourceShape: ([target]) => [1, ...target!],
  apply: (source, [target]) => [view(source, target!)],
}

/** The same numbers, where the source lacks the parameter's leading axes of length 1: `[d]` for `[1, 1, d]`. */
export const withoutLeadingAxes: Transform = {
  sourceShape: ([target]) => target!.slice(target!.findIndex((length) => length !== 1)),
  apply: (source, [target]) => [view(source, target!)],
}

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

/** Whether a weight stored `[out, in]` lies as the parameter does. */
const isStoredAsUsed = (dIn: number, dOut: number) => weightStrides({ dIn, dOut }).in === 1

/** A linear weight stored `[out, in]`, as `torch.nn.Linear` has it. */
export const linearWeight: Transform = {
  sourceShape: ([target]) => {
    const { dIn, dOut } = weightSize(target!)
    return [dOut, dIn]
  },
  apply: (source, [target]) => {
    const { dIn, dOut } = weightSize(target!)
    return [isStoredAsUsed(dIn, dOut) ? source : gathered(source.data, target!, (out, input) => out * dIn + input)]
  },
}

/** A linear weight stored `[in, out]`, to be multiplied from the right. */
export const transposedWeight: Transform = {
  sourceShape: ([target]) => {
    const { dIn, dOut } = weightSize(target!)
    return [dIn, dOut]
  },
  apply: (source, [target]) => {
    const { dOut } = weightSize(target!)
    return [gathered(source.data, target!, (out, input) => input * dOut + out)]
  },
}

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
      return isStoredAsUsed(dIn, dOut) ? weight(target, rows) : gathered(rows, target, (out, input) => out * dIn + input)
    }),
}

/** Vectors stored one after the other: `[3 d]`. */
export const stackedVectors: Transform = {
  sourceShape: (targets) => [targets.reduce((sum, [length]) => sum + length!, 0)],
  apply: (source, targets) =>
    targets.map((target, index) => weight(target, source.data.subarray(index * target[0]!, (index + 1) * target[0]!))),
}

/** A weight into the heads, stored `[head, in, dHead]` (TransformerLens). */
export function weightIntoHeads(nHeads: number): Transform {
  return {
    sourceShape: ([target]) => {
      const { dIn, dOut } = weightSize(target!)
      return [nHeads, dIn, dOut / nHeads]
    },
    apply: (source, [target]) => {
      const { dIn, dOut } = weightSize(target!)
      const dHead = dOut / nHeads
      const at = (out: number, input: number) => Math.floor(out / dHead) * dIn * dHead + input * dHead + (out % dHead)
      return [gathered(source.data, target!, at)]
    },
  }
}

/** A weight out of the heads, stored `[head, dHead, out]` (TransformerLens): its rows, taken together, are `[in, out]`. */
export function weightOutOfHeads(nHeads: number): Transform {
  return {
    sourceShape: ([target]) => {
      const { dIn, dOut } = weightSize(target!)
      return [nHeads, dIn / nHeads, dOut]
    },
    apply: transposedWeight.apply,
  }
}

/** A bias of the heads, stored `[head, dHead]`. */
export function biasOfHeads(nHeads: number): Transform {
  return {
    sourceShape: ([target]) => [nHeads, target![0]! / nHeads],
    apply: (source, [target]) => [view(source, target!)],
  }
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
 * A position table stored `[1, n, d]`. Tokens that the model gives no position (registers, and CLS where positions are for patches only)
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
