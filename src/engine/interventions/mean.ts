/**
 * Mean ablation: the value is replaced by a stored mean, or by its mean over the inputs of the request, at each position and head by
 * itself. With one input that is the value itself.
 */

import { int64 } from '../tensor.js'
import type { Edit } from './edit.js'
import { replacementForm } from './set.js'
import { type Technique, vectorOperand } from './technique.js'

export const mean: Technique<Extract<Edit, { op: 'mean' }>> = {
  form: ({ vector }) => (vector ? replacementForm : 'mean'),
  rowsTogether: ({ vector }) => (vector ? undefined : 'reduce'),
  operands: ({ vector }, place) => (vector ? { replacement: vectorOperand(place, vector) } : {}),
  build: (builder, x, { replacement }) => replacement ?? builder.op('ReduceMean', [x, builder.constant(int64([1], [0]))], { keepdims: 1 }), // [1, ...]
}
