/** `index`: for every feature of SAEs, how often, how strongly and where it is active on a data set; the catalog's features. */

import { type Static, Type } from 'typebox'
import type { FeatureSetAbout, FeatureSetRecord } from '../../../catalog/feature-sets.js'
import { EngineError } from '../../../engine/errors.js'
import { finishIndex } from '../../../engine/evaluation/finish-index.js'
import { indexFromBytes, indexToBytes } from '../../../engine/evaluation/index-bytes.js'
import { type FeatureIndexer, openFeatureIndexer } from '../../../engine/evaluation/index-features.js'
import { defaultExamples, defaultSampledPerPicture, type IndexShard, mergeIndexes } from '../../../engine/evaluation/index-shard.js'
import { embeddingsToBytes, meanEmbeddings } from '../../../engine/evaluation/mean-embeddings.js'
import { nTokens, type StudiedSae, studiedTokens } from '../../../engine/evaluation/studied-sae.js'
import { textClasses } from '../../../engine/evaluation/text-classes.js'
import { readout, weightStatistics } from '../../../engine/evaluation/weight-statistics.js'
import { nPrefixTokens, outputAxes, patchGrid } from '../../../engine/hook-points.js'
import type { VisionConfig } from '../../../engine/models/model.js'
import type { Tensor } from '../../../engine/tensor.js'
import { defineJobKind, type JobContext, type Json } from '../job-kind.js'
import { eachBatch, headerOf, keptGroup, loadGroup, type OpenStudy, openStudy } from '../study/open-study.js'
import { Makers, partFromBytes, partToBytes, requireSame, sameGroup } from '../study/part-bytes.js'
import { pictureEmbedder } from '../study/picture-embedder.js'
import {
  DEFAULT_BATCH_SIZE,
  DEFAULT_SEED,
  findSubjects,
  ImageEncoder,
  positionsOf,
  type StudySubjects,
  studyFields,
  usesOf,
} from '../study/study-input.js'
import { groupBytes, nPicturesOf, type StudyShard, studyShards } from '../study/study-plan.js'

const MAX_WORDS = 20_000
const MAX_TOP = 64

const IndexInput = Type.Object(
  {
    ...studyFields,
    top: Type.Optional(
      Type.Integer({ minimum: 1, maximum: MAX_TOP, description: 'How many top pictures of a feature are kept; 16 unless given.' }),
    ),
    words: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 500 }), {
        minItems: 1,
        maxItems: MAX_WORDS,
        description: 'Words of which to say how features change their logits, besides the classes. For models that read text.',
      }),
    ),
    monosemanticity: Type.Optional(
      Type.Boolean({ description: 'Whether to compare pictures by the answers of a model; true unless given. It takes memory.' }),
    ),
    imageEncoder: Type.Optional(ImageEncoder),
  },
  { title: 'IndexJob', additionalProperties: false },
)

type IndexInput = Static<typeof IndexInput>

/** Shards of an index are large: a part for each process that may work, and what is lost with one is some minutes. */
const RANGES = 16
/** What all of them may take in the blob store. */
const STORED_BYTES = 4 * 2 ** 30
/** Mean embeddings of the features of one SAE: enough for 49,152 of 768 numbers. Of more, none are kept. */
const EMBEDDINGS_BYTES = 160 * 2 ** 20
/** A part is read whole. */
const PART_BYTES = 2 ** 30
/** Two shards and what they merge to. */
const COPIES = 3
/** Of a feature, but for embeddings: lists, histograms, sums (docs/metrics.md). */
const FEATURE_BYTES = 2048

export const indexJob = defineJobKind({
  name: 'index',
  summary: 'Index the features of SAEs on a data set: statistics, examples, neighbours and effects of each',
  input: IndexInput,
  example: {
    model: 'emoji-clip',
    saes: ['emoji-clip.3-resid-post.topk-16-x8-all'],
    dataset: 'emoji-twemoji',
    classes: { facet: 'category' },
  },
  // weights are files below DATA_DIR
  place: 'data-folder',
  uses: usesOf,

  async check(input, { catalog }) {
    const subjects = await findSubjects(catalog, input)
    const { model, imageEncoder } = subjects
    const { monosemanticity, imageEncoder: named } = input
    const refuse = (path: string, problem: string) => new EngineError('INPUT_INVALID', { path, problem })
    if (input.words && !model.description.text) throw refuse('input.words', `${model.id} reads no text`)
    if (named !== undefined && monosemanticity === false) {
      throw refuse('input.imageEncoder', 'without monosemanticity no pictures are compared')
    }
    if ((monosemanticity || named !== undefined) && embeddingWidth(input, subjects) === 0) {
      const path = named === undefined ? 'input.monosemanticity' : 'input.imageEncoder'
      throw refuse(path, `${imageEncoder.id} does not answer with one vector a picture, by which pictures could be compared`)
    }
  },

  async plan(input, { catalog, config }) {
    const subjects = await findSubjects(catalog, input)
    const { saes, dataset } = subjects
    const dEmbed = embeddingWidth(input, subjects)
    const indexBytes = saes.map(({ download }) => download.description.config.dSae * (FEATURE_BYTES + 8 * dEmbed))
    const total = indexBytes.reduce((sum, bytes) => sum + bytes, 0)
    return studyShards({
      bytes: saes.map(({ download }, index) => 2 * download.weightBytes + COPIES * indexBytes[index]!),
      groupBytes: Math.min(groupBytes(config), COPIES * PART_BYTES),
      nBatches: Math.ceil(nPicturesOf(input, dataset.nItems) / (input.batchSize ?? DEFAULT_BATCH_SIZE)),
      nRanges: Math.min(RANGES, Math.max(1, Math.floor(STORED_BYTES / total))),
    })
  },

  async run(shard: StudyShard, input, context): Promise<Uint8Array> {
    const study = await openStudy(input, context)
    const indexer = await keptGroup(context, shard.saes, () => openIndexer(input, { study, shard, signal: context.signal }))
    const embedder = await pictureEmbedder(study, context)
    let shards = indexer.empty()
    await eachBatch(study, shard, context, async (batch) => {
      shards = await indexer.addBatch(shards, { ...batch, ...(embedder && { embeddings: await embedder.at(batch.batch) }) })
    })
    const ids = study.subjects.saes.slice(...shard.saes).map(({ id }) => id)
    return partToBytes({ ...headerOf(study, shard), files: ids.map((id) => indexToBytes(shards[id]!)) })
  },

  async finish(parts, input, context): Promise<Json> {
    const study = await openStudy(input, context)
    const makers = new Makers()
    const directions = await directionsOf(input, study)
    const indexed: Json[] = []
    let group: { readonly shard: StudyShard; readonly indexes: IndexShard[] } | undefined
    for await (const bytes of parts.inOrder()) {
      context.signal.throwIfAborted()
      const part = partFromBytes(bytes)
      requireSame(part, study.identity)
      makers.add(part)
      const own = await Promise.all(part.files.map(indexFromBytes))
      if (group && sameGroup(group.shard, part.shard)) {
        const { shard, indexes } = group
        group = { shard, indexes: indexes.map((index, at) => mergeIndexes(index, own[at]!)) }
        continue
      }
      if (group) indexed.push(...(await record(group)))
      group = { shard: part.shard, indexes: own }
    }
    if (group) indexed.push(...(await record(group)))
    const { dataset, model } = study.subjects
    return {
      model: model.id,
      dataset: { id: dataset.id, hash: dataset.hash },
      nPictures: study.nPictures,
      seed: input.seed ?? DEFAULT_SEED,
      saes: indexed,
    }

    async function record({ shard, indexes }: { readonly shard: StudyShard; readonly indexes: readonly IndexShard[] }): Promise<Json[]> {
      const saes = await loadGroup(study, shard.saes, context.signal)
      const recorded: Json[] = []
      for (const [at, sae] of saes.entries()) {
        context.signal.throwIfAborted()
        context.progress((shard.saes[0] + at) / study.subjects.saes.length, `recording the features of ${sae.id}`)
        recorded.push(await recordFeatures(sae, indexes[at]!, { input, study, makers, directions, context }))
      }
      return recorded
    }
  },
})

/** 0: no monosemanticity, as it was asked for or because the model does not answer with one vector a picture. */
function embeddingWidth({ monosemanticity = true }: IndexInput, { imageEncoder }: StudySubjects): number {
  const config = imageEncoder.description.vision.config as VisionConfig
  return monosemanticity && outputAxes(config).length === 2 ? config.head.dOut : 0
}

interface GroupToOpen {
  readonly study: OpenStudy
  readonly shard: StudyShard
  readonly signal: AbortSignal
}

async function openIndexer(input: IndexInput, { study, shard, signal }: GroupToOpen): Promise<FeatureIndexer> {
  const { backend, model, config, subjects, nPictures } = study
  const saes = await loadGroup(study, shard.saes, signal)
  const dEmbed = embeddingWidth(input, subjects)
  return openFeatureIndexer({
    ...{ backend, tower: model.towers.vision, config, saes },
    seed: input.seed ?? DEFAULT_SEED,
    sampledPerPicture: sampledPerPicture(subjects, config, nPictures),
    examples: { ...defaultExamples, top: input.top ?? defaultExamples.top },
    ...(dEmbed > 0 && { dEmbed, embedsItself: subjects.imageEncoder.id === subjects.model.id }),
  })
}

/** The same for every group: that of the SAE with the most tokens. */
function sampledPerPicture({ saes }: StudySubjects, config: VisionConfig, nPictures: number): number {
  const most = saes.map((sae) =>
    nTokens(studiedTokens({ id: sae.id, config: sae.download.description.config, positions: positionsOf(sae) }, config)),
  )
  return defaultSampledPerPicture(nPictures, Math.max(...most))
}

/** What the model's answer reads of the residual stream, for effects. */
interface Directions {
  readonly classes: Tensor<'float32'> | undefined
  readonly words: Tensor<'float32'> | undefined
}

async function directionsOf({ words }: IndexInput, { backend, model, config, classes }: OpenStudy): Promise<Directions> {
  const { weights } = model.towers.vision
  const texts = words && model.towers.text ? await textClasses(backend, model, { names: words, templates: ['{}'] }) : undefined
  return {
    classes: classes && readout(classes.classes, config, weights),
    words: texts && readout(texts, config, weights),
  }
}

interface Recording {
  readonly input: IndexInput
  readonly study: OpenStudy
  readonly makers: Makers
  readonly directions: Directions
  readonly context: JobContext
}

async function recordFeatures(sae: StudiedSae, index: IndexShard, recording: Recording): Promise<Json> {
  const { input, study, makers, directions, context } = recording
  const { catalog, job } = context
  const { dataset } = study.subjects
  const weights = await weightStatistics({ backend: study.backend, sae, ...directions })
  const { labels } = study
  const embeddings = await storedEmbeddings(index, recording)
  const set = await catalog.features.load(
    {
      saeId: sae.id,
      dataset: { id: dataset.id, hash: dataset.hash },
      width: sae.config.dSae,
      about: aboutOf(sae, recording),
      seed: input.seed ?? DEFAULT_SEED,
      dtype: makers.dtype,
      backend: makers.backend,
      codeVersion: makers.codeVersion,
      // not when this was written: that may happen twice
      measuredAt: (await catalog.jobs.get(job.id))?.startedAt ?? new Date(0),
      ...(embeddings && { embeddings }),
    },
    finishIndex(index, { weights, ...(labels && { labelOf: (item) => labels.of(item) }) }),
  )
  const densities = await catalog.features.statistic(set, 'imageDensity')
  return { id: sae.id, width: sae.config.dSae, nAlive: densities.reduce((count, density) => count + (density > 0 ? 1 : 0), 0) }
}

/**
 * For search by text: of models that read texts, which are among the pictures of the same model. The blob first, so that no row names what is not
 * there.
 */
async function storedEmbeddings(index: IndexShard, { study, context }: Recording): Promise<FeatureSetRecord['embeddings']> {
  const { dSae, dEmbed } = index.plan
  const { model, imageEncoder } = study.subjects
  if (imageEncoder.id !== model.id || !model.description.text || 4 * dSae * dEmbed > EMBEDDINGS_BYTES) return undefined
  const embeddings = meanEmbeddings(index)
  if (!embeddings) return undefined
  const { blobs, places } = context.catalog
  return { sha256: await blobs.put(embeddingsToBytes(embeddings)), place: places.blobs }
}

function aboutOf(sae: StudiedSae, { input, study }: Recording): FeatureSetAbout {
  const { config, subjects, nPictures, labels, classes } = study
  return {
    nImages: nPictures,
    nTokens: nTokens(studiedTokens(sae, config)),
    topLength: input.top ?? defaultExamples.top,
    patches: { first: nPrefixTokens(config), columns: patchGrid(config).columns },
    ...(embeddingWidth(input, subjects) > 0 && { imageEncoder: subjects.imageEncoder.id }),
    ...(classes && { classNames: classes.names }),
    ...(input.words && { words: input.words }),
    ...(input.classes?.facet !== undefined && labels && { labelNames: labels.names }),
  }
}
