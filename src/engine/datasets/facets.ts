/** What is known of the items of a data set, as classes: the values of a facet (`category`), and which one each item has. */

import { EngineError } from '../errors.js'
import type { Dataset } from './dataset.js'

export interface FacetClasses {
  /** In order. */
  readonly values: readonly string[]
  /** By item: an index into `values`. */
  readonly labels: readonly number[]
}

/** @param path  of the field that named the facet. @throws INPUT_INVALID naming an item that does not have it */
export function facetClasses(dataset: Dataset, facet: string, path: string): FacetClasses {
  const own = Array.from({ length: dataset.size }, (_, index) => {
    const { facets, name } = dataset.item(index)
    const value = facets[facet]
    if (value !== undefined) return String(value)
    const problem = `"${facet}" is not known of ${name}; ${Object.keys(facets).join(', ') || 'nothing'} is`
    throw new EngineError('INPUT_INVALID', { path, problem })
  })
  const values = [...new Set(own)].sort()
  const numbers = new Map(values.map((value, index) => [value, index]))
  return { values, labels: own.map((value) => numbers.get(value)!) }
}

/** `face-smiling` as a caption has it: `face smiling`. */
export function inWords(value: string): string {
  return value.replaceAll(/[-_]+/g, ' ').trim().toLowerCase()
}
