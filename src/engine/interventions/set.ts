/** The value is replaced: by `v` along the last axis, or every element by one number. */

import type { Edit } from './edit.js'
import { lastLength, type Technique, vectorOperand } from './technique.js'

export const set: Technique<Extract<Edit, { op: 'set' }>> = {
  form: () => replacementForm,
  operands: (edit, place) => {
    const vector = 'vector' in edit ? edit.vector : new Float32Array(lastLength(place)).fill(edit.value)
    return { replacement: vectorOperand(place, vector) }
  },
  build: (_builder, _x, { replacement }) => replacement!,
}

/** Whatever replaces by a vector along the last axis (zero, a stored mean) has the same graph. */
export const replacementForm = 'replace'
