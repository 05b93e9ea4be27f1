/** The pictures of a sweep that is a job: uploaded ones by their ids, or some of a data set. */

import { Type } from 'typebox'
import type { BlobStore } from '../../../catalog/blob-store.js'
import type { Catalog } from '../../../catalog/catalog.js'
import { EngineError } from '../../../engine/errors.js'
import { pictureOrder } from '../../../engine/evaluation/sampling.js'
import type { PictureFile } from '../../../engine/host/host.js'
import { RequestError } from '../../errors.js'
import { ImageId } from '../../schemas/image.js'

const MAX_IDS = 2_000

const PicturesShape = (of: string) =>
  Type.Object(
    {
      images: Type.Optional(Type.Array(ImageId, { minItems: 1, maxItems: MAX_IDS, uniqueItems: true, description: 'Uploaded ones.' })),
      dataset: Type.Optional(Type.String({ minLength: 1, maxLength: 200, description: 'The id of a data set whose pictures are here.' })),
      pictures: Type.Optional(
        Type.Integer({
          minimum: 1,
          maximum: 2 ** 31 - 1,
          description: 'How many of the data set, drawn with `seed`; all of them unless given.',
        }),
      ),
    },
    { additionalProperties: false, description: `${of}: \`images\` or \`dataset\`.` },
  )

export const pictureFields = {
  on: PicturesShape('What is swept'),
  control: Type.Optional(PicturesShape('On which nothing should change: collateral is measured on them, and nothing else')),
}

export interface ChosenPictures {
  readonly images?: readonly string[]
  readonly dataset?: string
  readonly pictures?: number
}

/** @throws INPUT_INVALID, DATASET_UNKNOWN, DATASET_INVALID; IMAGE_UNKNOWN of an id that is not there */
export async function pictureIds(
  catalog: Pick<Catalog, 'datasets' | 'images'>,
  { images, dataset, pictures }: ChosenPictures,
  { path, seed }: { readonly path: string; readonly seed: number },
): Promise<readonly string[]> {
  const refuse = (at: string, problem: string) => new EngineError('INPUT_INVALID', { path: at, problem }, [{ path: at, message: problem }])
  if ((images === undefined) === (dataset === undefined)) throw refuse(path, 'takes either "images" or "dataset"')
  if (images !== undefined) {
    if (pictures !== undefined) throw refuse(`${path}.pictures`, 'is of a data set')
    for (const image of images) if (!(await catalog.images.get(image))) throw new RequestError('IMAGE_UNKNOWN', { image })
    return images
  }
  const record = await catalog.datasets.get(dataset!)
  if (!record) throw new RequestError('DATASET_UNKNOWN', { dataset: dataset!, known: await catalog.datasets.ids() })
  const problem = 'its pictures are not here; register it with them.'
  if (record.hash === null || record.nItems === 0) throw new EngineError('DATASET_INVALID', { dataset: `"${dataset}"`, problem })
  const order = pictureOrder(seed, record.nItems, Math.min(pictures ?? record.nItems, record.nItems))
  const places = new Map(Array.from(order, (item, place) => [item, place]))
  const ids = new Array<string>(order.length)
  for await (const { index, imageId } of catalog.datasets.allItems(dataset!)) {
    const place = places.get(index)
    if (place === undefined) continue
    if (imageId === null) throw new EngineError('DATASET_INVALID', { dataset: `"${dataset}"`, problem })
    ids[place] = imageId
  }
  return ids
}

/** Ids are hashes of the content, under which the blob store has it. */
export function storedPicture(blobs: Pick<BlobStore, 'get'>, id: string): PictureFile {
  return {
    id,
    async read() {
      const bytes = await blobs.get(id.slice('sha256:'.length))
      if (!bytes) throw new RequestError('IMAGE_UNKNOWN', { image: id })
      return bytes
    },
  }
}
