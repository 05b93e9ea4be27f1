/** `evaluate`: metrics of SAEs on a data set, with intervals, recorded in the catalog beside what was published of them. */

import { Type } from 'typebox'
import type { MetricRecord, MetricValueRecord } from '../../../catalog/metric-values.js'
import { openSaeEvaluator, type SaeEvaluator } from '../../../engine/evaluation/evaluate-saes.js'
import {
  type EvaluationShard,
  evaluationFromBytes,
  evaluationToBytes,
  mergeEvaluations,
} from '../../../engine/evaluation/evaluation-shard.js'
import { finishEvaluation } from '../../../engine/evaluation/finish-evaluation.js'
import type { MetricValue } from '../../../engine/evaluation/metric-definitions.js'
import { putArtifacts } from '../artifacts.js'
import { defineJobKind, type JobContext, type Json, type Parts } from '../job-kind.js'
import { comparedWithPublished, type EvaluatedSae, type EvaluationAbout, reportFiles } from '../study/evaluation-report.js'
import { eachBatch, headerOf, identityOf, keptGroup, loadGroup, type OpenStudy, openStudy } from '../study/open-study.js'
import { Makers, partFromBytes, partToBytes, requireSame, sameGroup } from '../study/part-bytes.js'
import { DEFAULT_BATCH_SIZE, DEFAULT_SEED, findSubjects, studyFields, usesOf } from '../study/study-input.js'
import { groupBytes, nPicturesOf, type StudyShard, studyShards } from '../study/study-plan.js'

/** Enough for several workers, and little is lost when one dies. */
const RANGES = 64
/** Weights in the memory of JavaScript, and again where they are computed with. */
const COPIES = 2

export const evaluateJob = defineJobKind({
  name: 'evaluate',
  summary: 'Measure SAEs on a data set: every metric that it has what it takes for, with its interval',
  input: Type.Object(studyFields, { title: 'EvaluateJob', additionalProperties: false }),
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
    await findSubjects(catalog, input)
  },

  async plan(input, { catalog, config }) {
    const { saes, dataset } = await findSubjects(catalog, input)
    return studyShards({
      bytes: saes.map(({ download }) => COPIES * download.weightBytes),
      groupBytes: groupBytes(config),
      nBatches: Math.ceil(nPicturesOf(input, dataset.nItems) / (input.batchSize ?? DEFAULT_BATCH_SIZE)),
      nRanges: RANGES,
    })
  },

  async run(shard: StudyShard, input, context): Promise<Uint8Array> {
    const study = await openStudy(input, context)
    const evaluator = await keptGroup(context, shard.saes, () => openEvaluator(study, shard, context.signal))
    const { labels, classes } = study
    // without classes to compare with, what a picture shows says nothing of an SAE
    const labelOf = labels && classes && ((item: number) => classes.classOf[labels.of(item)!]!)
    let measured = evaluator.empty()
    await eachBatch(study, shard, context, async ({ batch, pixels, items }) => {
      measured = await evaluator.addBatch(measured, { batch, pixels, ...(labelOf && { labels: items.map(labelOf) }) })
    })
    return partToBytes({ ...headerOf(study, shard), files: [evaluationToBytes(measured)] })
  },

  async finish(parts, input, context): Promise<Json> {
    const { catalog, blobs, job } = context
    const subjects = await findSubjects(catalog, input)
    const { merged, makers } = await mergedGroups(parts, identityOf(subjects), context)
    const values: Record<string, readonly MetricValue[]> = Object.assign({}, ...merged.map(finishEvaluation))
    const { dataset } = subjects
    const about: EvaluationAbout = {
      model: subjects.model.id,
      dataset: { id: dataset.id, hash: dataset.hash },
      nPictures: nPicturesOf(input, dataset.nItems),
      nBatches: merged[0]?.batches.size ?? 0,
      batchSize: input.batchSize ?? DEFAULT_BATCH_SIZE,
      seed: input.seed ?? DEFAULT_SEED,
      dtype: makers.dtype,
      backend: makers.backend,
      codeVersion: makers.codeVersion,
      // not when this was written: that may happen twice
      measuredAt: (await catalog.jobs.get(job.id))?.startedAt ?? null,
    }
    const evaluated: EvaluatedSae[] = []
    for (const [index, { id }] of subjects.saes.entries()) {
      context.signal.throwIfAborted()
      context.progress(index / subjects.saes.length, `recording ${id}`)
      const metrics = values[id] ?? []
      await catalog.metrics.put(
        id,
        metrics.map((value) => recordOf(value, about)),
      )
      evaluated.push({ id, metrics, published: comparedWithPublished(metrics, await publishedOf(id)) })
    }
    const artifacts = await putArtifacts(blobs, reportFiles(evaluated, about))
    return { ...shownOf(about), saes: evaluated.map(summaryOf), artifacts }

    async function publishedOf(saeId: string): Promise<MetricRecord[]> {
      return (await catalog.metrics.list({ saeId })).filter(({ source }) => source === 'published')
    }
  },
})

function openEvaluator(study: OpenStudy, { saes: range }: StudyShard, signal: AbortSignal): Promise<SaeEvaluator> {
  const { backend, model, config, classes } = study
  return loadGroup(study, range, signal).then((saes) =>
    openSaeEvaluator({ backend, tower: model.towers.vision, config, saes, ...(classes && { classes: classes.classes }) }),
  )
}

/** One for each group of SAEs. */
async function mergedGroups(
  parts: Parts<Uint8Array>,
  identity: Parameters<typeof requireSame>[1],
  { signal }: Pick<JobContext, 'signal'>,
): Promise<{ merged: EvaluationShard[]; makers: Makers }> {
  const merged: EvaluationShard[] = []
  const makers = new Makers()
  let last: StudyShard | undefined
  for await (const bytes of parts.inOrder()) {
    signal.throwIfAborted()
    const part = partFromBytes(bytes)
    requireSame(part, identity)
    makers.add(part)
    const own = await evaluationFromBytes(part.files[0]!)
    if (last && sameGroup(last, part.shard)) merged.push(mergeEvaluations(merged.pop()!, own))
    else merged.push(own)
    last = part.shard
  }
  return { merged, makers }
}

function recordOf({ metric, version, value, low, high, flags, n }: MetricValue, about: EvaluationAbout): MetricValueRecord {
  const { dataset, seed, dtype, backend, codeVersion, measuredAt } = about
  return {
    ...{ metric, version, value, flags, n, source: 'measured', dataset, seed, dtype, backend, codeVersion, measuredAt },
    ...(low !== undefined && { low }),
    ...(high !== undefined && { high }),
  }
}

const shownOf = ({ measuredAt, dataset, ...about }: EvaluationAbout) => ({
  ...about,
  dataset: { ...dataset },
  measuredAt: measuredAt?.toISOString() ?? null,
})

/** What a job's result has room for. */
const shown = ['explained-variance', 'cosine-similarity', 'l0', 'alive-share', 'ce-recovered', 'kl-recovered']

function summaryOf({ id, metrics }: EvaluatedSae): { id: string; [metric: string]: string | number | null } {
  const values = metrics.filter(({ metric }) => shown.includes(metric)).map(({ metric, value }) => [metric, value] as const)
  return { id, ...Object.fromEntries(values) }
}
