/**
 * Linear layers, and the one place that knows how a weight matrix lies in memory: `[out, in]`, as PyTorch checkpoints have it, so that a
 * weight goes from the file into `Gemm` (transB = 1) without a copy.
 */

import type { GraphBuilder } from '../graph/builder.js'
import { reshape, transpose } from './tensor-ops.js'

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
 * y = x W^T + b over the last axis.
 * @param outShape  shape of the result after the batch axis: `[pos, dOut]`, or `[pos, head, dHead]`
 */
export function linear(b: GraphBuilder, x: string, layer: Linear, outShape: readonly number[]): string {
  const rows = reshape(b, x, [-1, layer.dIn])
  const inputs = [rows, b.parameter(layer.weight, weightShape(layer))]
  if (layer.bias !== undefined) inputs.push(b.parameter(layer.bias, [layer.dOut]))
  const y = b.op('Gemm', inputs, { transB: 1 })
  return outShape.length === 1 ? y : reshape(b, y, [-1, ...outShape])
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
  return b.op('Add', [y, reshape(b, b.parameter(layer.bias, [layer.dOut]), [nHeads, dHead])])
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
