/**
 * Features that were found, as clients see them, with what an index says of them.
 */

import type { FeatureSetRecord, StoredFeature } from '../../catalog/feature-sets.js'
import { describeExplanation, picturesOf, summarizeFeature, topExamples } from '../feature-facts/describe-feature.js'
import type { Context } from '../operation.js'
import type { FoundFeature } from '../schemas/search.js'
import { groupBy } from './group-by.js'

export interface FeatureKey {
  readonly sae: string
  readonly index: number
}

export type Shown = Omit<FoundFeature, 'scores' | 'position' | 'patch'>

/** What is stored of the features of a page, by SAE. */
export async function storedFeatures(
  { catalog }: Context,
  keys: readonly FeatureKey[],
  setOf: (sae: string) => FeatureSetRecord | undefined,
): Promise<ReadonlyMap<string, ReadonlyMap<number, StoredFeature>>> {
  const bySae = [...groupBy(keys, ({ sae }) => sae)]
  const found = bySae.map(async ([sae, hits]) => {
    const set = setOf(sae)
    const indices = [...new Set(hits.map(({ index }) => index))]
    const features = set ? await catalog.features.get(set, indices) : []
    return [sae, new Map(features.map((feature) => [feature.index, feature]))] as const
  })
  return new Map(await Promise.all(found))
}

/** In the order of `keys`. Of a feature that is not indexed there are explanations alone. */
export async function describeHits(
  context: Context,
  keys: readonly FeatureKey[],
  about: {
    readonly setOf: (sae: string) => FeatureSetRecord | undefined
    readonly stored: ReadonlyMap<string, ReadonlyMap<number, StoredFeature>>
    readonly nExamples: number
  },
): Promise<Shown[]> {
  const { catalog } = context
  const bySae = [...groupBy(keys, ({ sae }) => sae)]
  const shown = new Map<string, Shown>()
  for (const [sae, hits] of bySae) {
    const set = about.setOf(sae)
    const features = about.stored.get(sae)!
    const missing = [...new Set(hits.map(({ index }) => index))].filter((index) => !features.has(index))
    const examplesOf = new Map([...features].map(([index, feature]) => [index, topExamples(feature, about.nExamples)]))
    const pictures = set && (await picturesOf(catalog, set, [...examplesOf.values()].flat()))
    for (const [index, feature] of features) {
      shown.set(`${sae}/${index}`, summarizeFeature(feature, { set: set!, pictures: pictures!, examples: examplesOf.get(index)! }))
    }
    const said = missing.length > 0 ? await catalog.explanations.list(sae, missing) : []
    for (const index of missing) {
      const explanations = said.filter((each) => each.index === index).map(describeExplanation)
      const unknown = { dataset: null, statistics: null, pictures: null, examples: [] }
      shown.set(`${sae}/${index}`, { id: `${sae}/${index}`, sae, index, explanations, ...unknown })
    }
  }
  return keys.map(({ sae, index }) => shown.get(`${sae}/${index}`)!)
}
