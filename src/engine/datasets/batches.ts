/**
 * Batches for training and testing. Which items a batch holds, and what is drawn for each of them (variant, caption, augmentation), follows
 * from the seed, the epoch and the item alone: a run that is resumed at a step gets the same numbers. Without random numbers the items come in
 * their order, as they are.
 *
 * The next batch is begun while its caller works on this one: files are read and decoded by other threads meanwhile, and the pictures
 * are augmented as soon as this thread is free.
 */

import { EngineError } from '../errors.js'
import { type Augmenter, createAugmenter } from '../image/augment.js'
import type { Augmentation } from '../image/augment-config.js'
import type { ImageLimits } from '../image/decode.js'
import type { Pixels } from '../image/pixels.js'
import { writeNormalized } from '../image/preprocess.js'
import type { Preprocessing } from '../image/preprocessing.js'
import type { Size } from '../image/resample.js'
import type { ClipTokenizer } from '../models/tokenizer.js'
import type { Random } from '../random.js'
import { type Tensor, tensor } from '../tensor.js'
import { type CaptionTokens, captionTokens, drawCaption } from './caption-tokens.js'
import type { Dataset, DatasetItem, PictureSource } from './dataset.js'
import { batchesPerEpoch, type EpochPlan, epochBatches, largestGroup } from './epoch-order.js'
import { createPictureStore, type HeldAs } from './picture-store.js'

export interface BatchSetting {
  readonly batchSize: number
  /** All that is drawn comes from it. Undefined, for testing: in order, the item's own picture, its first caption, no augmentation. */
  readonly random?: Random
  /** Leave out what does not fill a batch. */
  readonly dropLast: boolean
  readonly preprocessing: Preprocessing
  /** Needs `random`. */
  readonly augmentation?: Augmentation
  /** How often a variant is drawn in the place of an item's own picture. Default 0. */
  readonly variantProbability?: number
  /** With it, batches have `tokens`: of a caption drawn by weight. */
  readonly tokenizer?: ClipTokenizer
  /** A facet: no batch has two items with the same value. For contrastive losses, to which another drawing of a thing is no counterexample. */
  readonly distinctBy?: string
  /** For decoded pictures. */
  readonly cacheBytes: number
  readonly limits: ImageLimits
}

export interface Batch {
  /** Counted from 0 over all epochs. */
  readonly step: number
  readonly epoch: number
  /** Items of the data set, one a row. */
  readonly items: Uint32Array
  /** `[batch, channel, height, width]`, normalised as the model wants it. */
  readonly pixels: Tensor<'float32'>
  /** `[batch]`, where the data set has labels. */
  readonly labels?: Tensor<'int64'>
  /** `[batch, contextLength]`, with a tokenizer. */
  readonly tokens?: Tensor<'int64'>
}

export interface Batches {
  readonly stepsPerEpoch: number
  /** Any step, in any order; one after the other is quickest. @throws DATASET_INVALID naming a picture that cannot be read any more */
  at(step: number): Promise<Batch>
  /** Gives up the batch that was begun ahead. */
  close(): void
}

/**
 * @throws CONFIG_INVALID when the data set is smaller than a batch, its pictures cannot be one size, or what the setting asks for (captions, a
 * facet) is not in it
 */
export function createBatches(dataset: Dataset, setting: BatchSetting): Batches {
  const output = outputSize(setting.preprocessing)
  const plan = planOf(dataset, setting)
  const stepsPerEpoch = batchesPerEpoch(plan)
  const prepare = preparer(dataset, setting, output)
  let order: { readonly epoch: number; readonly batches: readonly Uint32Array[]; readonly random: Random | undefined } | undefined
  const begin = (step: number): Begun => {
    const epoch = Math.floor(step / stepsPerEpoch)
    if (order?.epoch !== epoch) {
      const random = setting.random?.fork(`epoch ${epoch}`)
      order = { epoch, batches: epochBatches(plan, random), random }
    }
    return prepare({ step, epoch, items: order.batches[step % stepsPerEpoch]!, random: order.random })
  }
  let ahead: { readonly step: number; readonly batch: Promise<Batch> } | undefined
  let isClosed = false
  return {
    stepsPerEpoch,
    async at(step) {
      const batch = await (ahead?.step === step ? ahead.batch : begin(step).finish())
      if (!isClosed) ahead = { step: step + 1, batch: whenFree(begin(step + 1)) }
      return batch
    },
    close() {
      isClosed = true
      ahead = undefined
    },
  }
}

/** Finishes as soon as this thread has nothing else to do. Its failure is for whoever asks for the batch. */
function whenFree(begun: Begun): Promise<Batch> {
  const batch = new Promise<void>((resolve) => setImmediate(resolve)).then(() => begun.finish())
  batch.catch(() => {})
  return batch
}

interface Plan {
  readonly step: number
  readonly epoch: number
  readonly items: Uint32Array
  /** Of the epoch. */
  readonly random: Random | undefined
}

/** What is drawn for one row. */
interface Row {
  readonly item: DatasetItem
  readonly picture: Pixels | Promise<Pixels>
  readonly caption: string | undefined
  readonly random: Random | undefined
}

/** A batch whose files are being read. */
interface Begun {
  finish(): Promise<Batch>
}

function preparer(dataset: Dataset, setting: BatchSetting, output: Size): (plan: Plan) => Begun {
  const { preprocessing: how, augmentation, variantProbability = 0, tokenizer, cacheBytes, limits } = setting
  const held = heldAs(augmentation, output)
  const store = createPictureStore({ how, held, cacheBytes, limits })
  const augmenter = augmentation && createAugmenter({ augmentation, how, output, isFitted: held.as === 'exact' })
  const tokensOf = tokenizer && captionTokens(tokenizer)

  const rowOf = (index: number, ofEpoch: Random | undefined): Row => {
    const item = dataset.item(index)
    const random = ofEpoch?.fork(`item ${index}`)
    const source = random ? drawSource(item, variantProbability, random) : item.picture
    const picture = store.get(source, item.name)
    if (picture instanceof Promise) picture.catch(() => {}) // awaited, and thrown, in finish
    const caption = tokensOf ? drawCaption(item.captions ?? [], random) : undefined
    return { item, picture, caption, random: random?.fork('augmentation') }
  }
  return ({ step, epoch, items, random }) => {
    const rows = Array.from(items, (index) => rowOf(index, random))
    return {
      async finish() {
        const pictures = await Promise.all(rows.map(({ picture }) => picture))
        const pixels = pixelsOf(rows, pictures, { how, output, augmenter })
        return { step, epoch, items, pixels, ...labelsOf(rows), ...(tokensOf && { tokens: tokensFor(rows, tokensOf) }) }
      },
    }
  }
}

function pixelsOf(
  rows: readonly Row[],
  pictures: readonly Pixels[],
  { how, output, augmenter }: { how: Preprocessing; output: Size; augmenter: Augmenter | undefined },
): Tensor<'float32'> {
  const nChannels = how.mode === 'L' ? 1 : 3
  const perPicture = nChannels * output.height * output.width
  const data = new Float32Array(rows.length * perPicture)
  pictures.forEach((picture, row) => {
    const { random } = rows[row]!
    if (augmenter && random) augmenter(picture, random, data, row * perPicture)
    else writeNormalized(picture, how, data, row * perPicture)
  })
  return tensor('float32', [rows.length, nChannels, output.height, output.width], data)
}

function labelsOf(rows: readonly Row[]): { labels?: Tensor<'int64'> } {
  if (rows.some(({ item }) => item.label === undefined)) return {}
  return {
    labels: tensor(
      'int64',
      [rows.length],
      BigInt64Array.from(rows, ({ item }) => BigInt(item.label!)),
    ),
  }
}

function tokensFor(rows: readonly Row[], tokensOf: CaptionTokens): Tensor<'int64'> {
  return tokensOf(rows.map(({ caption, item }) => caption ?? item.name))
}

function drawSource({ picture, variants = [] }: DatasetItem, probability: number, random: Random): PictureSource {
  // drawn for every item, so that what follows does not depend on whether it has variants
  const isVariant = random.uniform() < probability
  const chosen = random.below(Math.max(1, variants.length))
  return isVariant ? (variants[chosen] ?? picture) : picture
}

/** Pictures that are moved or composited are held whole, twice as large as the model sees them; others as it sees them. */
function heldAs(augmentation: Augmentation | undefined, output: Size): HeldAs {
  const isMoved = augmentation && (augmentation.resizedCrop || augmentation.affine)
  if (!isMoved && !augmentation?.background) return { as: 'exact' }
  return { as: 'whole', side: 2 * Math.max(output.width, output.height), withAlpha: augmentation.background !== null }
}

const invalid = (path: string, message: string) =>
  new EngineError('CONFIG_INVALID', { problems: [`${path}: ${message}`] }, [{ path, message }])

/** @throws CONFIG_INVALID when it depends on the picture */
function outputSize({ crop, resize }: Preprocessing): Size {
  const size = crop ?? (resize?.kind === 'exact' || resize?.kind === 'longestEdge' ? resize : undefined)
  if (size) return { width: size.width, height: size.height }
  throw invalid('preprocessing', 'pictures would have different sizes: it needs a crop or an exact size')
}

function planOf(dataset: Dataset, { batchSize, dropLast, random, augmentation, tokenizer, distinctBy }: BatchSetting): EpochPlan {
  if (augmentation && !random) throw invalid('augment', 'needs random numbers; a test is done without')
  const groups = distinctBy === undefined ? undefined : facetOf(dataset, distinctBy)
  const plan: EpochPlan = { size: dataset.size, batchSize, dropLast, ...(groups && { groups }) }
  const nBatches = batchesPerEpoch(plan)
  if (nBatches === 0) throw invalid('batchSize', `${batchSize} is more than the ${dataset.size} items of ${dataset.name}`)
  const largest = groups && largestGroup(groups)
  if (largest && largest.size > nBatches) {
    const problem = `${largest.size} items have the ${distinctBy} "${largest.group}", and there are only ${nBatches} batches to put one in each`
    throw invalid('distinctBy', problem)
  }
  for (let index = 0; tokenizer && index < dataset.size; index++) {
    const { captions = [], name } = dataset.item(index)
    if (captions.length === 0) throw invalid('data', `${name} has no caption`)
  }
  return plan
}

function facetOf(dataset: Dataset, facet: string): (string | number)[] {
  return Array.from({ length: dataset.size }, (_, index) => {
    const { facets, name } = dataset.item(index)
    const value = facets[facet]
    if (value !== undefined) return value
    const known = Object.keys(facets).join(', ') || 'nothing'
    throw invalid('distinctBy', `"${facet}" is not known of ${name}; ${known} is`)
  })
}
