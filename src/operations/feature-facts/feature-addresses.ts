/** Where a feature's pictures are: paths of REST, which a client of either door follows. */

import type { FeatureSetRecord, StoredFeature } from '../../catalog/feature-sets.js'
import type { FeatureExample } from '../../engine/evaluation/feature-record.js'
import type { FeaturePictures } from '../schemas/feature.js'

/** On the data set of this index, whichever is indexed later. */
export function featurePictures({ saeId, dataset }: FeatureSetRecord, index: number): FeaturePictures {
  const of = (file: string) => `${root(saeId, index)}/${file}?${new URLSearchParams({ dataset: dataset.id })}`
  return { spriteUrl: of('sprite.png'), histogramUrl: of('histogram.svg'), densityUrl: of('density.svg') }
}

/** An example is known by its place among those of its kind and token (`examplesOf`). */
export function heatmapUrl({ saeId, dataset }: FeatureSetRecord, { index, data }: StoredFeature, example: FeatureExample): string {
  const { kind, token } = example
  const n = data.examples.filter((each) => each.kind === kind && each.token === token).indexOf(example)
  return `${root(saeId, index)}/examples/${n}/heatmap.png?${new URLSearchParams({ kind, token, dataset: dataset.id })}`
}

export const imageUrl = (image: string) => `/v1/images/${image}`

const root = (saeId: string, index: number) => `/v1/saes/${encodeURIComponent(saeId)}/features/${index}`
