/**
 * The classes of a transformers configuration.
 */

import type { ConfigFields, JsonObject } from '../config-fields.js'

/** How many there are: the length of `id2label`, else `num_labels`, else the library's default of 2. */
export function nHfClasses(fields: ConfigFields): number {
  const labels = fields.raw('id2label')
  if (typeof labels === 'object' && labels !== null) return Math.max(1, Object.keys(labels).length)
  return fields.count('num_labels', 2)
}

/** The two fields that name them. */
export function labelFields(labels: readonly string[]): JsonObject {
  return {
    id2label: Object.fromEntries(labels.map((label, index) => [String(index), label])),
    label2id: Object.fromEntries(labels.map((label, index) => [label, index])),
  }
}
