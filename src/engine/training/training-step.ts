/**
 * A training step as a graph: forward, loss, gradients, clipping of their global norm, optimizer, and the new parameters and optimizer state
 * as outputs that are written back into the resident weights. Nothing of it leaves the device but the numbers that are reported.
 *
 * With micro-batches it is two graphs: one adds the gradients of a part of the batch to those of the parts before, the other applies their
 * mean. Either way the parameters after a step are the same, up to rounding.
 */

import type { WriteBack } from '../backends/backend.js'
import { EngineError } from '../errors.js'
import type { GraphBuilder } from '../graph/builder.js'
import { differentiate, gradientName } from '../graph/differentiate.js'
import type { Graph, ValueType } from '../graph/graph.js'
import { prune } from '../graph/prune.js'
import { readTransposed } from '../graph/read-transposed.js'
import { scalar, type Tensor } from '../tensor.js'
import { extend } from './extend-graph.js'
import { nextName, type Optimizer, parameterRules } from './optimizers.js'
import type { Projection } from './projections.js'

export interface StepOptions {
  /** Computes the loss; its other outputs are reported. */
  readonly graph: Graph
  /** A float32 scalar of the graph: a mean over the batch. */
  readonly loss: string
  /** The parameters that change. */
  readonly trainable: readonly string[]
  readonly optimizer: Optimizer
  /** Longest allowed norm of all gradients together (torch's `clip_grad_norm_`); the norm is reported as `gradientNorm`. */
  readonly clipNorm?: number
  /** By parameter. */
  readonly projections?: Readonly<Record<string, Projection>>
  /** Parameters that the graph itself makes anew at each step, without a gradient: running counts, thresholds. By parameter, the output. */
  readonly carried?: WriteBack
  /** Values of the graph that count as constants (PyTorch's `detach`). */
  readonly stopAt?: readonly string[]
}

export interface StepGraph {
  readonly graph: Graph
  readonly writeBack: WriteBack
  /** What must lie beside the parameters, 0 at first. */
  readonly state: Readonly<Record<string, ValueType>>
  /** What a run is fed besides the batch. @param update from 1 */
  inputs(setting: { readonly update: number; readonly learningRate: number }): Readonly<Record<string, Tensor>>
}

export interface AccumulatedStep {
  /** Run for each micro-batch, with `first` or `more`. */
  readonly accumulate: {
    readonly graph: Graph
    readonly state: Readonly<Record<string, ValueType>>
    readonly first: WriteBack
    readonly more: WriteBack
  }
  /** Run once after them, without a batch. */
  readonly apply: StepGraph
}

/** The norm of all gradients before clipping; an output where there is a `clipNorm`. */
export const gradientNorm = 'gradientNorm'

const shareInput = 'accumulated/share'
const accumulatedName = (name: string) => `grad/acc/${name}`
const sumName = (name: string) => `grad/sum/${name}`

/** @throws VALUE_UNKNOWN for a parameter that the graph does not have; GRAPH_INVALID for a loss that is no scalar float of it */
export function trainingStep(options: StepOptions): StepGraph {
  const { graph, loss, trainable, carried = {}, stopAt = [] } = options
  checkTrainable(graph, trainable)
  const withGradients = differentiate(readTransposed(graph), loss, trainable, { stopAt })
  const report = [...new Set([...graph.outputs, loss])]
  const gradients = new Map(trainable.map((name) => [name, gradientName(name)]))
  const update = appendUpdate({ ...withGradients, outputs: report }, gradients, options)
  return { ...update, writeBack: { ...update.writeBack, ...carried } }
}

/** The same step for a batch that comes in `nMicroBatches` equal parts. @throws what `trainingStep` throws */
export function accumulatedStep(options: StepOptions, nMicroBatches: number): AccumulatedStep {
  const { graph, loss, trainable, carried = {}, stopAt = [] } = options
  checkTrainable(graph, trainable)
  const report = [...new Set([...graph.outputs, loss])]
  const types = Object.fromEntries(trainable.map((name) => [name, graph.parameters[name]!]))
  const withGradients = differentiate(readTransposed(graph), loss, trainable, { stopAt })
  const accumulating = extend({ ...withGradients, outputs: report }, 'accumulate/', (b) =>
    trainable.flatMap((name) => {
      const before = b.parameter(accumulatedName(name), types[name]!.shape as readonly number[])
      return [gradientName(name), b.named(sumName(name), b.op('Add', [before, gradientName(name)]))]
    }),
  )
  const state = Object.fromEntries(trainable.map((name) => [accumulatedName(name), types[name]!]))
  const into = (output: (name: string) => string) => Object.fromEntries(trainable.map((name) => [accumulatedName(name), output(name)]))
  const empty: Graph = {
    name: `${graph.name} (update)`,
    inputs: {},
    parameters: { ...types, ...state },
    constants: {},
    nodes: [],
    outputs: [],
    hookPoints: [],
  }
  const gradients = new Map(trainable.map((name) => [name, accumulatedName(name)]))
  return {
    accumulate: {
      graph: prune(accumulating),
      state,
      first: { ...into(gradientName), ...carried },
      more: { ...into(sumName), ...carried },
    },
    apply: appendUpdate(empty, gradients, { ...options, nMicroBatches }),
  }
}

/** @param gradients  by parameter: a value of the graph */
function appendUpdate(
  graph: Graph,
  gradients: ReadonlyMap<string, string>,
  { trainable, optimizer, clipNorm, projections = {}, nMicroBatches = 1 }: StepOptions & { readonly nMicroBatches?: number },
): StepGraph {
  const types = Object.fromEntries(trainable.map((name) => [name, graph.parameters[name]!]))
  const rules = parameterRules(optimizer)
  const state: Record<string, ValueType> = {}
  const writeBack: Record<string, string> = {}
  const updated = extend(graph, 'update/', (b) => {
    const { factor, norm } = gradientFactor(b, [...gradients.values()], { clipNorm, isAccumulated: nMicroBatches > 1 })
    for (const [name, gradient] of gradients) {
      const projection = Object.hasOwn(projections, name) ? projections[name]! : {}
      const scaled = factor === undefined ? gradient : b.op('Mul', [gradient, factor])
      const projected = projection.gradient?.(b, { gradient: scaled, parameter: name }) ?? scaled
      const type = types[name]!
      const { rule, isDecayed } = rules.of(name, type)
      const next = rule.update(b, { name, type, gradient: projected, isDecayed })
      writeBack[name] = b.named(nextName(name), projection.parameter?.(b, next.parameter) ?? next.parameter)
      Object.assign(writeBack, next.state)
      for (const own of rule.stateNames(name)) state[own] = type
    }
    return [...(norm === undefined ? [] : [norm]), ...Object.values(writeBack)]
  })
  const complete = prune(updated)
  return {
    graph: complete,
    writeBack,
    state,
    inputs: (setting) => {
      const all: Record<string, Tensor> = { ...rules.inputs(setting), [shareInput]: scalar(1 / nMicroBatches) }
      return Object.fromEntries(Object.entries(all).filter(([name]) => Object.hasOwn(complete.inputs, name)))
    },
  }
}

/**
 * What every gradient is multiplied by: 1 / nMicroBatches, and less where the norm of the mean gradient is above `clipNorm`.
 * @returns no factor where it would be 1
 */
function gradientFactor(
  b: GraphBuilder,
  gradients: readonly string[],
  { clipNorm, isAccumulated }: { clipNorm: number | undefined; isAccumulated: boolean },
): { readonly factor?: string; readonly norm?: string } {
  const share = isAccumulated ? b.input(shareInput, 'float32', []) : undefined
  if (clipNorm === undefined) return share === undefined ? {} : { factor: share }
  const squares = gradients.map((gradient) => b.op('ReduceSumSquare', [gradient], { keepdims: 0 }))
  const length = b.op('Sqrt', [squares.reduce((sum, square) => b.op('Add', [sum, square]))])
  const norm = b.named(gradientNorm, share === undefined ? length : b.op('Mul', [length, share]))
  // torch adds 1e-6 and never lengthens
  const allowed = b.op('Div', [b.constant(scalar(clipNorm)), b.op('Add', [norm, b.constant(scalar(1e-6))])])
  const clip = b.op('Min', [allowed, b.constant(scalar(1))])
  return { factor: share === undefined ? clip : b.op('Mul', [clip, share]), norm }
}

function checkTrainable(graph: Graph, trainable: readonly string[]): void {
  const unknown = trainable.find((name) => !Object.hasOwn(graph.parameters, name))
  if (unknown === undefined) return
  throw new EngineError('VALUE_UNKNOWN', { value: unknown, graph: graph.name, known: Object.keys(graph.parameters) })
}
