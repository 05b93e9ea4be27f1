/** Some pictures of a data set, evenly spaced. */

import { EngineError } from '../../engine/errors.js'
import type { PictureFile } from '../../engine/host/host.js'
import { findDataset } from '../datasets.js'
import { RequestError } from '../errors.js'
import type { Context } from '../operation.js'

/** @throws DATASET_UNKNOWN, INPUT_INVALID where its pictures are not stored */
export async function datasetPictures(
  { catalog }: Context,
  { id, count }: { readonly id: string; readonly count: number },
): Promise<PictureFile[]> {
  const { nItems } = await findDataset(catalog, id)
  const n = Math.min(count, nItems)
  const indices = Array.from({ length: n }, (_, at) => Math.floor((at * nItems) / n))
  const stored = (await catalog.datasets.items(id, indices)).flatMap(({ imageId }) => (imageId === null ? [] : [imageId]))
  if (stored.length === 0) {
    const problem = `the pictures of "${id}" are not here; register them: refract datasets add`
    throw new EngineError('INPUT_INVALID', { path: 'dataset.id', problem }, [{ path: 'dataset.id', message: problem }])
  }
  return stored.map((image) => ({
    id: image,
    async read() {
      const bytes = await catalog.images.read(image)
      if (!bytes) throw new RequestError('IMAGE_UNKNOWN', { image })
      return bytes
    },
  }))
}
