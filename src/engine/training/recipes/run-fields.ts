/**
 * What every training configuration says of its optimizer, its schedule and its run. Fields are read strictly; what is wrong is reported
 * with the rest of the configuration.
 */

import type { StrictFields } from '../../strict-fields.js'
import type { Optimizer } from '../optimizers.js'
import type { RunSetting } from '../run/training-run.js'
import type { Schedule } from '../schedules.js'

const mostSteps = 1e9
const count = { min: 1, max: mostSteps, integer: true } as const
const wait = { min: 0, max: mostSteps, integer: true } as const
const unit = { min: 0, max: 1 } as const

/** `steps`, or `epochs` of a data set whose size is known later. */
export type Length = { readonly steps: number } | { readonly epochs: number }

export function readLength(fields: StrictFields): Length {
  const [hasSteps, hasEpochs] = [fields.has('steps'), fields.has('epochs')]
  if (hasSteps === hasEpochs) fields.problem('steps', hasSteps ? 'excludes epochs' : 'is missing; expected steps or epochs')
  return hasEpochs
    ? { epochs: fields.number('epochs', { min: 0.001, max: 1e6 }) }
    : { steps: fields.number('steps', { ...count, fallback: 1 }) }
}

export function stepsOf(length: Length, stepsPerEpoch: number): number {
  return 'steps' in length ? length.steps : Math.max(1, Math.round(length.epochs * stepsPerEpoch))
}

interface OptimizerDefaults {
  readonly kind: Optimizer['kind']
  readonly learningRate: number
  readonly clipNorm?: number
  /** Those that can be chosen. */
  readonly kinds: readonly Optimizer['kind'][]
}

/** What a model is trained by. */
export const modelOptimizer: OptimizerDefaults = { kind: 'adamw', learningRate: 1e-3, clipNorm: 1, kinds: ['adam', 'adamw', 'muon'] }

/** `optimizer: { kind, learningRate, clipNorm, ... }`, or the defaults without it. */
export function readOptimizer(
  section: StrictFields | undefined,
  { kinds, ...defaults }: OptimizerDefaults,
): { readonly optimizer: Optimizer; readonly learningRate: number; readonly clipNorm?: number } {
  const { learningRate, clipNorm } = defaults
  if (section === undefined) return { optimizer: { kind: defaults.kind }, learningRate, ...(clipNorm !== undefined && { clipNorm }) }
  const clip = section.raw('clipNorm') === null ? undefined : section.has('clipNorm') ? section.number('clipNorm', { min: 1e-9 }) : clipNorm
  return {
    optimizer: readRule(section, section.choice('kind', kinds, defaults.kind)),
    learningRate: section.number('learningRate', { min: 0, max: 100, fallback: learningRate }),
    ...(clip !== undefined && { clipNorm: clip }),
  }
}

function readRule(section: StrictFields, kind: Optimizer['kind']): Optimizer {
  const moments = {
    ...(section.has('beta1') && { beta1: section.number('beta1', { min: 0, max: 0.999999 }) }),
    ...(section.has('beta2') && { beta2: section.number('beta2', { min: 0, max: 0.999999 }) }),
    ...(section.has('epsilon') && { epsilon: section.number('epsilon', { min: 0, max: 1 }) }),
  }
  if (kind === 'adam') return { kind, ...moments }
  const decayed = {
    ...moments,
    ...(section.has('weightDecay') && { weightDecay: section.number('weightDecay', unit) }),
    ...(section.has('decayed') && { decayed: section.choice('decayed', ['all', 'matrices']) }),
  }
  if (kind === 'adamw') return { kind, ...decayed }
  return {
    kind,
    ...decayed,
    ...(section.has('momentum') && { momentum: section.number('momentum', { min: 0, max: 0.999999 }) }),
    ...(section.has('matrixFactor') && { matrixFactor: section.number('matrixFactor', { min: 0, max: 1e6 }) }),
  }
}

type Kinds = { readonly [K in Schedule['kind']]: (section: StrictFields) => Extract<Schedule, { kind: K }> }

const warmup = (section: StrictFields) => section.number('warmupSteps', wait)
const gamma = (section: StrictFields) => section.number('gamma', unit)
const every = (section: StrictFields) => section.number('every', count)

const schedules: Kinds = {
  constant: () => ({ kind: 'constant' }),
  'constant-with-warmup': (section) => ({ kind: 'constant-with-warmup', warmupSteps: warmup(section) }),
  'warmup-cosine': (section) => ({
    kind: 'warmup-cosine',
    warmupSteps: warmup(section),
    ...(section.has('finalFactor') && { finalFactor: section.number('finalFactor', unit) }),
  }),
  'warmup-step': (section) => ({ kind: 'warmup-step', warmupSteps: warmup(section), every: every(section), gamma: gamma(section) }),
  'warmup-linear': (section) => ({
    kind: 'warmup-linear',
    warmupSteps: warmup(section),
    ...(section.has('decaySteps') && { decaySteps: section.number('decaySteps', count) }),
  }),
  'prisma-sae-constantwithwarmup': (section) => ({ kind: 'prisma-sae-constantwithwarmup', warmupSteps: warmup(section) }),
  'prisma-sae-linearwarmupdecay': (section) => ({ kind: 'prisma-sae-linearwarmupdecay', warmupSteps: warmup(section) }),
  'prisma-sae-cosineannealing': () => ({ kind: 'prisma-sae-cosineannealing' }),
  'prisma-sae-cosineannealingwarmup': (section) => ({ kind: 'prisma-sae-cosineannealingwarmup', warmupSteps: warmup(section) }),
  'prisma-sae-cosineannealingwarmrestarts': (section) => ({
    kind: 'prisma-sae-cosineannealingwarmrestarts',
    ...(section.has('nCycles') && { nCycles: section.number('nCycles', count) }),
  }),
  'prisma-vit-WarmupThenStepLR': (section) => ({
    kind: 'prisma-vit-WarmupThenStepLR',
    warmupSteps: warmup(section),
    every: every(section),
    gamma: gamma(section),
  }),
  'prisma-vit-CosineAnnealing': (section) => ({ kind: 'prisma-vit-CosineAnnealing', warmupSteps: warmup(section) }),
}

/** `schedule: { kind, warmupSteps, ... }`. */
export function readSchedule(section: StrictFields | undefined, fallback: Schedule): Schedule {
  if (section === undefined) return fallback
  return schedules[section.choice('kind', Object.keys(schedules) as Schedule['kind'][])](section)
}

/** `run: { checkpointEvery, evaluateEvery, keepLast, logEvery, best, bounds }`; the number of steps comes later. */
export function readRun(section: StrictFields | undefined): Partial<Omit<RunSetting, 'nSteps'>> {
  if (section === undefined) return {}
  const best = section.section('best')
  const bounds = section.section('bounds')
  return {
    ...(section.has('checkpointEvery') && { checkpointEvery: section.number('checkpointEvery', count) }),
    ...(section.has('evaluateEvery') && { evaluateEvery: section.number('evaluateEvery', count) }),
    ...(section.has('keepLast') && { keepLast: section.number('keepLast', { ...count, max: 1000 }) }),
    ...(section.has('logEvery') && { logEvery: section.number('logEvery', count) }),
    ...(best && { best: { name: best.string('name'), goal: best.choice('goal', ['highest', 'lowest'], 'highest') } }),
    ...(bounds && {
      bounds: Object.fromEntries(boundNames.flatMap((name) => (bounds.has(name) ? [[name, bounds.number(name, {})]] : []))),
    }),
  }
}

/** Numbers of an update that a run can be stopped by. */
const boundNames = ['loss', 'gradientNorm', 'deadShare'] as const

/** A tenth of the run between checkpoints and between evaluations, unless said otherwise. */
export function runSetting(given: Partial<Omit<RunSetting, 'nSteps'>>, nSteps: number): RunSetting {
  const tenth = Math.max(1, Math.ceil(nSteps / 10))
  return { checkpointEvery: tenth, evaluateEvery: tenth, ...given, nSteps }
}
