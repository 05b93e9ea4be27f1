/** What evaluating and indexing have in common: which SAEs of which model are looked at, on which pictures, told apart by which classes. */

import { type Static, Type } from 'typebox'
import type { Catalog, ModelRecord } from '../../../catalog/catalog.js'
import type { DatasetRecord } from '../../../catalog/datasets.js'
import { EngineError } from '../../../engine/errors.js'
import { type Positions, studiedTokens } from '../../../engine/evaluation/studied-sae.js'
import type { VisionConfig } from '../../../engine/models/model.js'
import { Problems, RequestError } from '../../errors.js'
import { type DownloadedSae, findDownloadedSae } from '../../feature-facts/find-feature.js'
import { findModel } from '../../find-model.js'
import { fixedLimits } from '../../limits.js'

const Id = (description: string) => Type.String({ minLength: 1, maxLength: 500, description })

const ClassesShape = Type.Object(
  {
    facet: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 200,
        description: "What is known of each picture and tells its class (`category`); the data set's own classes unless given.",
      }),
    ),
    names: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 500 }), {
        minItems: 1,
        maxItems: fixedLimits.labels,
        description: "What the data set's own classes are called, in their order; as the data set calls them unless given.",
      }),
    ),
    templates: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 500 }), {
        minItems: 1,
        maxItems: fixedLimits.templates,
        description: 'Sentences with `{}` where a name goes, of which the mean is taken; `{}` unless given. For models that read text.',
      }),
    ),
  },
  { additionalProperties: false },
)

export const studyFields = {
  model: Id('The id of a model that is here.'),
  saes: Type.Array(Id('The id of an SAE that is here.'), { minItems: 1, maxItems: 1000, uniqueItems: true }),
  dataset: Id('The id of a data set whose pictures are here.'),
  pictures: Type.Optional(
    Type.Integer({ minimum: 1, maximum: 2 ** 31 - 1, description: 'How many pictures, drawn with `seed`; all of them unless given.' }),
  ),
  classes: Type.Optional(ClassesShape),
  batchSize: Type.Optional(Type.Integer({ minimum: 1, maximum: 4096, description: '32 unless given.' })),
  seed: Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: 2 ** 31 - 1,
      description: 'Says in which order the pictures come, and with that what a batch is; 0 unless given.',
    }),
  ),
}

const StudyShape = Type.Object(studyFields)
export type StudyInput = Static<typeof StudyShape> & { readonly imageEncoder?: string }

/** Of studies that compare pictures. */
export const ImageEncoder = Id(
  'The id of a model that is here, by whose answers pictures are compared, such as a DINOv2 for the SAEs of a CLIP; the model itself unless given.',
)

export const DEFAULT_BATCH_SIZE = 32
export const DEFAULT_SEED = 0

/** What must stay while it is looked at. */
export function usesOf({ model, saes, dataset, imageEncoder = model }: StudyInput): readonly string[] {
  return [...new Set([`model:${model}`, `model:${imageEncoder}`]), ...saes.map((sae) => `sae:${sae}`), `dataset:${dataset}`]
}

/** A data set whose content is known. */
export type StoredDataset = DatasetRecord & { readonly hash: string }

export interface StudySubjects {
  readonly model: ModelRecord
  /** By whose answers pictures are compared; the model itself unless another one was named. */
  readonly imageEncoder: ModelRecord
  readonly saes: readonly DownloadedSae[]
  readonly dataset: StoredDataset
}

/**
 * What the names of an input stand for.
 * @throws MODEL_UNKNOWN, MODEL_NOT_DOWNLOADED, SAE_UNKNOWN, SAE_NOT_DOWNLOADED, SAE_MISFIT, DATASET_UNKNOWN, DATASET_INVALID, INPUT_INVALID;
 *         everything at once
 */
export async function findSubjects(catalog: Catalog, input: StudyInput): Promise<StudySubjects> {
  const problems = new Problems()
  const settle = async <T>(path: string, finding: Promise<T>): Promise<T | undefined> => {
    const [outcome] = await Promise.allSettled([finding])
    return problems.collect(path, () => {
      if (outcome!.status === 'rejected') throw outcome!.reason
      return outcome!.value
    })
  }
  const model = await settle('input.model', findModel(catalog, input.model))
  const saes: DownloadedSae[] = []
  for (const [index, id] of input.saes.entries()) {
    const sae = await settle(`input.saes[${index}]`, findDownloadedSae(catalog, id))
    if (!sae) continue
    saes.push(sae)
    // it knows the model by what its files say: whether it fits is seen before anything is loaded
    if (model) problems.collect(`input.saes[${index}]`, () => requireFit(sae, model))
  }
  if (model) checkClasses(input, model, problems)
  const named = input.imageEncoder
  const imageEncoder = named === undefined || named === input.model ? model : await settle('input.imageEncoder', findModel(catalog, named))
  const dataset = await settle('input.dataset', findStoredDataset(catalog, input.dataset))
  problems.throwIfAny()
  return { model: model!, imageEncoder: imageEncoder!, saes, dataset: dataset! }
}

function requireFit(sae: DownloadedSae, { description }: ModelRecord): void {
  const { config } = sae.download.description
  studiedTokens({ id: sae.id, config, positions: positionsOf(sae) }, description.vision.config as VisionConfig)
}

/** What would be ignored is refused. */
function checkClasses({ classes }: StudyInput, { id, description }: ModelRecord, problems: Problems): void {
  const refuse = (path: string, problem: string) => problems.add(path, new EngineError('INPUT_INVALID', { path, problem }))
  if (classes?.facet !== undefined && classes.names) refuse('input.classes.names', 'a facet names its classes itself')
  if (classes?.templates && !description.text) refuse('input.classes.templates', `${id} reads no text`)
  for (const [index, template] of (classes?.templates ?? []).entries()) {
    if (!template.includes('{}')) refuse(`input.classes.templates[${index}]`, 'has no {} where a name goes')
  }
  if (classes && !description.text && !description.classLabels) {
    refuse('input.classes', `${id} has neither a text tower nor classes with names`)
  }
}

/** The tokens that it was trained on, where that is known. */
export function positionsOf({ positions, download }: DownloadedSae): Positions {
  return positions ?? download.description.training.positions ?? 'all'
}

async function findStoredDataset(catalog: Catalog, id: string): Promise<StoredDataset> {
  const record = await catalog.datasets.get(id)
  if (!record) throw new RequestError('DATASET_UNKNOWN', { dataset: id, known: await catalog.datasets.ids() })
  const { hash } = record
  if (hash === null || record.nItems === 0)
    throw new EngineError('DATASET_INVALID', { dataset: `"${id}"`, problem: 'its pictures are not here; register it with them.' })
  return { ...record, hash }
}
