/** The component along a direction is removed: `x - (x . u) u`, `u = v / |v|`. Ravfogel et al. (2020), nullspace projection. */

import type { GraphBuilder } from '../graph/builder.js'
import { int64 } from '../tensor.js'
import { unitVector } from '../vectors.js'
import type { Edit } from './edit.js'
import { type Technique, vectorOperand } from './technique.js'

export const projectOut: Technique<Extract<Edit, { op: 'project-out' }>> = {
  form: () => 'project-out',
  operands: ({ vector }, place) => ({ direction: vectorOperand(place, unitVector(vector)) }),
  build: (builder, x, { direction }) => builder.op('Sub', [x, builder.op('Mul', [projection(builder, x, direction!), direction!])]),
  needsFinite: true,
}

/** `x . u` over the last axis, which stays with length 1. */
export function projection(builder: GraphBuilder, x: string, direction: string): string {
  return builder.op('ReduceSum', [builder.op('Mul', [x, direction]), builder.constant(int64([1], [-1]))], { keepdims: 1 })
}
