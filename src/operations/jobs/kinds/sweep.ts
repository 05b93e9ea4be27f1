/** `sweep`: what `POST /v1/steer/sweep` answers, of more pictures, directions and strengths than a request may take; in shards of half a minute. */

import type { Catalog } from '../../../catalog/catalog.js'
import type { Config } from '../../../config.js'
import type { SweepOutput } from '../../../engine/analyses/steering/sweep-contract.js'
import { nPoints, nPointsOf, piecesOf, type SweepPiece } from '../../../engine/analyses/steering/sweep-plan.js'
import { SweepResults } from '../../../engine/analyses/steering/sweep-results.js'
import { EngineError } from '../../../engine/errors.js'
import { arrowTable } from '../../../engine/io/arrow-table.js'
import { Problems } from '../../errors.js'
import { findModel } from '../../find-model.js'
import { fixedLimits } from '../../limits.js'
import { estimate, inWords, PIECE, requireSize, requireTime, runPiece, type SweepEstimate } from '../../sweep/run-sweep.js'
import { sweptAnswer, sweptPlot, sweptTable, sweptTensors } from '../../sweep/sweep-answer.js'
import { curvesCsv } from '../../sweep/sweep-csv.js'
import { putArtifacts } from '../artifacts.js'
import { defineJobKind, type JobContext, type Json } from '../job-kind.js'
import { type OpenSweep, openSweep, SweepJobShape } from '../sweep/open-sweep.js'
import { partOfSweep, sweepPart } from '../sweep/sweep-part.js'
import { pictureIds } from '../sweep/sweep-pictures.js'

/** What is lost at most when a worker dies. */
const SHARD_MS = 30_000
/** Of a job that takes less time for each: so that several workers have something to do. */
const MIN_SHARDS = 8
const MAX_SHARDS = 100_000

interface SweepShard {
  /** Of the pieces in their order: `[from, to)`. */
  readonly pieces: readonly [number, number]
  readonly [key: string]: readonly [number, number]
}

export const sweepJob = defineJobKind({
  name: 'sweep',
  summary: 'Features or vectors in many strengths over many pictures: dose-response curves, against random directions of equal norm',
  input: SweepJobShape,
  example: {
    model: 'emoji-clip',
    directions: [{ vector: { sae: 'emoji-clip.3-resid-post.topk-16-x8-all', feature: 7 } }],
    strengths: [-2, -1, -0.5, 0.5, 1, 2],
    unit: 'maxActivation',
    on: { dataset: 'emoji-twemoji', pictures: 100 },
    control: { dataset: 'emoji-noto', pictures: 100 },
    classify: { labels: ['cat', 'dog', 'flag'] },
  },
  // weights are files below DATA_DIR
  place: 'data-folder',
  uses: ({ model, directions, on, control }) => [
    `model:${model}`,
    ...new Set(directions.flatMap(({ vector }) => (!Array.isArray(vector) && 'sae' in vector ? [`sae:${vector.sae}`] : []))),
    ...new Set([on, control].flatMap((pictures) => (pictures?.dataset === undefined ? [] : [`dataset:${pictures.dataset}`]))),
  ],

  async check(input, { catalog }: { readonly catalog: Catalog; readonly config: Config }) {
    const problems = new Problems()
    await findModel(catalog, input.model)
    for (const name of ['on', 'control'] as const) {
      const pictures = input[name]
      if (!pictures) continue
      const [outcome] = await Promise.allSettled([pictureIds(catalog, pictures, { path: `input.${name}`, seed: input.seed ?? 0 })])
      problems.collect(`input.${name}`, () => {
        if (outcome!.status === 'rejected') throw outcome!.reason
      })
    }
    problems.throwIfAny()
  },

  async plan(input, job): Promise<readonly SweepShard[]> {
    const sweep = await openSweep(input, job)
    job.progress(0, 'measuring what a point takes')
    const expected = await estimate(sweep)
    const instead = 'Ask for fewer strengths, positions, pictures or random directions.'
    requireTime(expected, { seconds: fixedLimits.sweepJobSeconds, limit: 'sweepJobSeconds', instead })
    requireSize(sweep.plan)
    job.log(`${expected.points} points at ${Number(expected.msPerPoint.toPrecision(2))} ms: ${inWords(expected.ms)}`)
    return shardsOf(sweep, expected)
  },

  async run({ pieces: [from, to] }: SweepShard, input, job): Promise<Uint8Array> {
    const sweep = await openSweep(input, job)
    const outputs: SweepOutput[] = []
    for (const piece of [...piecesOf(sweep.plan, PIECE)].slice(from, to)) {
      job.signal.throwIfAborted()
      job.progress(outputs.length / (to - from), `piece ${from + outputs.length + 1}`)
      outputs.push(await runPiece({ ...sweep, signal: job.signal }, piece))
    }
    return sweepPart(outputs, sweep.identity)
  },

  async finish(parts, input, job): Promise<Json> {
    const sweep = await openSweep(input, job)
    const results = new SweepResults(sweep.plan)
    const pieces = piecesOf(sweep.plan, PIECE)
    for await (const bytes of parts.inOrder()) {
      job.signal.throwIfAborted()
      const { of, outputs } = await partOfSweep(bytes)
      if (of !== sweep.identity) throw replaced()
      for (const output of outputs) results.add(pieces.next().value as SweepPiece, output)
    }
    return report(results, sweep, job)
  },
})

function shardsOf({ plan }: OpenSweep, expected: SweepEstimate): SweepShard[] {
  const perShard = Math.max(expected.points / MAX_SHARDS, Math.min(SHARD_MS / expected.msPerPoint, expected.points / MIN_SHARDS))
  const shards: SweepShard[] = []
  let [from, to, points] = [0, 0, 0]
  const close = () => {
    if (to > from) shards.push({ pieces: [from, to] })
    ;[from, points] = [to, 0]
  }
  for (const piece of piecesOf(plan, PIECE)) {
    to++
    points += nPointsOf(plan, piece)
    if (points >= perShard) close()
  }
  close()
  return shards
}

function replaced(): EngineError {
  const problems = ['the model, an SAE, a vector or a data set is another one than when it began']
  return new EngineError('CHECKPOINT_MISMATCH', { checkpoint: 'of this job', problems })
}

async function report(results: SweepResults, { sweep, imageIds, controlIds }: OpenSweep, job: JobContext): Promise<Json> {
  const answer = sweptAnswer(results, sweep)
  const tensors = sweptTensors(results)
  const { strengths, positions } = answer
  const names = { strengths, positions, directions: answer.directions.map(({ label }) => label), targets: answer.targets }
  const about = { images: imageIds, controlImages: controlIds }
  const artifacts = await putArtifacts(job.blobs, {
    'sweep.json': `${JSON.stringify({ ...answer, ...about }, null, 1)}\n`,
    'curves.csv': curvesCsv(answer),
    'points.arrow': arrowTable(sweptTable(tensors, names)),
    'curves.svg': sweptPlot(answer),
  })
  const { model, op, unit, targets, directions } = answer
  return {
    model,
    op,
    unit,
    targets,
    directions,
    points: nPoints(results.plan),
    nImages: imageIds.length,
    nControlImages: controlIds.length,
    artifacts,
  }
}
