/** The value is multiplied: `s x`. */

import type { Edit } from './edit.js'
import { numberOperand, type Technique } from './technique.js'

export const scale: Technique<Extract<Edit, { op: 'scale' }>> = {
  form: () => 'scale',
  operands: ({ strength }, place) => ({ strength: numberOperand(place, strength) }),
  build: (builder, x, { strength }) => builder.op('Mul', [x, strength!]),
  needsFinite: true,
}
