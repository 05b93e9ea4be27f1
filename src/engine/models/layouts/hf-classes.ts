/**
 * How many classes a transformers configuration says: the length of `id2label`, else `num_labels`, else the library's default of 2.
 */

import type { ConfigFields } from '../config-fields.js'

export function nHfClasses(fields: ConfigFields): number {
  const labels = fields.raw('id2label')
  if (typeof labels === 'object' && labels !== null) return Math.max(1, Object.keys(labels).length)
  return fields.count('num_labels', 2)
}
