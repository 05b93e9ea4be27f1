/** The pictures of a recipe: data sets to train and test on, how they become pixels, and what of it is kept in the run's folder. */

import { type Dataset, named } from '../../datasets/dataset.js'
import { type OpenOptions, readDataset } from '../../datasets/open-dataset.js'
import { type Augmentation, augmentationOf } from '../../image/augment-config.js'
import type { Preprocessing } from '../../image/preprocessing.js'
import type { VisionConfig } from '../../models/model.js'
import type { StrictFields } from '../../strict-fields.js'
import type { Json } from '../run/checkpoints.js'
import type { RecipeOptions } from './recipe.js'

export interface PictureData {
  readonly train: Dataset
  readonly test?: Dataset
}

export interface PictureFields {
  readonly open: (options: RecipeOptions) => Promise<PictureData>
  readonly augmentation?: Augmentation
  readonly variantProbability: number
  readonly batchSize: number
  readonly preprocessing: (vision: VisionConfig) => Preprocessing
}

/** `data: { train, test }`, `augment`, `variantProbability`, `batchSize`, `mean`, `std`. */
export function readPictureFields(fields: StrictFields): PictureFields {
  const data = fields.section('data')
  if (data === undefined && !fields.has('data')) fields.problem('data', 'is missing; expected { train, test }')
  const [train, test] = (['train', 'test'] as const).map((part) => {
    const section = data?.section(part)
    if (section === undefined && part === 'train') data?.problem('train', 'is missing; expected a data set')
    return section && readDataset(section)
  })
  const augment = fields.section('augment')
  const mean = fields.numbers('mean', { min: 0, max: 1, fallback: [0.5] })
  const std = fields.numbers('std', { min: 1e-6, max: 1e6, fallback: [0.5] })
  return {
    open: async (options) => {
      const opened = async (what: string, open: (options: OpenOptions) => Promise<Dataset>) => {
        const { baseFolder, limits, signal, onData, onNote } = options
        const onProgress = (done: number, total: number) => onData?.(what, done, total)
        const dataset = await open({ baseFolder, limits, onProgress, ...(signal && { signal }) })
        for (const note of notes(dataset)) onNote?.(`${what}: ${note}`)
        return dataset
      }
      return { train: await opened('training pictures', train!), ...(test && { test: await opened('test pictures', test) }) }
    },
    ...(augment && { augmentation: augmentationOf(augment) }),
    variantProbability: fields.number('variantProbability', { min: 0, max: 1, fallback: 0 }),
    batchSize: fields.number('batchSize', { min: 1, max: 65_536, integer: true }),
    preprocessing: ({ imageSize, nChannels }) => {
      const perChannel = (values: readonly number[]) => Array.from({ length: nChannels }, (_, channel) => values[channel] ?? values[0]!)
      return {
        resize: { kind: 'exact', ...imageSize },
        resample: 'bicubic',
        crop: null,
        rescale: 1 / 255,
        mean: perChannel(mean),
        std: perChannel(std),
        mode: nChannels === 1 ? 'L' : 'RGB',
      }
    },
  }
}

function* notes({ report }: Dataset): Generator<string> {
  if (report.unreadable.count > 0) yield `${report.unreadable.count} unreadable, left out: ${named(report.unreadable)}`
  if (report.identical.count > 0) yield `${report.identical.count} the same as an earlier one: ${named(report.identical)}`
  if (report.ignored.count > 0) yield `${report.ignored.count} files are no pictures: ${named(report.ignored)}`
}

/** What a run was trained and tested on, for its folder. */
export function dataFacts(data: PictureData): Json {
  return Object.fromEntries(
    Object.entries(data).map(([part, { name, hash, size, report }]: [string, Dataset]) => {
      const { unreadable } = report
      return [
        part,
        { name, hash, size, ...(unreadable.count > 0 && { unreadable: { count: unreadable.count, first: [...unreadable.first] } }) },
      ]
    }),
  )
}
