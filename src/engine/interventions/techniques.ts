/** Every kind of edit and the file that does it. */

import { add } from './add.js'
import { clampProjection } from './clamp-projection.js'
import type { Edit } from './edit.js'
import { addFeatures, changeFeatures } from './features.js'
import { mean } from './mean.js'
import { patch } from './patch.js'
import { projectOut } from './project-out.js'
import { reconstruct } from './reconstruct.js'
import { scale } from './scale.js'
import { set } from './set.js'
import type { Technique } from './technique.js'
import { zero } from './zero.js'

export const techniques: { readonly [Op in Edit['op']]: Technique<Extract<Edit, { op: Op }>> } = {
  add,
  set,
  scale,
  zero,
  mean,
  'project-out': projectOut,
  'clamp-projection': clampProjection,
  patch,
  'feature-add': addFeatures,
  'feature-set': changeFeatures,
  'feature-scale': changeFeatures,
  'feature-clamp': changeFeatures,
  'feature-ablate': changeFeatures,
  reconstruct,
}

/** The technique of an edit, typed for any. */
export function techniqueOf(edit: Edit): Technique {
  return techniques[edit.op] as Technique
}
