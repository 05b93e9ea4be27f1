/**
 * Learning rates over a run. A schedule is a pure function of the update's number, so that a run that is taken up again needs no state.
 *
 * Those named `prisma-...` give what ViT-Prisma's trainers give, with their peculiarities: `prisma-sae-...` its SAE trainer (whose
 * schedules come from SAELens), `prisma-vit-...` its ViT trainer.
 */

export type Schedule =
  | { readonly kind: 'constant' }
  /** Linear up to the full rate at update `warmupSteps`, then constant. */
  | { readonly kind: 'constant-with-warmup'; readonly warmupSteps: number }
  /** Linear up, then half a cosine down to `finalFactor` (default 0) of the rate. */
  | { readonly kind: 'warmup-cosine'; readonly warmupSteps: number; readonly finalFactor?: number }
  /** Linear up, then times `gamma` after every `every` updates. */
  | { readonly kind: 'warmup-step'; readonly warmupSteps: number; readonly every: number; readonly gamma: number }
  /** Linear up, constant, and linear down to 0 over the last `decaySteps` updates (default: all after the warm-up). */
  | { readonly kind: 'warmup-linear'; readonly warmupSteps: number; readonly decaySteps?: number }
  | { readonly kind: 'prisma-sae-constantwithwarmup'; readonly warmupSteps: number }
  | { readonly kind: 'prisma-sae-linearwarmupdecay'; readonly warmupSteps: number }
  /** torch's CosineAnnealingLR down to a tenth of the rate. */
  | { readonly kind: 'prisma-sae-cosineannealing' }
  /** Ends at learning rate squared, over ten: the final rate is taken for a factor. */
  | { readonly kind: 'prisma-sae-cosineannealingwarmup'; readonly warmupSteps: number }
  /** torch's CosineAnnealingWarmRestarts with `nCycles` (default 1) of equal length, each down to a tenth of the rate. */
  | { readonly kind: 'prisma-sae-cosineannealingwarmrestarts'; readonly nCycles?: number }
  /** Its first update has rate 0. */
  | { readonly kind: 'prisma-vit-WarmupThenStepLR'; readonly warmupSteps: number; readonly every: number; readonly gamma: number }
  /** From 1e-6 up to the rate, and down to 1e-6 again. */
  | { readonly kind: 'prisma-vit-CosineAnnealing'; readonly warmupSteps: number }

export interface ScheduleSetting {
  /** Number of the update, from 0. */
  readonly step: number
  /** Updates of the whole run. */
  readonly nSteps: number
  /** The full rate. */
  readonly learningRate: number
}

/** The learning rate of one update. */
export function learningRateAt(schedule: Schedule, { step, nSteps, learningRate }: ScheduleSetting): number {
  switch (schedule.kind) {
    case 'constant':
      return learningRate
    case 'constant-with-warmup':
    case 'prisma-sae-constantwithwarmup':
      return learningRate * warmup(step, schedule.warmupSteps)
    case 'warmup-cosine':
    case 'prisma-sae-cosineannealingwarmup': {
      const { warmupSteps } = schedule
      if (step < warmupSteps) return learningRate * warmup(step, warmupSteps)
      const least = schedule.kind === 'warmup-cosine' ? (schedule.finalFactor ?? 0) : learningRate / 10
      return learningRate * halfCosine(share(step - warmupSteps, nSteps - warmupSteps), least)
    }
    case 'warmup-step':
      if (step < schedule.warmupSteps) return learningRate * warmup(step, schedule.warmupSteps)
      return learningRate * schedule.gamma ** Math.floor((step - schedule.warmupSteps) / schedule.every)
    case 'warmup-linear':
    case 'prisma-sae-linearwarmupdecay': {
      const { warmupSteps } = schedule
      if (step < warmupSteps) return learningRate * warmup(step, warmupSteps)
      const decaySteps = (schedule.kind === 'warmup-linear' ? schedule.decaySteps : undefined) ?? nSteps - warmupSteps
      return learningRate * Math.min(1, (nSteps - step) / Math.max(1, decaySteps))
    }
    case 'prisma-sae-cosineannealing':
      return learningRate * halfCosine(step / nSteps, 0.1)
    case 'prisma-sae-cosineannealingwarmrestarts': {
      const cycle = Math.max(1, Math.floor(nSteps / (schedule.nCycles ?? 1)))
      return learningRate * halfCosine((step % cycle) / cycle, 0.1)
    }
    case 'prisma-vit-WarmupThenStepLR':
      if (step < schedule.warmupSteps) return learningRate * (step / schedule.warmupSteps)
      return learningRate * schedule.gamma ** Math.floor((step - schedule.warmupSteps) / schedule.every)
    case 'prisma-vit-CosineAnnealing': {
      const [least, { warmupSteps }] = [1e-6, schedule]
      if (step < warmupSteps) return least + (learningRate - least) * (step / warmupSteps)
      return least + (learningRate - least) * halfCosine(share(step - warmupSteps, nSteps - warmupSteps), 0)
    }
    default:
      return schedule satisfies never
  }
}

/** The first update already moves. */
const warmup = (step: number, warmupSteps: number) => Math.min(1, (step + 1) / Math.max(1, warmupSteps))

/** From 1 at 0 to `least` at 1. */
const halfCosine = (progress: number, least: number) => least + ((1 - least) * (1 + Math.cos(Math.PI * progress))) / 2

const share = (done: number, all: number) => (all <= 0 ? 1 : Math.min(1, done / all))
