/**
 * ONNX Runtime as a backend: a graph becomes an ONNX model in memory and a session; weights are fed by name at each run.
 *
 * The session is optimised at level `basic`: measured as fast as `all` on these graphs, quicker to make, and reading a value
 * never moves the others, because nothing is fused across a value that can be read (see docs/decisions).
 */

import { availableParallelism } from 'node:os'
import type * as Ort from 'onnxruntime-node'
import { EngineError } from '../../errors.js'
import type { Graph } from '../../graph/graph.js'
import { toOnnx } from '../../graph/to-onnx.js'
import { validate } from '../../graph/validate.js'
import type { Backend } from '../backend.js'
import { type Device, type ExecutionProvider, executionProviders, type FeedableWeights } from './execution-providers.js'
import { backendFailure } from './failures.js'
import { OnnxRuntimeProgram } from './program.js'

export interface OnnxRuntimeOptions {
  /** Default `cpu`. */
  readonly device?: string
  /** Threads that one operator is split over. Default: the machine's. */
  readonly intraOpThreads?: number
}

/** @throws DEVICE_UNAVAILABLE with what is available */
export async function createOnnxRuntimeBackend({
  device = 'cpu',
  intraOpThreads = availableParallelism(),
}: OnnxRuntimeOptions = {}): Promise<Backend> {
  const available = Object.keys(executionProviders)
  if (!Object.hasOwn(executionProviders, device)) {
    throw new EngineError('DEVICE_UNAVAILABLE', { device, why: 'the onnxruntime backend does not compute there', available })
  }
  const provider: ExecutionProvider = executionProviders[device as Device]
  // Loaded here and not above: it is a large native library, and a program may use another backend.
  const ort = await import('onnxruntime-node').catch((error: unknown) => {
    throw new EngineError('DEVICE_UNAVAILABLE', { device, why: `onnxruntime-node does not load (${String(error)})`, available: [] })
  })
  const uploaded = new WeakSet<object>()
  const isResident = (weights: unknown): weights is FeedableWeights => uploaded.has(weights as object)

  return {
    name: 'onnxruntime',
    device,
    async compile(graph) {
      const types = validate(graph)
      const model = toOnnx(graph, { types })
      const session = await ort.InferenceSession.create(model, sessionOptions(provider, intraOpThreads)).catch((error: unknown) => {
        throw backendFailure(error, `compiling "${graph.name}"`)
      })
      return new OnnxRuntimeProgram({ ort, graph, session, bytes: estimateBytes(graph, model.length), isResident })
    },
    async upload(weights) {
      const resident = provider.upload(ort, weights)
      uploaded.add(resident)
      return resident
    },
  }
}

function sessionOptions(provider: ExecutionProvider, intraOpThreads: number): Ort.InferenceSession.SessionOptions {
  return {
    executionProviders: [provider.options],
    graphOptimizationLevel: 'basic',
    executionMode: 'sequential',
    intraOpNumThreads: intraOpThreads,
    interOpNumThreads: 1,
    // Errors only: what it warns of is for authors of models.
    logSeverityLevel: 3,
  }
}

function estimateBytes(graph: Graph, modelBytes: number): number {
  return modelBytes + graph.nodes.length
}
