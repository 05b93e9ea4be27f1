/**
 * The pictures in which features are most active, as many as their mean embedding is of.
 */

import { LRUCache } from 'lru-cache'
import type { FeatureSetRecord, FeatureSummary } from '../../catalog/feature-sets.js'
import type { Context } from '../operation.js'

export const PICTURES_OF_FEATURE = 8
/** Features that are read at once. */
const FEATURES_PER_STEP = 2048

/** The pictures of features, by index; none of a feature that was never active. */
export type TopPictures = ReadonlyMap<number, readonly string[]>

/** A set never changes, so what is kept of it is never stale; the count is of features. */
const MAX_KEPT = 500_000

export class KeptTopPictures {
  readonly #bySet = new LRUCache<number, TopPictures>({ maxSize: MAX_KEPT, sizeCalculation: ({ size }) => size + 1 })

  /** Of all features of a set. */
  async of({ catalog }: Context, set: FeatureSetRecord): Promise<TopPictures> {
    const known = this.#bySet.get(set.id)
    if (known) return known
    const items = new Map<number, readonly number[]>()
    let cursor: string | null | undefined
    do {
      const page = await catalog.features.list(set, {
        ...{ limit: FEATURES_PER_STEP, nExamples: PICTURES_OF_FEATURE },
        ...(cursor && { cursor }),
      })
      for (const feature of page.items) items.set(feature.index, topItems(feature))
      cursor = page.nextCursor
    } while (cursor)
    const found = await named(catalog, set, items)
    this.#bySet.set(set.id, found)
    return found
  }
}

/** Of some features. */
export function topPicturesOf({ catalog }: Context, set: FeatureSetRecord, features: readonly FeatureSummary[]): Promise<TopPictures> {
  return named(catalog, set, new Map(features.map((feature) => [feature.index, topItems(feature)])))
}

/** At tokens of one kind: scores at others are not to be compared with them. */
function topItems({ examples }: FeatureSummary): number[] {
  const ofOneKind = examples.filter(({ token }) => token === examples[0]!.token)
  return ofOneKind.slice(0, PICTURES_OF_FEATURE).map(({ item }) => item)
}

/** Pictures that are not stored are left out. */
async function named({ datasets }: Context['catalog'], { dataset }: FeatureSetRecord, items: ReadonlyMap<number, readonly number[]>) {
  const { items: known } = await datasets.itemsOf(dataset, [...new Set([...items.values()].flat())])
  const images = new Map(known.flatMap(({ index, imageId }) => (imageId === null ? [] : [[index, imageId] as const])))
  const entries = [...items].map(([index, list]) => [index, list.flatMap((item) => images.get(item) ?? [])] as const)
  return new Map(entries)
}
