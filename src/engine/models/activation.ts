/**
 * Activation functions of an MLP, as graph operators; formulas as in ViT-Prisma and transformers.
 */

import type { GraphBuilder } from '../graph/builder.js'
import { addScalar, scaleBy } from '../graph/expressions.js'
import type { Activation } from './model.js'

/** `solu_ln` here is SoLU alone: its LayerNorm has hook points of its own and belongs to the MLP. */
export function activate(b: GraphBuilder, x: string, activation: Activation): string {
  switch (activation) {
    case 'relu':
      return b.op('Relu', [x])
    case 'gelu':
      return b.op('Gelu', [x], { approximate: 'none' })
    case 'gelu_new':
      return b.op('Gelu', [x], { approximate: 'tanh' })
    case 'gelu_fast':
      return geluFast(b, x)
    case 'silu':
      return b.op('Mul', [x, b.op('Sigmoid', [x])])
    case 'quick_gelu':
      return b.op('Mul', [x, b.op('Sigmoid', [scaleBy(b, x, 1.702)])])
    case 'solu_ln':
      return b.op('Mul', [x, b.op('Softmax', [x], { axis: -1 })])
    default:
      return activation satisfies never
  }
}

/** The tanh approximation with its constant cut to ten digits. */
function geluFast(b: GraphBuilder, x: string): string {
  const cubic = addScalar(b, scaleBy(b, b.op('Mul', [x, x]), 0.044715), 1)
  const inner = b.op('Mul', [scaleBy(b, x, 0.7978845608), cubic])
  return b.op('Mul', [scaleBy(b, x, 0.5), addScalar(b, b.op('Tanh', [inner]), 1)])
}
