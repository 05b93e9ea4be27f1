/**
 * Features that were found, as clients see them, with what an index says of them.
 */

import type { FeatureSetRecord, FeatureSummary } from '../../catalog/feature-sets.js'
import { describeExplanation, picturesOf, summarizeFeature } from '../feature-facts/describe-feature.js'
import type { Context } from '../operation.js'
import type { FoundFeature } from '../schemas/search.js'
import { groupBy } from './group-by.js'
import { PICTURES_OF_FEATURE } from './top-pictures.js'

export interface FeatureKey {
  readonly sae: string
  readonly index: number
}

export type Shown = Omit<FoundFeature, 'scores' | 'position' | 'patch'>

/** What is stored of the features of a page, by SAE: with as many top examples as are scored, or shown. */
export async function storedFeatures(
  { catalog }: Context,
  keys: readonly FeatureKey[],
  { setOf, nExamples }: { readonly setOf: (sae: string) => FeatureSetRecord | undefined; readonly nExamples: number },
): Promise<ReadonlyMap<string, ReadonlyMap<number, FeatureSummary>>> {
  const bySae = [...groupBy(keys, ({ sae }) => sae)]
  const found = bySae.map(async ([sae, hits]) => {
    const set = setOf(sae)
    const indices = [...new Set(hits.map(({ index }) => index))]
    const features = set ? await catalog.features.summaries(set, indices, Math.max(nExamples, PICTURES_OF_FEATURE)) : []
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
    readonly stored: ReadonlyMap<string, ReadonlyMap<number, FeatureSummary>>
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
    const cut = [...features.values()].map((feature) => ({ ...feature, examples: feature.examples.slice(0, about.nExamples) }))
    const pictures =
      set &&
      (await picturesOf(
        catalog,
        set,
        cut.flatMap(({ examples }) => examples),
      ))
    for (const feature of cut) {
      shown.set(`${sae}/${feature.index}`, summarizeFeature(feature, { set: set!, pictures: pictures! }))
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
