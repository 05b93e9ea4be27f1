/**
 * A registered data set as the engine takes it: what is known of its pictures is read from the database at once, the pictures from the blob
 * store when they are needed.
 */

import { type Dataset, type DatasetItem, nothingToReport, type PictureSource } from '../engine/datasets/dataset.js'
import { EngineError } from '../engine/errors.js'
import type { BlobStore } from './blob-store.js'
import type { Catalog } from './catalog.js'
import type { KnownDatasetItem } from './datasets.js'

/**
 * With the hash, the order, the labels, captions and facets that it was registered with. It does not change while it is open, and can be
 * opened by any process that has the same database and blob store.
 *
 * @throws DATASET_INVALID when there is none of this id, or its pictures are not stored
 */
export async function openCatalogDataset(
  { catalog, blobs }: { readonly catalog: Pick<Catalog, 'datasets'>; readonly blobs: Pick<BlobStore, 'get'> },
  id: string,
): Promise<Dataset> {
  const refuse = (problem: string) => new EngineError('DATASET_INVALID', { dataset: `"${id.slice(0, 200)}"`, problem })
  const record = await catalog.datasets.get(id)
  if (record === undefined) throw refuse('there is none of this id.')
  if (record.hash === null || record.nItems === 0) {
    throw refuse('it is only known by name; its pictures are not here. Register them: refract datasets add.')
  }
  const items: DatasetItem[] = []
  for await (const known of catalog.datasets.allItems(id)) {
    if (known.imageId === null) throw refuse(`the picture of ${known.name} is not stored.`)
    items.push(itemOf(known, known.imageId, blobs))
  }
  if (items.length !== record.nItems) throw refuse('it was removed while it was being opened.')
  const { hash, nClasses, classNames, report } = record
  return {
    name: id,
    hash,
    size: items.length,
    ...(nClasses !== null && { nClasses }),
    ...(classNames.length > 0 && { classNames }),
    report: report ?? nothingToReport,
    item: (index) => items[index]!,
  }
}

function itemOf(
  { name, variants, label, captions, facets }: KnownDatasetItem,
  imageId: string,
  blobs: Pick<BlobStore, 'get'>,
): DatasetItem {
  return {
    name,
    picture: stored(imageId, blobs),
    ...(variants.length > 0 && { variants: variants.map((each) => stored(each, blobs)) }),
    ...(label !== null && { label }),
    ...(captions.length > 0 && { captions }),
    facets,
  }
}

function stored(imageId: string, blobs: Pick<BlobStore, 'get'>): PictureSource {
  return {
    kind: 'stored',
    async read() {
      const bytes = await blobs.get(imageId.slice('sha256:'.length))
      if (bytes === undefined) throw new EngineError('FILE_INVALID', { file: imageId, problem: 'is not in the blob store any more.' })
      return bytes
    },
  }
}
