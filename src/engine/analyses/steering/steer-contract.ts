/** What steering is asked and answers: the same pictures with and without edits, and what became of them. */

import type { Edit } from '../../interventions/edit.js'
import type { Tensor } from '../../tensor.js'
import type { Target } from '../targets.js'

export interface SteerInput {
  /** `[image, channel, height, width]`, preprocessed. */
  readonly pixels: Tensor<'float32'>
  /** At least one; their `sae` is a place among the workbench's. */
  readonly edits: readonly Edit[]
  /** Hook points whose change is measured, each once. */
  readonly read: readonly string[]
  /** Whether the values of `read` are answered, and not only how they changed. */
  readonly withValues: boolean
  /** The possible answers, for probabilities: what the model itself answers, or labels. Absent: it has none. */
  readonly answers?: 'classes' | SteerLabels
  /** Scores to look at. */
  readonly targets: readonly Target[]
  readonly controls?: SteerControls
  /** Bytes of the values of `read` for one image, so that `cost` knows. */
  readonly readBytes: number
}

export interface SteerLabels {
  /** `[label, dOut]`, unit vectors. */
  readonly embeddings: Tensor<'float32'>
  readonly logitScale: number
  /** Added to every logit (SigLIP). */
  readonly logitBias: number
}

/** Random directions in the place of what the edits add: at every edited hook point, as long as that at each position. */
export interface SteerControls {
  readonly n: number
  readonly seed: number
}

/** `[image, ...]`: of each value of the model, first without edits, then with them. */
export interface Pair {
  readonly default: Tensor<'float32'>
  readonly steered: Tensor<'float32'>
}

export interface SteerOutput {
  readonly output: Pair
  /** Logits of the possible answers, `[image, answer]`. */
  readonly logits?: Pair
  /** Of the targets, `[image, target]`; absent where there are none. */
  readonly scores?: Pair
  /** Of `read`, in its order. */
  readonly changes: readonly HookPointChange[]
  /** Of each edited hook point once, in firing order: what the edits there did to the value that they found. */
  readonly perturbations: readonly Perturbation[]
  readonly controls?: ControlEffects
}

/** Of vectors along the last axis: `[image, pos]`, with heads `[image, pos, head]`. */
export interface HookPointChange {
  readonly hookPoint: string
  /** |steered - default|. */
  readonly size: Tensor<'float32'>
  /** The same divided by |default|. */
  readonly relative: Tensor<'float32'>
  /** Between steered and default. */
  readonly cosine: Tensor<'float32'>
  readonly values?: Pair
}

export interface Perturbation {
  readonly hookPoint: string
  /** |after - before|, axes as above. */
  readonly size: Tensor<'float32'>
  /** The same divided by |before|; 0 where nothing changed. */
  readonly relative: Tensor<'float32'>
}

/**
 * How much it moves, in what is asked first of: the targets' scores (`target`, signed); the answer's distribution (`divergence`, in nats from
 * default to steered); the output (`distance`, |steered - default|).
 */
export type EffectKind = 'target' | 'divergence' | 'distance'

export interface ControlEffects {
  readonly kind: EffectKind
  /** Of the edits, `[image, target]`; of the other kinds one number for each image. */
  readonly effect: Tensor<'float32'>
  /** Of the random directions, `[image, control, target]`. */
  readonly controls: Tensor<'float32'>
}
