import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { learningRateAt, type Schedule } from '../../../src/engine/training/schedules.js'
import { expected } from './golden.js'

const { nSteps, learningRate, rows } = expected.schedules

describe('a schedule gives what torch gives', () => {
  test.each(rows.map((row) => [JSON.stringify(row.schedule), row] as const))('%s', (_, { schedule, rates }) => {
    const ours = rates.map((_, step) => learningRateAt(schedule, { step, nSteps, learningRate }))
    for (const [step, rate] of rates.entries()) expect(Math.abs(ours[step]! - rate), `step ${step}`).toBeLessThanOrEqual(1e-12)
  })

  test('every kind is among them', () => {
    const kinds = new Set<Schedule['kind']>(rows.map(({ schedule }) => schedule.kind))
    expect(kinds.size).toBe(12)
  })
})

test('ViT-Prisma’s warmed-up cosine ends at the square of the rate over ten', () => {
  const schedule: Schedule = { kind: 'prisma-sae-cosineannealingwarmup', warmupSteps: 2 }
  expect(learningRateAt(schedule, { step: 100, nSteps: 100, learningRate: 0.01 })).toBeCloseTo(0.01 ** 2 / 10, 12)
})

test('every schedule is finite and between 0 and the full rate at every step of every run', () => {
  const whole = (max: number) => fc.integer({ min: 0, max })
  const makes: ((warmupSteps: number, every: number) => Schedule)[] = [
    () => ({ kind: 'constant' }),
    (warmupSteps) => ({ kind: 'constant-with-warmup', warmupSteps }),
    (warmupSteps) => ({ kind: 'warmup-cosine', warmupSteps }),
    (warmupSteps) => ({ kind: 'warmup-linear', warmupSteps }),
    (warmupSteps, decaySteps) => ({ kind: 'warmup-linear', warmupSteps, decaySteps }),
    (warmupSteps, every) => ({ kind: 'warmup-step', warmupSteps, every, gamma: 0.5 }),
    (warmupSteps) => ({ kind: 'prisma-sae-linearwarmupdecay', warmupSteps }),
    (warmupSteps) => ({ kind: 'prisma-sae-cosineannealingwarmup', warmupSteps }),
    (_, nCycles) => ({ kind: 'prisma-sae-cosineannealingwarmrestarts', nCycles }),
    (warmupSteps, every) => ({ kind: 'prisma-vit-WarmupThenStepLR', warmupSteps, every, gamma: 0.5 }),
    (warmupSteps) => ({ kind: 'prisma-vit-CosineAnnealing', warmupSteps }),
  ]
  const schedules = fc.constantFrom(...makes)
  fc.assert(
    fc.property(schedules, whole(30), fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 9 }), (make, warmup, nSteps, every) => {
      for (let step = 0; step < nSteps; step++) {
        const rate = learningRateAt(make(warmup, every), { step, nSteps, learningRate: 0.5 })
        expect(rate).toBeGreaterThanOrEqual(0)
        expect(rate).toBeLessThanOrEqual(0.5)
      }
    }),
  )
})
