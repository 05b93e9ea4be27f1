/** Embeddings of pictures, kept for the next search. */

import { expect, test } from 'vitest'
import type { ModelRecord } from '../../../src/catalog/catalog.js'
import { float32 } from '../../../src/engine/tensor.js'
import { fixedLimits } from '../../../src/operations/limits.js'
import type { Call, Context } from '../../../src/operations/operation.js'
import { PictureEmbeddings } from '../../../src/operations/search/picture-embeddings.js'

const model = (id: string) =>
  ({ id, weightsSha256: id.padEnd(64, '0'), folder: id, processing: [], description: {} }) as unknown as ModelRecord
const call: Call = { signal: new AbortController().signal, timing: () => {} }

/** A model that turns a picture's number n into [3, 4] times n. */
function context() {
  const runs: number[] = []
  const host = {
    preprocess: async ({ id }: { id: string }) => float32([1], [Number(id)]),
    run: async ({ inputs }: { inputs: { pictures: { data: Float32Array }[] } }) => {
      runs.push(inputs.pictures.length)
      return {
        output: float32(
          [inputs.pictures.length, 2],
          inputs.pictures.flatMap(({ data }) => [3 * data[0]!, 4 * data[0]!]),
        ),
      }
    },
  }
  return { runs, context: { host } as unknown as Context }
}

test('are unit vectors, each made once for a model', async () => {
  const { runs, context: made } = context()
  const kept = new PictureEmbeddings()
  const first = await kept.of(made, { model: model('a'), images: ['1', '2', '1'] }, call)
  expect([...first.keys()]).toEqual(['1', '2'])
  for (const embedding of first.values()) expect(embedding).toEqual(Float32Array.of(0.6, 0.8))
  expect((await kept.of(made, { model: model('a'), images: ['2', '3'] }, call)).size).toBe(2)
  await kept.of(made, { model: model('b'), images: ['2'] }, call)
  expect(runs).toEqual([2, 1, 1])
})

test('of more pictures than one search may embed are refused before any is read', async () => {
  const { runs, context: made } = context()
  const images = Array.from({ length: fixedLimits.searchPictures + 1 }, (_, n) => String(n))
  await expect(new PictureEmbeddings().of(made, { model: model('a'), images }, call)).rejects.toMatchObject({
    code: 'LIMIT_EXCEEDED',
    details: { limit: 'searchPictures', given: images.length },
  })
  expect(runs).toEqual([])
})
