/**
 * One SAE in training: its weights where the backend keeps them, its compiled steps, and which of its latents are alive. There are two steps,
 * each compiled when it is first needed: while no latent is dead the terms that bring dead ones back are left out, and cost nothing.
 */

import type { Backend, Program, ResidentWeights } from '../../backends/backend.js'
import { EngineError } from '../../errors.js'
import type { SaeConfig } from '../../saes/sae.js'
import { scalar, type Tensor, zeros } from '../../tensor.js'
import { requireFullPrecision } from '../full-precision.js'
import type { Optimizer } from '../optimizers.js'
import { clamped, type Projection, unitRows } from '../projections.js'
import { gradientNorm, type StepGraph, trainingStep } from '../training-step.js'
import { readName, readsOf } from './activation-source.js'
import type { ActivationBatch } from './activation-stream.js'
import { LatentActivity } from './latent-activity.js'
import { type SaeLossOptions, usesDeadLatents } from './loss-options.js'
import { saeLoss } from './sae-loss.js'

export interface SaeStepOptions {
  readonly config: SaeConfig
  readonly loss: SaeLossOptions
  readonly batchSize: number
  /** Default Adam, as torch has it. */
  readonly optimizer?: Optimizer
  /** Of all gradients together. Default: not clipped. */
  readonly clipNorm?: number
  /**
   * `unit`: decoder rows keep length 1, and their gradients lose what would change it; `unit-without-projection`: they are only scaled back;
   * `free`. Default `unit`.
   */
  readonly decoderRows?: 'unit' | 'unit-without-projection' | 'free'
  /** Of the sparsity loss. */
  readonly sparsityCoefficient?: number
  /** Steps over which the coefficient grows from 0. Default 0. */
  readonly sparsityWarmupSteps?: number
  /** How much of a new batch goes into batch-top-k's running threshold. Default 0.01. */
  readonly thresholdRate?: number
  readonly deadAfterSteps: number
  readonly frequencyWindow: number
}

/** What a step needs to go on with: `weights` are the SAE's, `state` the optimizer's and the counts of active latents. */
export interface SaeSnapshot {
  readonly weights: Readonly<Record<string, Tensor>>
  readonly state: Readonly<Record<string, Tensor>>
}

interface CompiledStep {
  readonly step: StepGraph
  readonly program: Program
  readonly fetch: readonly string[]
}

const countsState = 'activity/'
/** Far above any activation; JumpReLU's thresholds are kept from below. */
const HIGHEST = 1e30

export class SaeStepper {
  readonly activity: LatentActivity
  readonly #backend: Backend
  readonly #options: SaeStepOptions
  readonly #weights: ResidentWeights
  readonly #parameters: readonly string[]
  readonly #optimizerState: readonly string[]
  readonly #compiled = new Map<boolean, CompiledStep>()

  private constructor(
    backend: Backend,
    options: SaeStepOptions,
    { weights, first, activity }: { weights: ResidentWeights; first: CompiledStep; activity: LatentActivity },
  ) {
    this.#backend = backend
    this.#options = options
    this.#weights = weights
    this.#optimizerState = Object.keys(first.step.state)
    this.#parameters = [...weights.names].filter((name) => !this.#optimizerState.includes(name))
    this.#compiled.set(false, first)
    this.activity = activity
  }

  /** @throws INPUT_INVALID; CONFIG_INVALID on a device that computes in less than float32; CHECKPOINT_MISMATCH when `from` lacks what it needs */
  static async create(
    backend: Backend,
    options: SaeStepOptions,
    from: SaeSnapshot | { readonly weights: SaeSnapshot['weights'] },
  ): Promise<SaeStepper> {
    requireFullPrecision(backend)
    const first = await compile(backend, options, false)
    const state = 'state' in from ? from.state : undefined
    const fresh = Object.entries(first.step.state).map(([name, { dtype, shape }]) => {
      const known = state?.[name]
      if (state && !known) throw new EngineError('CHECKPOINT_MISMATCH', { checkpoint: 'of this run', problems: [`"${name}" is not there`] })
      return [name, known ?? zeros(dtype, shape as readonly number[])] as const
    })
    const { dSae } = options.config
    const activity = new LatentActivity({ ...options, dSae }, state && withoutPrefix(state, countsState))
    const weights = await backend.upload({ ...from.weights, ...Object.fromEntries(fresh) })
    return new SaeStepper(backend, options, { weights, first, activity })
  }

  /** One update. @param step  updates done before it. @returns what was measured, by name */
  async update(batch: ActivationBatch, { step, learningRate }: { step: number; learningRate: number }): Promise<Record<string, number>> {
    const { config, loss, batchSize } = this.#options
    const { nDead } = this.activity
    const withDead = usesDeadLatents(loss) && nDead > 0
    const { step: graph, program, fetch } = await this.#step(withDead)
    const [input, target] = readsOf(config)
    const inputs: Record<string, Tensor> = {
      x: batch[readName(input)]!,
      ...(target && { y: batch[readName(target)]! }),
      ...(loss.sparsity && { sparsityCoefficient: scalar(this.#coefficient(step)) }),
      ...(withDead && { deadLatents: this.activity.deadMask() }),
      ...graph.inputs({ update: step + 1, learningRate }),
    }
    const results = await program.run({ inputs, weights: this.#weights, fetch, writeBack: graph.writeBack })
    const { latentCounts, ...numbers } = results
    const counts = latentCounts!.data as Float32Array
    const window = this.activity.update(counts, batchSize)
    return {
      ...Object.fromEntries(Object.entries(numbers).map(([name, { data }]) => [name, Number(data[0])])),
      l0: counts.reduce((sum, count) => sum + count, 0) / batchSize,
      deadShare: this.activity.nDead / config.dSae,
      meanSilentSteps: this.activity.meanSilentSteps,
      ...window,
    }
  }

  async snapshot(): Promise<SaeSnapshot> {
    const counts = Object.entries(this.activity.state()).map(([name, tensor]) => [`${countsState}${name}`, tensor])
    return { weights: await this.weights(), state: { ...(await this.#weights.read(this.#optimizerState)), ...Object.fromEntries(counts) } }
  }

  /** Copies of the parameters as they are. */
  async weights(): Promise<Readonly<Record<string, Tensor<'float32'>>>> {
    return (await this.#weights.read(this.#parameters)) as Record<string, Tensor<'float32'>>
  }

  async dispose(): Promise<void> {
    await Promise.all([...this.#compiled.values()].map(({ program }) => program.dispose()))
    await this.#weights.dispose()
  }

  async #step(withDead: boolean): Promise<CompiledStep> {
    const known = this.#compiled.get(withDead)
    if (known) return known
    const made = await compile(this.#backend, this.#options, withDead)
    this.#compiled.set(withDead, made)
    return made
  }

  #coefficient(step: number): number {
    const { sparsityCoefficient = 0, sparsityWarmupSteps = 0 } = this.#options
    return sparsityCoefficient * Math.min(1, sparsityWarmupSteps === 0 ? 1 : step / sparsityWarmupSteps)
  }
}

async function compile(backend: Backend, options: SaeStepOptions, withDead: boolean): Promise<CompiledStep> {
  const { config, loss, batchSize, optimizer = { kind: 'adam' }, clipNorm, thresholdRate } = options
  const {
    graph,
    trainable,
    stopAt,
    carried,
    loss: value,
  } = saeLoss({
    config,
    options: loss,
    batch: batchSize,
    withDead,
    ...(thresholdRate !== undefined && { thresholdRate }),
  })
  const step = trainingStep({
    graph,
    loss: value,
    trainable,
    optimizer,
    stopAt,
    carried,
    projections: projectionsOf(options),
    ...(clipNorm !== undefined && { clipNorm }),
  })
  const reported = graph.outputs.filter((output) => !Object.values(carried).includes(output))
  return {
    step,
    program: await backend.compile(step.graph, { workspace: 'kept' }),
    fetch: clipNorm === undefined ? reported : [...reported, gradientNorm],
  }
}

function projectionsOf({ config, decoderRows = 'unit' }: SaeStepOptions): Record<string, Projection> {
  const { parameter } = unitRows
  return {
    ...(decoderRows === 'unit' && { W_dec: unitRows }),
    ...(decoderRows === 'unit-without-projection' && parameter && { W_dec: { parameter } }),
    // Below zero a threshold would let negative pre-activations through.
    ...(config.architecture === 'jumprelu' && { threshold: clamped(0, HIGHEST) }),
  }
}

function withoutPrefix(tensors: Readonly<Record<string, Tensor>>, prefix: string): Record<string, Tensor> {
  const own = Object.entries(tensors).filter(([name]) => name.startsWith(prefix))
  return Object.fromEntries(own.map(([name, tensor]) => [name.slice(prefix.length), tensor]))
}
