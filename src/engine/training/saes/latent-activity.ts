/**
 * Which latents are alive: how many steps ago each was last active in a batch, and how often it is, over windows of steps.
 */

import { EngineError } from '../../errors.js'
import { type Tensor, tensor } from '../../tensor.js'

export interface LatentActivityOptions {
  readonly dSae: number
  /** A latent that was not active in more steps than this is dead. */
  readonly deadAfterSteps: number
  /** Frequencies are counted over this many steps, then anew. */
  readonly frequencyWindow: number
}

/** What a whole window says of all latents. */
export interface WindowStatistics {
  /** Mean of the logarithms of the frequencies. */
  readonly meanLog10Frequency: number
  /** Shares of the latents whose frequency is below. */
  readonly below1e5: number
  readonly below1e6: number
}

/** Before the logarithm, so that a latent that is never active has -10 (ViT-Prisma). */
const LEAST_FREQUENCY = 1e-10

export class LatentActivity {
  readonly #options: LatentActivityOptions
  readonly #silentSteps: Int32Array
  #counts: Float64Array
  #tokens = 0
  #steps = 0
  #logFrequency: Float32Array | undefined

  constructor(options: LatentActivityOptions, from?: Readonly<Record<string, Tensor>>) {
    this.#options = options
    this.#silentSteps = new Int32Array(options.dSae)
    this.#counts = new Float64Array(options.dSae)
    if (from) this.#restore(from)
  }

  /**
   * @param counts   in how many of the batch's tokens each latent was active, `[dSae]`
   * @returns        statistics of the window, when this was its last step
   */
  update(counts: ArrayLike<number>, nTokens: number): WindowStatistics | undefined {
    for (let latent = 0; latent < this.#silentSteps.length; latent++) {
      this.#counts[latent]! += counts[latent]!
      this.#silentSteps[latent] = counts[latent]! > 0 ? 0 : this.#silentSteps[latent]! + 1
    }
    this.#tokens += nTokens
    if (++this.#steps < this.#options.frequencyWindow) return undefined
    const log = this.#count()
    this.#logFrequency = log
    this.#counts = new Float64Array(this.#options.dSae)
    this.#tokens = 0
    this.#steps = 0
    const share = (limit: number) => log.reduce((sum, value) => sum + (value < limit ? 1 : 0), 0) / log.length
    return { meanLog10Frequency: log.reduce((sum, value) => sum + value, 0) / log.length, below1e5: share(-5), below1e6: share(-6) }
  }

  isDead(latent: number): boolean {
    return this.#silentSteps[latent]! > this.#options.deadAfterSteps
  }

  get nDead(): number {
    return this.#silentSteps.reduce((sum, _, latent) => sum + (this.isDead(latent) ? 1 : 0), 0)
  }

  get meanSilentSteps(): number {
    return this.#silentSteps.reduce((sum, steps) => sum + steps, 0) / this.#silentSteps.length
  }

  /** `[dSae]`: 1 for a dead latent. */
  deadMask(): Tensor<'float32'> {
    return tensor(
      'float32',
      [this.#options.dSae],
      Float32Array.from(this.#silentSteps, (_, latent) => (this.isDead(latent) ? 1 : 0)),
    )
  }

  /** log10 of the frequencies in the last whole window, or in what there is of the first. */
  logFrequency(): Tensor<'float32'> {
    return tensor('float32', [this.#options.dSae], this.#logFrequency ?? this.#count())
  }

  /** For a checkpoint. */
  state(): Record<string, Tensor> {
    const { dSae } = this.#options
    return {
      silentSteps: tensor('int32', [dSae], this.#silentSteps.slice()),
      counts: tensor('float64', [dSae], this.#counts.slice()),
      window: tensor('float64', [2], Float64Array.of(this.#tokens, this.#steps)),
      ...(this.#logFrequency && { logFrequency: tensor('float32', [dSae], this.#logFrequency.slice()) }),
    }
  }

  #restore({ silentSteps, counts, window, logFrequency }: Readonly<Record<string, Tensor>>): void {
    if (!silentSteps || !counts || !window || silentSteps.shape[0] !== this.#options.dSae) {
      throw new EngineError('CHECKPOINT_MISMATCH', { checkpoint: 'of this run', problems: ['the counts of active latents are not there'] })
    }
    this.#silentSteps.set(silentSteps.data as Int32Array)
    this.#counts.set(counts.data as Float64Array)
    this.#tokens = Number(window.data[0])
    this.#steps = Number(window.data[1])
    if (logFrequency) this.#logFrequency = logFrequency.data as Float32Array
  }

  #count(): Float32Array {
    return Float32Array.from(this.#counts, (count) => Math.log10(count / Math.max(1, this.#tokens) + LEAST_FREQUENCY))
  }
}
