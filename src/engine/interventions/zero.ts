/** Zero ablation: the value is replaced by 0. */

import type { Edit } from './edit.js'
import { replacementForm } from './set.js'
import { lastLength, type Technique, vectorOperand } from './technique.js'

export const zero: Technique<Extract<Edit, { op: 'zero' }>> = {
  form: () => replacementForm,
  operands: (_edit, place) => ({ replacement: vectorOperand(place, new Float32Array(lastLength(place))) }),
  build: (_builder, _x, { replacement }) => replacement!,
}
