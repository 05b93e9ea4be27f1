/** From a recipe's data sets to batches: to train on, drawn and augmented; to test on, in order and as they are. */

import { type Batches, createBatches } from '../../datasets/batches.js'
import type { Preprocessing } from '../../image/preprocessing.js'
import type { VisionConfig } from '../../models/model.js'
import type { ClipTokenizer } from '../../models/tokenizer.js'
import type { Random } from '../../random.js'
import type { PictureData, PictureFields } from './picture-data.js'
import type { RecipeOptions } from './recipe.js'

/** Test pictures in one run. */
const TEST_BATCH = 128

export interface PictureBatches {
  readonly train: Batches
  readonly test?: Batches
  readonly preprocessing: Preprocessing
  close(): void
}

export function pictureBatches(
  { train, test }: PictureData,
  setting: {
    readonly pictures: PictureFields
    readonly vision: VisionConfig
    readonly random: Random
    readonly tokenizer?: ClipTokenizer
    readonly options: RecipeOptions
  },
): PictureBatches {
  const { pictures, vision, random, tokenizer, options } = setting
  const { augmentation, variantProbability, batchSize } = pictures
  const preprocessing = pictures.preprocessing(vision)
  const shared = { preprocessing, cacheBytes: options.cacheBytes, limits: options.limits }
  const trainBatches = createBatches(train, {
    ...shared,
    random,
    dropLast: true,
    batchSize,
    variantProbability,
    ...(augmentation && { augmentation }),
    ...(tokenizer && { tokenizer }),
  })
  const testBatches = test && createBatches(test, { ...shared, dropLast: false, batchSize: Math.min(TEST_BATCH, test.size) })
  return {
    train: trainBatches,
    ...(testBatches && { test: testBatches }),
    preprocessing,
    close() {
      trainBatches.close()
      testBatches?.close()
    },
  }
}
