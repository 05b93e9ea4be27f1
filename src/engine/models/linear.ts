/**
 * Linear layers, and the one place that knows how a weight matrix lies in memory: `[out, in]`, as PyTorch checkpoints have it, so that a
 * weight goes from the file into `Gemm` (transB = 1) without a copy.
 */

import type { GraphBuilder } from '../graph/builder.js'
import { reshape, transpose } from '../graph/expressions.js'

export interface Linear {
  /** Parameter name of the weight. */
  readonly weight: string
  /** Parameter name of the bias; absent where the layer has none. */
  readonly bias?: string
  readonly dIn: number
  readonly dOut: number
}

/** Shape of a weight parameter. */
export function weightShape({ dIn, dOut }: { dIn: number; dOut: number }): [number, number] {
  return [dOut, dIn]
}

/** The lengths that a weight parameter's shape says. */
export function weightSize(shape: readonly number[]): { dIn: number; dOut: number } {
  return { dOut: shape[0]!, dIn: shape[1]! }
}

/** Where the weight from input `i` to output `o` stands in the flat array, as `o * out + i * in`. */
export function weightStrides({ dIn }: { dIn: number; dOut: number }): { out: number; in: number } {
  return { out: dIn, in: 1 }
}

/**
 * y = x W^T + b over the last axis. The bias is added last and by itself: a Reshape renames memory, but one whose result is an output of
 * the graph has to copy it, and what is added to here is most often a hook point.
 * @param outShape  shape of the result after the batch axis: `[pos, dOut]`, or `[pos, head, dHead]`
 */
export function linear(b: GraphBuilder, x: string, layer: Linear, outShape: readonly number[]): string {
  const rows = reshape(b, x, [-1, layer.dIn])
  const product = b.op('Gemm', [rows, b.parameter(layer.weight, weightShape(layer))], { transB: 1 })
  const y = outShape.length === 1 ? product : reshape(b, product, [-1, ...outShape])
  return layer.bias === undefined ? y : b.op('Add', [y, biasOf(b, layer, outShape.slice(1))])
}

/** The bias in the shape of the axes it is added to: `[dOut]`, or `[head, dHead]`. */
function biasOf(b: GraphBuilder, layer: Linear, shape: readonly number[]): string {
  const bias = b.parameter(layer.bias!, [layer.dOut])
  return shape.length > 1 ? reshape(b, bias, shape) : bias
}

/**
 * The same layer where each head has an input of its own: `[batch, pos, head, dIn]` to `[batch, pos, head, dHead]`.
 */
export function linearPerHead(b: GraphBuilder, x: string, layer: Linear, nHeads: number): string {
  const dHead = layer.dOut / nHeads
  const weight = reshape(b, b.parameter(layer.weight, weightShape(layer)), [nHeads, dHead, layer.dIn])
  const byHead = b.op('MatMul', [transpose(b, x, [0, 2, 1, 3]), transpose(b, weight, [0, 2, 1])]) // [batch, head, pos, dHead]
  const y = transpose(b, byHead, [0, 2, 1, 3])
  if (layer.bias === undefined) return y
  return b.op('Add', [y, biasOf(b, layer, [nHeads, dHead])])
}

/**
 * What each head writes: `z` `[batch, pos, head, dHead]` through its own columns of the output projection, without bias:
 * `[batch, pos, head, dOut]`.
 */
export function linearFromHeads(b: GraphBuilder, z: string, layer: Linear, nHeads: number): string {
  const dHead = layer.dIn / nHeads
  const weight = reshape(b, b.parameter(layer.weight, weightShape(layer)), [layer.dOut, nHeads, dHead])
  const byHead = b.op('MatMul', [transpose(b, z, [0, 2, 1, 3]), transpose(b, weight, [1, 2, 0])]) // [batch, head, pos, dOut]
  return transpose(b, byHead, [0, 2, 1, 3])
}
