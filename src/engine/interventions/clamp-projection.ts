/** The component along a direction is kept between bounds: `x + (clamp(x . u, min, max) - x . u) u`, `u = v / |v|`. */

import { unitVector } from '../vectors.js'
import type { Edit } from './edit.js'
import { projection } from './project-out.js'
import { numberOperand, type Technique, vectorOperand } from './technique.js'

export const clampProjection: Technique<Extract<Edit, { op: 'clamp-projection' }>> = {
  form: () => 'clamp-projection',
  operands: ({ vector, min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY }, place) => ({
    direction: vectorOperand(place, unitVector(vector)),
    min: numberOperand(place, min),
    max: numberOperand(place, max),
  }),
  build: (builder, x, { direction, min, max }) => {
    const along = projection(builder, x, direction!)
    const clamped = builder.op('Min', [builder.op('Max', [along, min!]), max!])
    return builder.op('Add', [x, builder.op('Mul', [builder.op('Sub', [clamped, along]), direction!])])
  },
  needsFinite: true,
}
