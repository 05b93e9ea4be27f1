/**
 * Data sets made of others: a part by indices, by a facet, or held out by a seed; and several, one after the other. Nothing is copied.
 */

import { EngineError } from '../errors.js'
import { nearest } from '../nearest.js'
import { createRandom } from '../random.js'
import { type Dataset, type DatasetReport, type Finding, hashOf } from './dataset.js'

/** The items at these indices, in this order. @throws DATASET_INVALID when there are none */
export function subset(dataset: Dataset, indices: ArrayLike<number>, name: string): Dataset {
  if (indices.length === 0) throw new EngineError('DATASET_INVALID', { dataset: name, problem: 'nothing is left of it.' })
  const chosen = Uint32Array.from(indices)
  return {
    ...dataset,
    name,
    size: chosen.length,
    hash: hashOf('subset', dataset.hash, Array.from(chosen)),
    item: (index) => dataset.item(chosen[index]!),
  }
}

/**
 * The items of which a facet has one of these values; with `except`, the others.
 * @throws DATASET_INVALID when a value does not occur: a misspelt artist must not become an empty test set, or a training set with everything
 */
export function where(dataset: Dataset, facet: string, values: readonly (string | number)[], { except = false } = {}): Dataset {
  const of = facetValues(dataset, facet)
  const known = new Set(of)
  for (const value of values) {
    if (known.has(value)) continue
    const near = nearest(String(value), [...known].map(String))
    const hint = near.length > 0 ? `did you mean ${near.map((each) => `"${each}"`).join(' or ')}?` : `it has ${known.size} others.`
    throw new EngineError('DATASET_INVALID', { dataset: dataset.name, problem: `no item has the ${facet} "${value}"; ${hint}` })
  }
  const indices = of.flatMap((value, index) => (values.includes(value) === except ? [] : [index]))
  return subset(dataset, indices, `${dataset.name}, ${facet} ${except ? 'not ' : ''}${values.join(' or ')}`)
}

export interface HoldOut {
  /** Of the items, above 0 and below 1. */
  readonly fraction: number
  readonly seed: number
  /** A facet whose values stay together: all drawings of an emoji are on the same side. */
  readonly by?: string
}

/**
 * Two parts by a seed. Without `by`, each class is split in the same proportion (rounded, at least one item of every class of two or more
 * on each side).
 */
export function holdOut(dataset: Dataset, { fraction, seed, by }: HoldOut): { readonly rest: Dataset; readonly heldOut: Dataset } {
  const random = createRandom(seed).fork('hold out')
  const isHeldOut = new Uint8Array(dataset.size)
  const groups = by === undefined ? byLabel(dataset) : [byFacet(dataset, by)]
  for (const group of groups) {
    const n = group.length < 2 ? 0 : Math.min(group.length - 1, Math.max(1, Math.round(group.length * fraction)))
    const order = random.permutation(group.length)
    for (let i = 0; i < n; i++) for (const index of group[order[i]!]!) isHeldOut[index] = 1
  }
  const indices = (held: number) => Array.from(isHeldOut.keys()).filter((index) => isHeldOut[index] === held)
  return {
    rest: subset(dataset, indices(0), `${dataset.name} but for what is held out`),
    heldOut: subset(dataset, indices(1), `${dataset.name}, held out`),
  }
}

/** For each label (or once, without labels) its items, each a group of one. */
function byLabel(dataset: Dataset): number[][][] {
  const groups = new Map<number | undefined, number[][]>()
  for (let index = 0; index < dataset.size; index++) {
    const { label } = dataset.item(index)
    const group = groups.get(label)
    if (group) group.push([index])
    else groups.set(label, [[index]])
  }
  return [...groups.values()]
}

function byFacet(dataset: Dataset, facet: string): number[][] {
  const groups = new Map<string | number, number[]>()
  for (const [index, value] of facetValues(dataset, facet).entries()) {
    const group = groups.get(value)
    if (group) group.push(index)
    else groups.set(value, [index])
  }
  return [...groups.values()]
}

function facetValues(dataset: Dataset, facet: string): (string | number)[] {
  return Array.from({ length: dataset.size }, (_, index) => {
    const { facets } = dataset.item(index)
    const value = facets[facet]
    if (value !== undefined) return value
    const near = nearest(facet, Object.keys(facets))
    const known = Object.keys(facets).join(', ') || 'none'
    const hint = near.length > 0 ? `did you mean "${near[0]}"?` : `known: ${known}.`
    throw new EngineError('DATASET_INVALID', { dataset: dataset.name, problem: `its items have no "${facet}"; ${hint}` })
  })
}

/** One after the other. @throws DATASET_INVALID when their classes are not the same */
export function concat(parts: readonly Dataset[], name: string): Dataset {
  const [first, ...others] = parts
  if (first === undefined) throw new EngineError('DATASET_INVALID', { dataset: name, problem: 'it has no parts.' })
  for (const other of others) {
    const isSame = first.nClasses === other.nClasses && String(first.classNames) === String(other.classNames)
    if (!isSame) {
      const problem = `the classes of ${other.name} are not those of ${first.name}: ${classesOf(other)} and ${classesOf(first)}.`
      throw new EngineError('DATASET_INVALID', { dataset: name, problem })
    }
  }
  const starts: number[] = []
  let size = 0
  for (const part of parts) {
    starts.push(size)
    size += part.size
  }
  const reported = (key: keyof DatasetReport): Finding => ({
    count: parts.reduce((sum, part) => sum + part.report[key].count, 0),
    first: parts.flatMap((part) => part.report[key].first),
  })
  return {
    ...first,
    name,
    size,
    hash: hashOf('concat', ...parts.map((part) => part.hash)),
    report: { unreadable: reported('unreadable'), identical: reported('identical'), ignored: reported('ignored') },
    item: (index) => {
      const part = starts.findLastIndex((start) => start <= index)
      return parts[part]!.item(index - starts[part]!)
    },
  }
}

function classesOf({ nClasses, classNames }: Dataset): string {
  if (nClasses === undefined) return 'none'
  return classNames === undefined ? `${nClasses}` : `${nClasses} (${classNames.slice(0, 5).join(', ')}${nClasses > 5 ? ', ...' : ''})`
}
