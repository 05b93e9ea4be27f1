/**
 * The loop of every training: updates, curves, evaluation, checkpoints, progress, and the reasons to stop. What is trained, on what, it does
 * not know: that is a `Trainee`.
 */

import { EngineError } from '../../errors.js'
import type { Tensor } from '../../tensor.js'
import { type Checkpoint, removeOldCheckpoints, writeCheckpoint } from './checkpoints.js'
import { CurveLog } from './curves.js'
import type { RunFolder } from './run-folder.js'

/** Something that learns in updates. It starts where the run's checkpoint stands. */
export interface Trainee {
  /**
   * Does one update and returns what was measured; `loss` among it. The same step with the same state gives the same numbers.
   * @param step  updates done before it
   */
  update(step: number): Promise<Readonly<Record<string, number>>>
  /** Everything needed to go on after the updates done so far. */
  snapshot(): Promise<Omit<Checkpoint, 'step'>>
}

export interface RunSetting {
  readonly nSteps: number
  /** Steps between checkpoints; one is made at the end in any case. */
  readonly checkpointEvery: number
  /** How many of the newest checkpoints stay. Default 2. */
  readonly keepLast?: number
  /** Steps between evaluations; one is made at the end in any case. Default: only that one. */
  readonly evaluateEvery?: number
  /** A number of the evaluation by which the run is judged: the checkpoint where it was best stays too. */
  readonly best?: { readonly name: string; readonly goal: 'highest' | 'lowest' }
  /** Steps between the points of the curves. Default 1. */
  readonly logEvery?: number
  /** Numbers of an update that stop the run when they are higher: `{ loss: 100, deadShare: 0.9 }`. */
  readonly bounds?: Readonly<Record<string, number>>
}

export interface Progress {
  /** Updates done. */
  readonly step: number
  readonly nSteps: number
  /** What was measured at this step. */
  readonly numbers: Readonly<Record<string, number>>
  /** Over the last steps; undefined before the second. */
  readonly stepsPerSecond?: number
  readonly secondsLeft?: number
}

export interface RunOptions {
  readonly run: RunFolder
  readonly trainee: Trainee
  readonly setting: RunSetting
  /** Title of the plot. */
  readonly title: string
  /** Milliseconds of any clock that does not go back. */
  readonly now: () => number
  /** Measures the weights as they are; names in the curves get `evaluation/` in front. */
  readonly evaluate?: (step: number) => Promise<Readonly<Record<string, number>>>
  readonly onProgress?: (progress: Progress) => void
  /** Stops after the update under way, with a checkpoint. */
  readonly signal?: AbortSignal
}

export interface RunOutcome {
  readonly ended: 'finished' | 'stopped'
  readonly step: number
  /** The last evaluation. */
  readonly evaluation: Readonly<Record<string, number>>
  readonly best?: { readonly step: number; readonly value: number }
}

/** Numbers that end a run when they are not finite. */
const vital = ['loss', 'gradientNorm']

/** In front of the names of what an evaluation measured. */
const evaluated = 'evaluation/'

/** @throws TRAINING_DIVERGED, leaving the last checkpoint as it was; STORAGE_FULL; what the trainee throws */
export async function trainRun(options: RunOptions): Promise<RunOutcome> {
  const start = options.run.from?.step ?? 0
  const curves = await CurveLog.open(options.run.folder, start)
  try {
    return await loop(options, curves)
  } finally {
    await curves.publish(options.title).finally(() => curves.close())
  }
}

async function loop(
  { run, trainee, setting, title, now, evaluate, onProgress, signal }: RunOptions,
  curves: CurveLog,
): Promise<RunOutcome> {
  const { nSteps, checkpointEvery, keepLast = 2, evaluateEvery = nSteps, logEvery = 1, bounds = {} } = setting
  let saved = run.from?.step
  let best = run.from?.best
  let evaluation = lastEvaluation(curves)
  const rate = rateMeter(now)

  const save = async (step: number) => {
    if (saved === step) return
    const snapshot = await trainee.snapshot()
    const spoilt = notFinite(snapshot.weights)
    if (spoilt !== undefined) throw diverged(step, `the weights "${spoilt}" are not finite`, saved)
    await curves.publish(title)
    await writeCheckpoint(run.folder, { ...snapshot, step }, { identity: run.identity, ...(best && { best }) })
    saved = step
    await removeOldCheckpoints(run.folder, { keepLast, also: best ? [best.step] : [] })
  }

  for (let step = run.from?.step ?? 0; step < nSteps; ) {
    if (signal?.aborted) {
      await save(step)
      return { ended: 'stopped', step, evaluation, ...(best && { best }) }
    }
    const numbers = await trainee.update(step)
    step++
    const problem = problemOf(numbers, bounds)
    if (problem !== undefined) throw diverged(step, problem, saved)

    const isDue = (every: number) => step % every === 0 || step === nSteps
    const point: Record<string, number> = isDue(logEvery) ? { ...numbers } : {}
    let isBest = false
    if (evaluate && isDue(evaluateEvery)) {
      evaluation = await evaluate(step)
      for (const [name, value] of Object.entries(evaluation)) point[`${evaluated}${name}`] = value
      const value = setting.best && evaluation[setting.best.name]
      isBest = value !== undefined && isBetter(value, best?.value, setting.best!.goal)
      if (isBest) best = { step, value: value! }
    }
    if (Object.keys(point).length > 0) await curves.append({ step, numbers: point })
    if (isBest || isDue(checkpointEvery)) await save(step)
    onProgress?.({ step, nSteps, numbers, ...rate(step, nSteps) })
  }
  return { ended: 'finished', step: nSteps, evaluation, ...(best && { best }) }
}

function lastEvaluation(curves: CurveLog): Readonly<Record<string, number>> {
  const isEvaluation = ([name]: [string, number]) => name.startsWith(evaluated)
  const last = curves.points.findLast(({ numbers }) => Object.entries(numbers).some(isEvaluation))
  const numbers = Object.entries(last?.numbers ?? {}).filter(isEvaluation)
  return Object.fromEntries(numbers.map(([name, value]) => [name.slice(evaluated.length), value]))
}

function problemOf(numbers: Readonly<Record<string, number>>, bounds: Readonly<Record<string, number>>): string | undefined {
  const lost = vital.find((name) => numbers[name] !== undefined && !Number.isFinite(numbers[name]))
  if (lost !== undefined) return `${lost} is ${numbers[lost]}`
  // not "above": NaN must not pass
  const crossed = Object.entries(bounds).find(([name, bound]) => numbers[name] !== undefined && !(numbers[name] <= bound))
  return crossed && `${crossed[0]} is ${numbers[crossed[0]]}, above its bound of ${crossed[1]}`
}

function diverged(step: number, problem: string, checkpoint: number | undefined): EngineError {
  return new EngineError('TRAINING_DIVERGED', { step, problem, ...(checkpoint !== undefined && { checkpoint }) })
}

function isBetter(value: number, than: number | undefined, goal: 'highest' | 'lowest'): boolean {
  if (Number.isNaN(value)) return false
  return than === undefined || (goal === 'highest' ? value > than : value < than)
}

function notFinite(weights: Readonly<Record<string, Tensor>>): string | undefined {
  return Object.entries(weights).find(([, { data }]) => data instanceof Float32Array && !data.every(Number.isFinite))?.[0]
}

/** Steps a second over the last few dozen steps, so that a pause at a checkpoint is soon forgotten. */
function rateMeter(now: () => number): (step: number, nSteps: number) => Pick<Progress, 'stepsPerSecond' | 'secondsLeft'> {
  const times: number[] = []
  return (step, nSteps) => {
    times.push(now())
    if (times.length > 50) times.shift()
    const elapsed = times.at(-1)! - times[0]!
    if (times.length < 2 || elapsed <= 0) return {}
    const stepsPerSecond = (1000 * (times.length - 1)) / elapsed
    return { stepsPerSecond, secondsLeft: (nSteps - step) / stepsPerSecond }
  }
}
