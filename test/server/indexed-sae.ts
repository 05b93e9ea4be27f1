/** A seeded catalog with an SAE whose features are indexed on a data set, for tests of both doors. */

import type { Catalog } from '../../src/catalog/catalog.js'
import { seedCatalog } from '../../src/catalog/seed/seed-catalog.js'
import { features } from '../catalog/a-feature.js'
import { anSae } from '../catalog/an-sae.js'

export const PUBLISHED_SAE = 'clip-vit-b-32-datacomp-xl.9-resid-post.vanilla-x64-all'
export const INDEXED_SAE = 'dino-vitb16.1-resid-post.tests'
/** How many features it has. */
const WIDTH = 40

export async function addIndexedSae(catalog: Catalog): Promise<void> {
  await seedCatalog(catalog.prisma)
  await catalog.saes.create(anSae({ id: INDEXED_SAE, modelId: 'dino-vitb16', width: WIDTH }))
  const dataset = { id: 'pictures', name: 'Pictures', hash: 'a'.repeat(64), classNames: ['cat', 'dog'], description: null, license: null }
  const items = Array.from({ length: 100 }, (_, index) => ({ name: `${index}.png`, imageId: `sha256:${index}`, label: index % 2 }))
  await catalog.datasets.register({ ...dataset, items })
  await catalog.features.load(
    {
      ...{ saeId: INDEXED_SAE, dataset: { id: dataset.id, hash: dataset.hash }, width: WIDTH, seed: 1, dtype: 'float32' },
      ...{ backend: 'onnxruntime', codeVersion: '1', measuredAt: new Date('2026-01-01') },
      about: { nImages: 100, nTokens: 50, topLength: 4, patches: { first: 1, columns: 7 }, classNames: ['zero', 'one'] },
    },
    features(),
  )
  await catalog.explanations.add({ saeId: INDEXED_SAE, index: 3, text: 'red apples', author: 'ada', method: 'human', score: 0.5 })
}
