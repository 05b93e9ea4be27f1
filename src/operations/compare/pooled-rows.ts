/** What features do in images: pictures prepared, and run some at a time. */

import { type ModelRecord, modelSource } from '../../catalog/catalog.js'
import { saeSource } from '../../catalog/sae-source.js'
import { joinSparseRows, type SparseRows } from '../../engine/analyses/compare/sparse-rows.js'
import { nPositions } from '../../engine/hook-points.js'
import type { Edit } from '../../engine/interventions/edit.js'
import { float32, type Tensor } from '../../engine/tensor.js'
import { isRefusal, Problems, RequestError } from '../errors.js'
import { fixedLimits } from '../limits.js'
import { pictureFile } from '../load-inputs.js'
import type { Call, Context } from '../operation.js'
import type { PlannedSaeRead } from '../plan-sae-read.js'
import type { ImageInputValue } from '../schemas/image.js'

export const IMAGES_PER_RUN = 16

/** An image, and where it stands in the request. */
export interface PlacedImage {
  readonly image: ImageInputValue
  readonly path: string
}

export const placed = (images: readonly ImageInputValue[], path: (index: number) => string): PlacedImage[] =>
  images.map((image, index) => ({ image, path: path(index) }))

/** Prepared pictures, some at a time, in their order. @throws IMAGE_UNKNOWN, IMAGE_INVALID, IMAGE_TOO_LARGE, all of those at once */
export async function* inRuns(
  context: Context,
  { model, images }: { readonly model: ModelRecord; readonly images: readonly PlacedImage[] },
  call: Call,
): AsyncGenerator<readonly Tensor<'float32'>[]> {
  const { preprocessing } = model.description
  for (let from = 0; from < images.length; from += IMAGES_PER_RUN) {
    const some = images.slice(from, from + IMAGES_PER_RUN)
    const settled = await Promise.allSettled(
      some.map(async ({ image, path }) => context.host.preprocess(pictureFile(context, image, path), preprocessing, call.signal)),
    )
    const problems = new Problems()
    const pictures = settled.flatMap((outcome, index) => {
      if (outcome.status === 'fulfilled') return [outcome.value]
      if (!isRefusal(outcome.reason) || !outcome.reason.code.startsWith('IMAGE_')) throw outcome.reason
      problems.add(some[index]!.path, outcome.reason)
      return []
    })
    problems.throwIfAny()
    yield pictures
  }
}

/** @throws LIMIT_EXCEEDED */
function requireFew(given: number): void {
  const maximum = fixedLimits.comparedActivations
  if (given <= maximum) return
  const instead = 'Compare fewer images, or name fewer SAEs.'
  throw new RequestError('LIMIT_EXCEEDED', {
    limit: 'comparedActivations',
    given,
    maximum,
    what: 'features active in the images so far',
    instead,
  })
}

/** Of each SAE, a row for each image. @throws LIMIT_EXCEEDED when more is active than is held in memory */
export async function pooledRows(
  context: Context,
  {
    model,
    images,
    reads,
  }: { readonly model: ModelRecord; readonly images: readonly PlacedImage[]; readonly reads: readonly PlannedSaeRead[] },
  call: Call,
): Promise<SparseRows[]> {
  const parts = reads.map((): SparseRows[] => [])
  const asked = {
    positions: reads.map(({ selected }) => selected ?? null),
    nLatents: reads.reduce((sum, { sae }) => sum + sae.download.description.config.dSae, 0),
    nPositions: nPositions(model.description.vision.config),
  }
  let given = 0
  for await (const pictures of inRuns(context, { model, images }, call)) {
    const found = await context.host.analyse(
      'pooledFeatures',
      { model: modelSource(model), saes: reads.map(({ sae }) => saeSource(sae)), input: { pixels: stacked(pictures), ...asked } },
      call.signal,
    )
    for (const [index, rows] of found.entries()) parts[index]!.push(rows)
    given += found.reduce((sum, { latents }) => sum + latents.length, 0)
    requireFew(given)
  }
  return parts.map(joinSparseRows)
}

/** What the model answers, a row for each image; over positions the mean, where it answers one for each. */
export async function outputsOf(
  context: Context,
  { model, images, edits = [] }: { readonly model: ModelRecord; readonly images: readonly PlacedImage[]; readonly edits?: readonly Edit[] },
  call: Call,
): Promise<Float64Array[]> {
  const rows: Float64Array[] = []
  for await (const pictures of inRuns(context, { model, images }, call)) {
    const { output } = await context.host.run(
      { model: modelSource(model), inputs: { kind: 'pictures', pictures }, read: [], edits },
      call.signal,
    )
    const [n, width] = [output.shape[0]!, output.shape.at(-1)!]
    const length = output.data.length / n
    for (let row = 0; row < n; row++) {
      const mean = new Float64Array(width)
      for (let at = 0; at < length; at++) mean[at % width]! += (output.data[row * length + at]! * width) / length
      rows.push(mean)
    }
  }
  return rows
}

/** `[n, channel, height, width]` */
export function stacked(pictures: readonly Tensor<'float32'>[]): Tensor<'float32'> {
  const { data, shape } = pictures[0]!
  const all = new Float32Array(data.length * pictures.length)
  for (const [index, picture] of pictures.entries()) all.set(picture.data, index * data.length)
  return float32([pictures.length, ...shape.slice(-3)], all)
}
