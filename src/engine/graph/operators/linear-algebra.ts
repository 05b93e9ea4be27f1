/** Products of matrices. */

import * as gradients from '../gradients/linear-algebra.js'
import { type Operator, refuse } from '../operator.js'
import type { Dim } from '../value-type.js'
import { broadcast, floats, int, mustBroadcastTo, operands, show } from './rules.js'

export const linearAlgebra = {
  /** As numpy's `matmul`: the last two axes are matrices, those before broadcast; a vector gains an axis that is dropped again. */
  MatMul: {
    inputs: [2, 2],
    outputs: [1, 1],
    attributes: {},
    since: 13,
    infer: (call) => {
      const [left, right] = operands(call, floats)
      if (left!.shape.length === 0 || right!.shape.length === 0) refuse('a scalar cannot be multiplied as a matrix')
      const a = left!.shape.length === 1 ? [1, ...left!.shape] : left!.shape
      const b = right!.shape.length === 1 ? [...right!.shape, 1] : right!.shape
      if (a.at(-1) !== b.at(-2)) refuse(`shapes ${show(left!.shape)} and ${show(right!.shape)} do not multiply`)
      const shape = broadcast(a.slice(0, -2), b.slice(0, -2))
      if (left!.shape.length > 1) shape.push(a.at(-2)!)
      if (right!.shape.length > 1) shape.push(b.at(-1)!)
      return [{ dtype: left!.dtype, shape }]
    },
    gradient: gradients.matMul,
  },
  /** ONNX Runtime's own: `alpha A' B'` of stacks of matrices; `'` transposes the last two axes where `transA`, `transB` say so. */
  FusedMatMul: {
    domain: 'com.microsoft',
    inputs: [2, 2],
    outputs: [1, 1],
    attributes: {
      alpha: { kind: 'float', default: 1 },
      transA: { kind: 'int', default: 0, allowed: [0, 1] },
      transB: { kind: 'int', default: 0, allowed: [0, 1] },
    },
    since: 1,
    infer: (call) => {
      const [a, b] = operands(call, floats)
      if (a!.shape.length < 2 || b!.shape.length < 2) refuse(`FusedMatMul takes matrices, not ${show(a!.shape)} and ${show(b!.shape)}`)
      const turned = (shape: readonly Dim[], isTurned: number) => (isTurned ? shape.slice(-2).toReversed() : shape.slice(-2))
      const [rows, inner] = turned(a!.shape, int(call, 'transA'))
      const [innerB, columns] = turned(b!.shape, int(call, 'transB'))
      if (inner !== innerB) refuse(`shapes ${show([rows!, inner!])} and ${show([innerB!, columns!])} (after transposition) do not multiply`)
      return [{ dtype: a!.dtype, shape: [...broadcast(a!.shape.slice(0, -2), b!.shape.slice(0, -2)), rows!, columns!] }]
    },
    gradient: gradients.fusedMatMul,
  },
  /** `alpha A' B' + beta C` of matrices; `'` transposes where `transA`, `transB` say so; C broadcasts to the result. */
  Gemm: {
    inputs: [2, 3],
    outputs: [1, 1],
    attributes: {
      alpha: { kind: 'float', default: 1 },
      beta: { kind: 'float', default: 1 },
      transA: { kind: 'int', default: 0, allowed: [0, 1] },
      transB: { kind: 'int', default: 0, allowed: [0, 1] },
    },
    since: 13,
    infer: (call) => {
      const [a, b, c] = operands(call, floats)
      if (a!.shape.length !== 2 || b!.shape.length !== 2) refuse(`Gemm takes matrices, not ${show(a!.shape)} and ${show(b!.shape)}`)
      const [rows, inner] = int(call, 'transA') ? a!.shape.toReversed() : a!.shape
      const [innerB, columns] = int(call, 'transB') ? b!.shape.toReversed() : b!.shape
      if (inner !== innerB) refuse(`shapes ${show([rows!, inner!])} and ${show([innerB!, columns!])} (after transposition) do not multiply`)
      const shape = [rows!, columns!]
      if (c) mustBroadcastTo('C', c.shape, shape)
      return [{ dtype: a!.dtype, shape }]
    },
    gradient: gradients.gemm,
  },
} as const satisfies Record<string, Operator>
