/** What is kept of the runs of a sweep: the scores of targets, and where there are answers to choose from, how likely each target is among them. */

import { bestOf, divergence, probabilitiesOf } from '../../distributions.js'
import type { Tensor } from '../../tensor.js'
import type { SweepInput, SweptRuns } from './sweep-contract.js'

/** Of some rows, what `SweptTable` takes. */
export interface RowAnswers {
  /** Of targets, then of answers that are texts: `[row, nTargets + nTexts]`. */
  readonly scores: Tensor<'float32'>
  /** The tower's output. */
  readonly output: Tensor<'float32'>
}

/** Filled from the first run to the last. */
export class SweptTable {
  readonly #targets: SweepInput['targets']
  readonly #answers: SweepInput['answers']
  readonly #defaults: SweptTable | undefined
  readonly #scores: Float32Array
  readonly #probabilities: Float32Array
  readonly #divergences: Float32Array
  readonly #best: Int32Array
  /** Of whole answers; only of pictures as they are. */
  readonly #distributions: Float64Array[] = []
  #nRuns = 0

  /** @param defaults  the pictures as they are, which runs are compared with; absent: these are they */
  constructor(nRuns: number, { targets, answers }: Pick<SweepInput, 'targets' | 'answers'>, defaults?: SweptTable) {
    const nAnswered = answers === undefined ? 0 : nRuns
    this.#targets = targets
    this.#answers = answers
    this.#defaults = defaults
    this.#scores = new Float32Array(nRuns * targets.length)
    this.#probabilities = new Float32Array(nAnswered * targets.length)
    this.#divergences = new Float32Array(nAnswered)
    this.#best = new Int32Array(nAnswered)
  }

  /** @param images  of each row its picture, where there are defaults */
  add({ scores, output }: RowAnswers, images: readonly number[] = []): void {
    const [nRows, nScores] = scores.shape as [number, number]
    const nTargets = this.#targets.length
    for (let row = 0; row < nRows; row++) {
      const own = scores.data.subarray(row * nScores, (row + 1) * nScores)
      this.#scores.set(own.subarray(0, nTargets), this.#nRuns * nTargets)
      if (this.#answers !== undefined) {
        const nOut = output.shape[1]!
        const logits = this.#answers === 'classes' ? output.data.subarray(row * nOut, (row + 1) * nOut) : own.subarray(nTargets)
        this.#answer(logits, images[row])
      }
      this.#nRuns++
    }
  }

  runs(): SweptRuns {
    if (this.#answers === undefined) return { scores: this.#scores }
    return { scores: this.#scores, probabilities: this.#probabilities, divergences: this.#divergences, best: this.#best }
  }

  #answer(logits: Float32Array, image: number | undefined): void {
    const probabilities = probabilitiesOf(logits)
    const run = this.#nRuns
    for (const [index, { answer }] of this.#targets.entries()) {
      this.#probabilities[run * this.#targets.length + index] = answer === undefined ? Number.NaN : probabilities[answer]!
    }
    this.#best[run] = bestOf(logits)
    if (this.#defaults) this.#divergences[run] = divergence(this.#defaults.#distributions[image!]!, probabilities)
    else this.#distributions.push(probabilities)
  }
}
