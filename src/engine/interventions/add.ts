/** Steering: a direction is added, `x + s v` (`unit: 'norm'`: `x + s v / |v|`). Turner et al. (2023), "Activation addition". */

import { lengthOf } from '../vectors.js'
import type { Edit } from './edit.js'
import { type Technique, vectorOperand } from './technique.js'

type Add = Extract<Edit, { op: 'add' }>

export const add: Technique<Add> = {
  form: () => 'add',
  operands: (edit, place) => ({ delta: vectorOperand(place, steeringVector(edit)) }),
  build: (builder, x, { delta }) => builder.op('Add', [x, delta!]),
}

/** `s v`, rounded once. Zeros are negative zeros, the only number that added to any x, -0 included, gives x bit for bit. */
export function steeringVector({ vector, strength, unit }: Add): Float32Array {
  const factor = unit === 'norm' ? strength / lengthOf(vector) : strength
  // A loop: every run of a known structure does this, and `map` takes several times as long.
  const steering = new Float32Array(vector.length)
  for (let at = 0; at < vector.length; at++) steering[at] = vector[at]! * factor || -0
  return steering
}
