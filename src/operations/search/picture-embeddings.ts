/**
 * What a model makes of pictures of a data set, kept in memory so that the next search embeds nothing: unit vectors by model and picture.
 */

import { LRUCache } from 'lru-cache'
import { type ModelRecord, modelSource } from '../../catalog/catalog.js'
import { lengthOf } from '../../engine/vectors.js'
import { RequestError } from '../errors.js'
import { fixedLimits } from '../limits.js'
import { pictureFile } from '../load-inputs.js'
import type { Call, Context } from '../operation.js'
import { FeatureEmbeddings } from './feature-embeddings.js'
import { KeptTopPictures } from './top-pictures.js'

/** 60,000 embeddings of 512 numbers, of pictures and of features together. */
const MAX_BYTES = 128 * 2 ** 20
const PICTURES_PER_RUN = 16

export type Embeddings = ReadonlyMap<string, Float32Array>

export class PictureEmbeddings {
  readonly topPictures = new KeptTopPictures()
  readonly #byKey = new LRUCache<string, Float32Array>({ maxSize: MAX_BYTES, sizeCalculation: ({ byteLength }) => byteLength + 200 })
  readonly featureEmbeddings = new FeatureEmbeddings(this.#byKey)

  /** By picture. @throws LIMIT_EXCEEDED when too many are new; IMAGE_UNKNOWN, IMAGE_INVALID, and what a run throws */
  async of(context: Context, { model, images }: { model: ModelRecord; images: Iterable<string> }, call: Call): Promise<Embeddings> {
    const source = modelSource(model)
    const found = new Map<string, Float32Array>()
    const missing: string[] = []
    for (const image of new Set(images)) {
      const known = this.#byKey.get(`${source.key} ${image}`)
      if (known) found.set(image, known)
      else missing.push(image)
    }
    requireFew(missing.length)
    for (let from = 0; from < missing.length; from += PICTURES_PER_RUN) {
      const some = missing.slice(from, from + PICTURES_PER_RUN)
      const { preprocessing } = model.description
      const prepared = some.map((image) => context.host.preprocess(pictureFile(context, image, 'image'), preprocessing, call.signal))
      const inputs = { kind: 'pictures', pictures: await Promise.all(prepared) } as const
      const { output } = await context.host.run({ model: source, inputs, read: [], edits: [] }, call.signal)
      const width = output.shape[1]!
      for (const [row, image] of some.entries()) {
        const embedding = unit(output.data.subarray(row * width, (row + 1) * width))
        found.set(image, embedding)
        this.#byKey.set(`${source.key} ${image}`, embedding)
      }
    }
    return found
  }
}

function requireFew(given: number): void {
  const maximum = fixedLimits.searchPictures
  if (given <= maximum) return
  const instead = 'Sort by "decoder", which needs none of them, or name one "sae".'
  throw new RequestError('LIMIT_EXCEEDED', { limit: 'searchPictures', given, maximum, what: 'top pictures to embed', instead })
}

function unit(vector: Float32Array): Float32Array {
  const length = lengthOf(vector)
  return vector.map((value) => (length > 0 ? value / length : 0))
}
