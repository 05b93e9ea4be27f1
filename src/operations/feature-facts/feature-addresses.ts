/** Where a feature's pictures are: paths of REST, which a client of either door follows. */

import type { StoredExample } from '../../catalog/feature-codec.js'
import type { FeatureSetRecord } from '../../catalog/feature-sets.js'
import type { FeaturePictures } from '../schemas/feature.js'

/** On the data set of this index, whichever is indexed later. */
export class FeatureAddresses {
  readonly #root: string
  readonly #dataset: string

  constructor({ saeId, dataset }: FeatureSetRecord, index: number) {
    this.#root = `/v1/saes/${encodeURIComponent(saeId)}/features/${index}`
    this.#dataset = `dataset=${encodeURIComponent(dataset.id)}`
  }

  pictures(): FeaturePictures {
    const of = (file: string) => `${this.#root}/${file}?${this.#dataset}`
    return { spriteUrl: of('sprite.png'), histogramUrl: of('histogram.svg'), densityUrl: of('density.svg') }
  }

  /** An example is known by its place among those of its kind and token (`examplesOf`). */
  heatmap({ kind, token, place }: StoredExample): string {
    return `${this.#root}/examples/${place}/heatmap.png?kind=${kind}&token=${token}&${this.#dataset}`
  }
}

export const imageUrl = (image: string) => `/v1/images/${image}`
