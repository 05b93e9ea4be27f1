/**
 * Runs training steps: holds the compiled step and the resident weights with the optimizer's state, and counts the updates. It knows
 * nothing of data, schedules or files.
 */

import type { Backend, Program, ResidentWeights, WriteBack } from '../backends/backend.js'
import { EngineError, invariant } from '../errors.js'
import type { ValueType } from '../graph/graph.js'
import { elementCount, type Tensor, zeros } from '../tensor.js'
import { requireFullPrecision } from './full-precision.js'
import { accumulatedStep, gradientNorm, type StepGraph, type StepOptions, trainingStep } from './training-step.js'

/** The inputs of one update, by name. */
export type Batch = Readonly<Record<string, Tensor>>

export interface StepperOptions extends StepOptions {
  readonly backend: Backend
  /** One for each parameter of the graph. */
  readonly weights: Readonly<Record<string, Tensor>>
  /** Parts that a batch is cut into, to hold less in memory at once. Default 1. */
  readonly nMicroBatches?: number
  /** Which outputs of the graph are returned. Default: all, and the loss. */
  readonly fetch?: readonly string[]
  /** Goes on from there: its weights are taken instead of `weights`. */
  readonly from?: Snapshot
}

/** Everything that an update changes. */
export interface Snapshot {
  readonly updates: number
  readonly parameters: Readonly<Record<string, Tensor>>
  readonly state: Readonly<Record<string, Tensor>>
}

export interface StepResult {
  /** Outputs with one element, by name, and `gradientNorm` where gradients are clipped; means over the micro-batches. */
  readonly numbers: Readonly<Record<string, number>>
  /** The other outputs, a record for each micro-batch. */
  readonly tensors: readonly Readonly<Record<string, Tensor>>[]
}

/** One compiled step, or two. */
interface Programs {
  readonly step: Program
  readonly update: StepGraph
  readonly accumulation?: { readonly program: Program; readonly first: WriteBack; readonly more: WriteBack }
}

export class Stepper {
  /** Parameters and optimizer state; other programs of the same backend may read them. */
  readonly weights: ResidentWeights
  readonly #options: StepperOptions
  readonly #programs: Programs
  #updates: number

  private constructor(options: StepperOptions, programs: Programs, weights: ResidentWeights) {
    this.#options = options
    this.#programs = programs
    this.weights = weights
    this.#updates = options.from?.updates ?? 0
  }

  /**
   * @throws VALUE_UNKNOWN, GRAPH_INVALID, OPERATOR_UNSUPPORTED; FEED_MISSING for weights that are not there; CHECKPOINT_MISMATCH for a snapshot
   *   of another graph or optimizer
   */
  static async create(options: StepperOptions): Promise<Stepper> {
    const { backend, graph, nMicroBatches = 1, from } = options
    requireFullPrecision(backend)
    const compile = (of: StepGraph['graph']) => backend.compile(of, { workspace: 'kept' })
    const accumulated = nMicroBatches > 1 ? accumulatedStep(options, nMicroBatches) : undefined
    const update = accumulated?.apply ?? trainingStep(options)
    const step = await compile(update.graph)
    const accumulation = accumulated && { ...accumulated.accumulate, program: await compile(accumulated.accumulate.graph) }
    if (from) checkSnapshot(from, { parameters: graph.parameters, state: update.state })
    const given = from?.parameters ?? options.weights
    const missing = Object.keys(graph.parameters).filter((name) => !Object.hasOwn(given, name))
    if (missing.length > 0) throw new EngineError('FEED_MISSING', { names: missing, graph: graph.name })
    const fresh = Object.entries({ ...update.state, ...accumulation?.state }).map(([name, { dtype, shape }]) => [
      name,
      zeros(dtype, shape as readonly number[]),
    ])
    const weights = await backend.upload({ ...Object.fromEntries(fresh), ...pick(given, Object.keys(graph.parameters)), ...from?.state })
    return new Stepper(options, { step, update, ...(accumulation && { accumulation }) }, weights)
  }

  /** How many updates these weights have had. */
  get updates(): number {
    return this.#updates
  }

  /** One update. A failure leaves weights and count as they were, unless a `carried` parameter of an earlier micro-batch was written. */
  async update(batch: Batch, learningRate: number): Promise<StepResult> {
    const { graph, loss, fetch = [...graph.outputs, loss], clipNorm } = this.#options
    const { step, update, accumulation } = this.#programs
    const scalars = update.inputs({ update: this.#updates + 1, learningRate })
    const weights = this.weights
    const norm = clipNorm === undefined ? [] : [gradientNorm]
    const results: Record<string, Tensor>[] = []
    if (accumulation === undefined) {
      const inputs = { ...batch, ...scalars }
      results.push(await step.run({ inputs, weights, fetch: [...new Set([...fetch, ...norm])], writeBack: update.writeBack }))
    } else {
      for (const [index, inputs] of this.#microBatches(batch).entries()) {
        const writeBack = index === 0 ? accumulation.first : accumulation.more
        results.push(await accumulation.program.run({ inputs, weights, fetch: [...new Set(fetch)], writeBack }))
      }
      Object.assign(results[0]!, await step.run({ inputs: scalars, weights, fetch: norm, writeBack: update.writeBack }))
    }
    this.#updates++
    return summary(results)
  }

  /** Copies of everything that an update changes, and of the parameters that it leaves alone. */
  async snapshot(): Promise<Snapshot> {
    const parameters = await this.weights.read(Object.keys(this.#options.graph.parameters))
    return { updates: this.#updates, parameters, state: await this.weights.read(Object.keys(this.#programs.update.state)) }
  }

  async dispose(): Promise<void> {
    await Promise.all([this.#programs.step.dispose(), this.#programs.accumulation?.program.dispose(), this.weights.dispose()])
  }

  /** Views of equal parts of the batch: inputs whose first length is a symbol are cut, others go to every part. */
  #microBatches(batch: Batch): Record<string, Tensor>[] {
    const { graph, nMicroBatches = 1 } = this.#options
    return Array.from({ length: nMicroBatches }, (_, part) =>
      Object.fromEntries(
        Object.entries(batch).map(([name, tensor]) => {
          const isCut = typeof graph.inputs[name]?.shape[0] === 'string'
          return [name, isCut ? partOf(tensor, { name, part, nParts: nMicroBatches }) : tensor]
        }),
      ),
    )
  }
}

/** The same names, each of the same type. */
function checkSnapshot(from: Snapshot, expected: { parameters: Types; state: Types }): void {
  const problems = [...mismatches('weight', from.parameters, expected.parameters), ...mismatches('state', from.state, expected.state)]
  if (problems.length > 0) throw new EngineError('CHECKPOINT_MISMATCH', { checkpoint: `of step ${from.updates}`, problems })
}

type Types = Readonly<Record<string, ValueType>>

function mismatches(what: string, given: Readonly<Record<string, Tensor>>, expected: Types): string[] {
  const names = [...new Set([...Object.keys(expected), ...Object.keys(given)])]
  return names.flatMap((name) => {
    const [here, there] = [expected[name], given[name]]
    if (!here) return [`it has the ${what} "${name}", which is not part of what is trained`]
    if (!there) return [`it lacks the ${what} "${name}"`]
    const [a, b] = [`${there.dtype} [${there.shape.join(', ')}]`, `${here.dtype} [${here.shape.join(', ')}]`]
    return a === b ? [] : [`the ${what} "${name}" is ${a} there and ${b} here`]
  })
}

function partOf(tensor: Tensor, { name, part, nParts }: { name: string; part: number; nParts: number }): Tensor {
  const [length = 0, ...rest] = tensor.shape
  if (length % nParts !== 0) {
    throw new EngineError('INPUT_INVALID', { path: name, problem: `a batch of ${length} is not ${nParts} equal micro-batches` })
  }
  const size = (length / nParts) * elementCount(rest)
  return { ...tensor, shape: [length / nParts, ...rest], data: tensor.data.subarray(part * size, (part + 1) * size) } as Tensor
}

function summary(results: readonly Record<string, Tensor>[]): StepResult {
  const isNumber = (tensor: Tensor) => tensor.data.length === 1 && tensor.shape.length === 0
  const sums: Record<string, { sum: number; count: number }> = {}
  for (const result of results) {
    for (const [name, tensor] of Object.entries(result).filter(([, tensor]) => isNumber(tensor))) {
      const { sum, count } = sums[name] ?? { sum: 0, count: 0 }
      sums[name] = { sum: sum + Number(tensor.data[0]), count: count + 1 }
    }
  }
  return {
    numbers: Object.fromEntries(Object.entries(sums).map(([name, { sum, count }]) => [name, sum / count])),
    tensors: results.map((result) => Object.fromEntries(Object.entries(result).filter(([, tensor]) => !isNumber(tensor)))),
  }
}

function pick<T>(from: Readonly<Record<string, T>>, names: readonly string[]): Record<string, T> {
  return Object.fromEntries(
    names.map((name) => {
      invariant(Object.hasOwn(from, name), `there is no "${name}"`)
      return [name, from[name]!]
    }),
  )
}
