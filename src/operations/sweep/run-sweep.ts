/**
 * Runs a sweep piece by piece, so that others have their turn in between; and says before what it will take, from points that are measured.
 */

import { modelSource } from '../../catalog/catalog.js'
import type { SweepInput, SweepOutput } from '../../engine/analyses/steering/sweep-contract.js'
import { nPoints, nPointsOf, pieceInput, piecesOf, type SweepPiece, type SweepPlan } from '../../engine/analyses/steering/sweep-plan.js'
import { SweepResults } from '../../engine/analyses/steering/sweep-results.js'
import { float32, type Tensor } from '../../engine/tensor.js'
import { RequestError } from '../errors.js'
import { fixedLimits } from '../limits.js'
import type { Context } from '../operation.js'
import type { ResolvedSweep } from './resolve-sweep.js'

/** A piece is a second or so on a CPU. */
export const PIECE = { points: 256, images: 8 } as const

/** Below this nothing is measured before: it is done as soon. */
const FEW_POINTS = 512
const MEASURED_POINTS = 16

/** Prepared pictures, `[channel, height, width]`, of the sweep's images and then of its control set. */
export type PictureOf = (image: number) => Promise<Tensor<'float32'>>

export interface SweepEstimate {
  readonly points: number
  readonly msPerPoint: number
  readonly ms: number
}

export interface SweepRun {
  readonly context: Pick<Context, 'host'>
  readonly sweep: ResolvedSweep
  readonly plan: SweepPlan
  readonly pictureOf: PictureOf
  readonly signal: AbortSignal
}

export async function runPiece({ context: { host }, sweep, plan, pictureOf, signal }: SweepRun, piece: SweepPiece): Promise<SweepOutput> {
  const input = pieceInput(plan, piece, await pixelsOf(pictureOf, piece.images))
  return analyse({ host, sweep, plan, signal }, piece.site, input)
}

function analyse(
  { host, sweep, plan, signal }: { host: Context['host'] } & Pick<SweepRun, 'sweep' | 'plan' | 'signal'>,
  site: number,
  input: SweepInput,
) {
  const { sae } = plan.sites[site]!
  const saes = sae === undefined ? [] : [sweep.saes[sae]!]
  return host.analyse('sweep', { model: modelSource(sweep.model), saes, input }, signal)
}

async function pixelsOf(pictureOf: PictureOf, [from, to]: SweepPiece['images']): Promise<Tensor<'float32'>> {
  const pictures = await Promise.all(Array.from({ length: to - from }, (_, at) => pictureOf(from + at)))
  const [first] = pictures as [Tensor<'float32'>]
  const data = new Float32Array(pictures.length * first.data.length)
  for (const [row, { data: own }] of pictures.entries()) data.set(own, row * first.data.length)
  return float32([pictures.length, ...first.shape], data)
}

/** What a sweep that is answered at once will take; undefined for a small one. @throws LIMIT_EXCEEDED of what would take too long */
export async function expectedTime(run: SweepRun): Promise<SweepEstimate | undefined> {
  if (nPoints(run.plan) <= FEW_POINTS) return undefined
  const expected = await estimate(run)
  requireTime(expected, { seconds: fixedLimits.sweepSeconds, limit: 'sweepSeconds', instead: AS_A_JOB })
  return expected
}

/** All pieces, one after the other. */
export async function runSweep(run: SweepRun): Promise<{ results: SweepResults; measured: SweepEstimate }> {
  const { plan } = run
  const points = nPoints(plan)
  const results = new SweepResults(plan)
  const began = performance.now()
  for (const piece of piecesOf(plan, PIECE)) {
    results.add(piece, await runPiece(run, piece))
  }
  const ms = performance.now() - began
  return { results, measured: { points, msPerPoint: ms / points, ms } }
}

const AS_A_JOB = `Ask for fewer strengths, positions, images or random directions ("controls"), or make it a job (POST /v1/jobs, kind "sweep").`

/** What a sweep takes: a few points at each hook point, the first time to bring everything into memory, the second time measured. */
export async function estimate({ context: { host }, sweep, plan, pictureOf, signal }: SweepRun): Promise<SweepEstimate> {
  const pixels = await pixelsOf(pictureOf, [0, 1])
  const perSite = plan.sites.map(() => 0)
  for (const piece of piecesOf(plan, { points: Number.MAX_SAFE_INTEGER, images: Number.MAX_SAFE_INTEGER }))
    perSite[piece.site]! += nPointsOf(plan, piece)
  let ms = 0
  for (const [site, points] of perSite.entries()) {
    const strengths = plan.strengths.slice(0, MEASURED_POINTS)
    const nLines = Math.max(1, Math.floor(MEASURED_POINTS / strengths.length))
    const few = { ...plan, strengths }
    const perImage = plan.places.length * plan.sites[site]!.directions.length
    const input = pieceInput(few, { site, images: [0, 1], lines: [0, Math.min(nLines, perImage)] }, pixels)
    await analyse({ host, sweep, plan, signal }, site, input)
    const began = performance.now()
    await analyse({ host, sweep, plan, signal }, site, input)
    ms += ((performance.now() - began) / (input.lines.length * strengths.length + 1)) * points
  }
  const points = nPoints(plan)
  return { points, ms, msPerPoint: ms / points }
}

/** @throws LIMIT_EXCEEDED */
export function requireTime(
  { points, msPerPoint, ms }: SweepEstimate,
  { seconds, limit, instead }: { readonly seconds: number; readonly limit: 'sweepSeconds' | 'sweepJobSeconds'; readonly instead: string },
): void {
  if (ms <= 1000 * seconds) return
  const each = Number(msPerPoint.toPrecision(2))
  throw new RequestError('LIMIT_EXCEEDED', {
    ...{ limit, given: Math.ceil(ms / 1000), maximum: seconds, instead },
    what: `Seconds that ${points} points would take, at ${each} ms for each: ${inWords(ms)}`,
  })
}

const units = [
  ['years', 365.25 * 86_400_000],
  ['days', 86_400_000],
  ['hours', 3_600_000],
  ['minutes', 60_000],
] as const

/** `2.4 years` */
export function inWords(ms: number): string {
  const [name, size] = units.find(([, length]) => ms >= 2 * length) ?? (['seconds', 1000] as const)
  return `${Number((ms / size).toPrecision(2))} ${name}`
}

/** What must fit into memory, and into a report. @throws LIMIT_EXCEEDED */
export function requireSize(plan: SweepPlan): void {
  const instead = 'Ask for fewer targets, strengths, positions, images or random directions, in several sweeps.'
  const { directions, places, strengths, targets } = plan
  const sizes = [
    { limit: 'sweepCurvePoints', given: directions.length * places.length * strengths.length * targets.length, what: 'Points of curves' },
    { limit: 'sweepScores', given: nPoints(plan) * targets.length, what: 'Points times targets' },
  ] as const
  for (const { limit, given, what } of sizes) {
    const maximum = fixedLimits[limit]
    if (given > maximum) throw new RequestError('LIMIT_EXCEEDED', { limit, given, maximum, what, instead })
  }
}
