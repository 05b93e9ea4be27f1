/** Where a feature's pictures are: paths of REST, which a client of either door follows. */

import type { FeatureSetRecord, StoredFeature } from '../../catalog/feature-sets.js'
import type { FeatureExample } from '../../engine/evaluation/feature-record.js'
import type { FeaturePictures } from '../schemas/feature.js'

/** On the data set of this index, whichever is indexed later. */
export class FeatureAddresses {
  readonly #root: string
  readonly #dataset: string
  readonly #examples: readonly FeatureExample[]

  constructor({ saeId, dataset }: FeatureSetRecord, { index, data }: StoredFeature) {
    this.#root = `/v1/saes/${encodeURIComponent(saeId)}/features/${index}`
    this.#dataset = `dataset=${encodeURIComponent(dataset.id)}`
    this.#examples = data.examples
  }

  pictures(): FeaturePictures {
    const of = (file: string) => `${this.#root}/${file}?${this.#dataset}`
    return { spriteUrl: of('sprite.png'), histogramUrl: of('histogram.svg'), densityUrl: of('density.svg') }
  }

  /** An example is known by its place among those of its kind and token (`examplesOf`). */
  heatmap(example: FeatureExample): string {
    const { kind, token } = example
    let n = 0
    for (const each of this.#examples) {
      if (each === example) break
      if (each.kind === kind && each.token === token) n++
    }
    return `${this.#root}/examples/${n}/heatmap.png?kind=${kind}&token=${token}&${this.#dataset}`
  }
}

export const imageUrl = (image: string) => `/v1/images/${image}`
