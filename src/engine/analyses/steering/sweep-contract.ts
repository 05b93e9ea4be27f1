/** What a sweep is given and what it answers. */

import type { PositionSelector, StrengthUnit } from '../../interventions/edit.js'
import type { Tensor } from '../../tensor.js'
import type { Target } from '../targets.js'

/**
 * What a strength s does to the value x of the hook point, d a direction.
 *   add          x + s d (`unit: 'norm'`: d divided by its length)
 *   feature-add  x + decode(z') - decode(z), z' = z + s at a latent of the first SAE
 *   feature-set  the same with z' = s
 */
export type SweepOp = 'add' | 'feature-add' | 'feature-set'

export interface SweepDirection {
  /** Along the last axis of the hook point, or its head axis and the last. Of a feature: its row of the decoder, or what stands in for it. */
  readonly vector: Float32Array
  /** Whose activation says how far it is to go; of operations on features. */
  readonly latent?: number
  /** What a strength of 1 is, in activations of the latent; 1 unless given. */
  readonly factor?: number
}

/** Where directions are added. */
export interface SweepPlace {
  readonly positions: PositionSelector
  readonly heads?: readonly number[]
}

/** A picture, a direction and a place, by their indices: in all strengths. */
export interface SweepLine {
  readonly image: number
  readonly direction: number
  readonly place: number
}

export interface SweepTarget extends Target {
  /** Which of the answers it is. */
  readonly answer?: number
}

export interface SweepInput {
  /** `[image, channel, height, width]`, prepared. */
  readonly pixels: Tensor<'float32'>
  readonly hookPoint: string
  readonly op: SweepOp
  /** Of `add`. */
  readonly unit: StrengthUnit
  readonly directions: readonly SweepDirection[]
  readonly places: readonly SweepPlace[]
  readonly lines: readonly SweepLine[]
  readonly strengths: readonly number[]
  readonly targets: readonly SweepTarget[]
  /** What probabilities are over: a classifier's classes, or texts. Absent: nothing. */
  readonly answers?: 'classes' | readonly Target[]
}

export interface SweepOutput {
  /** Of each picture as it is. */
  readonly defaults: SweptRuns
  /** Line by line, in each its strengths. */
  readonly points: SweptRuns
}

/** Of some runs, one after the other. */
export interface SweptRuns {
  /** `[run * nTargets]` */
  readonly scores: Float32Array
  /** The same; NaN of a target that is none of the answers. Without answers there are none, nor the other two. */
  readonly probabilities?: Float32Array
  /** Kullback-Leibler divergence of the picture's answers as it is from those of the run, in nats. */
  readonly divergences?: Float32Array
  /** The most probable answer. */
  readonly best?: Int32Array
}
