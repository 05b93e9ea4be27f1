/**
 * ONNX Runtime as a backend: a graph becomes an ONNX model in memory and a session; weights are fed by name at each run.
 *
 * The session runs the graph as it is written (level `disabled`): our graphs are built of the operators that are fast, so nothing was
 * gained by letting it rewrite them, and reading a value can then never move another. See docs/decisions/0001-onnxruntime-session.md. What an
 * optimizer does to the weights at the end of a training step, this process computes itself (host-nodes.ts).
 *
 * A thread that uses it must not be terminated while a call is under way: the native code then fails to throw and ends the whole process.
 * Between calls it may be.
 */

import { availableParallelism } from 'node:os'
import type * as Ort from 'onnxruntime-node'
import { EngineError, invariant } from '../../errors.js'
import { hasGradients } from '../../graph/differentiate.js'
import type { Graph } from '../../graph/graph.js'
import { toOnnx } from '../../graph/to-onnx.js'
import { validate } from '../../graph/validate.js'
import { writeOutOwn } from '../../graph/write-out.js'
import type { Backend, CompileOptions, Precision } from '../backend.js'
import { BakedSessions } from './baked-sessions.js'
import { CombinedWeights } from './combined-weights.js'
import { DeviceMemory } from './device-memory.js'
import { DeviceMoves } from './device-moves.js'
import { DeviceWeights } from './device-weights.js'
import { type Device, type ExecutionProvider, executionProviders } from './execution-providers.js'
import type { FeedableWeights } from './feedable-weights.js'
import { divide } from './host-nodes.js'
import { HostWeights } from './host-weights.js'
import { OnnxRuntimeProgram } from './program.js'
import { FedSessions } from './sessions.js'

export interface OnnxRuntimeOptions {
  /** Default `cpu`. */
  readonly device?: string
  /** Threads that one operator is split over. Default: the machine's. */
  readonly intraOpThreads?: number
  /** How many bytes of weights a device with a memory of its own holds. Default: the device's (execution-providers.ts). */
  readonly deviceBytes?: number
  /** Default `float32`. */
  readonly precision?: Precision
}

export interface FoundProvider {
  readonly provider: ExecutionProvider
  /** Of the device, where there are several. */
  readonly index: number
}

/** @throws DEVICE_UNAVAILABLE with what is available */
export async function createOnnxRuntimeBackend({ device = 'cpu', ...options }: OnnxRuntimeOptions = {}): Promise<Backend> {
  const { provider, index } = findProvider(device, options.precision)
  return onProvider(provider, { ...options, device, index })
}

/** `webgpu`, `directml:1`. @throws DEVICE_UNAVAILABLE when it can be seen without loading anything that it will not do */
export function findProvider(device: string, precision: Precision = 'float32'): FoundProvider {
  const [name, index = '0'] = device.split(':', 2) as [string, string?]
  const refuse = (why: string, available = withoutMissing()) => new EngineError('DEVICE_UNAVAILABLE', { device, why, available })
  if (!Object.hasOwn(executionProviders, name)) throw refuse('the onnxruntime backend does not compute there')
  const provider: ExecutionProvider = executionProviders[name as Device]
  const missing = provider.missing?.()
  if (missing !== undefined) throw refuse(missing)
  if (!provider.precisions.includes(precision)) {
    const why = `it does not compute in ${precision} (REFRACT_PRECISION), only in ${provider.precisions.join(' and ')}`
    throw refuse(why, computingIn(precision))
  }
  return { provider, index: Number(index) }
}

/** @throws DEVICE_UNAVAILABLE when ONNX Runtime does not load */
export async function onProvider(
  provider: ExecutionProvider,
  {
    device,
    index = 0,
    intraOpThreads = availableParallelism(),
    deviceBytes = provider.deviceBytes ?? 0,
    precision = 'float32',
  }: OnnxRuntimeOptions & { device: string; index?: number },
): Promise<Backend> {
  // Loaded here and not above: it is a large native library, and a program may use another backend.
  const ort = await import('onnxruntime-node').catch((error: unknown) => {
    throw new EngineError('DEVICE_UNAVAILABLE', { device, why: `onnxruntime-node does not load (${String(error)})`, available: [] })
  })
  const uploaded = new WeakSet<object>()
  const isResident = (weights: unknown): weights is FeedableWeights => uploaded.has(weights as object)
  const executionProvider = provider.options(index)
  const keepsOnDevice = provider.memory === 'device'
  const memory = new DeviceMemory(device, deviceBytes)
  const moves = new DeviceMoves(ort, {
    options: sessionOptions(executionProvider, { intraOpThreads, workspace: 'freed', holdsWeights: false }),
    memory,
  })

  return {
    name: 'onnxruntime',
    device,
    precision,
    ...(provider.memory !== 'host' && { memory: () => memory.use }),
    async compile(graph, { workspace = 'freed' } = {}) {
      const options = sessionOptions(executionProvider, { intraOpThreads, workspace, holdsWeights: provider.memory === 'session' })
      const types = validate(graph)
      const { inSession, hostNodes } = keepsOnDevice ? { inSession: writeOutOwn(graph), hostNodes: [] } : divide(graph)
      const shared = { ort, graph, hostNodes, memory, keepsOnDevice, isResident }
      if (inSession === undefined) return new OnnxRuntimeProgram({ ...shared, bytes: estimateBytes(graph, 0) })
      const create = (makeModel: () => Uint8Array, own: Ort.InferenceSession.SessionOptions = options) =>
        memory.attempt(`compiling "${graph.name}"`, async () => ort.InferenceSession.create(makeModel(), own))
      // Gradients span more orders of magnitude than float16 has.
      const inHalf = precision === 'float16' && !hasGradients(graph)
      const described = { ...(inSession === graph && { types }), inHalf }
      const model = toOnnx(inSession, described)
      const fed = new FedSessions(inSession, (stays) => {
        const locations = inSession.outputs.map((output) => [output, stays.includes(output) ? 'gpu-buffer' : 'cpu'] as const)
        return create(() => model, stays.length > 0 ? { ...options, preferredOutputLocation: Object.fromEntries(locations) } : options)
      })
      await fed.get({ stays: [] }) // what it does not have is refused now
      const sessions =
        provider.memory === 'session'
          ? new BakedSessions(inSession, {
              fed,
              memory,
              create: (initializers) => create(() => toOnnx(inSession, { ...described, initializers })),
            })
          : fed
      return new OnnxRuntimeProgram({ ...shared, part: { sessions, graph: inSession }, bytes: estimateBytes(graph, model.length) })
    },
    async upload(weights) {
      const resident = keepsOnDevice ? new DeviceWeights(weights, { ort, moves, memory }) : new HostWeights(ort, weights)
      uploaded.add(resident)
      return resident
    },
    combine(parts) {
      const own = parts.map(({ prefix, weights }) => {
        invariant(isResident(weights), 'weights are combined where they were not uploaded to')
        return { prefix, weights }
      })
      const combined = new CombinedWeights(own)
      uploaded.add(combined)
      return combined
    },
  }
}

const providers: readonly (readonly [string, ExecutionProvider])[] = Object.entries(executionProviders)

function withoutMissing(): string[] {
  return providers.filter(([, { missing }]) => missing?.() === undefined).map(([name]) => name)
}

function computingIn(precision: Precision): string[] {
  return withoutMissing().filter((name) => executionProviders[name as Device].precisions.some((each) => each === precision))
}

function sessionOptions(
  provider: Ort.InferenceSession.ExecutionProviderConfig,
  {
    intraOpThreads,
    workspace,
    holdsWeights,
  }: { intraOpThreads: number; workspace: NonNullable<CompileOptions['workspace']>; holdsWeights: boolean },
): Ort.InferenceSession.SessionOptions {
  return {
    executionProviders: [provider],
    graphOptimizationLevel: 'disabled',
    executionMode: 'sequential',
    intraOpNumThreads: intraOpThreads,
    interOpNumThreads: 1,
    // An arena keeps the memory of the largest run for as long as the program lives; within it, one planned block would only be larger.
    enableCpuMemArena: workspace === 'kept',
    enableMemPattern: workspace === 'freed',
    // Threads wait for one another awake, but only for as long as the next operator may take to come: by default it is some 20 ms, on
    // the cores that serve everything else.
    extra: {
      session: {
        intra_op: { allow_spinning: '1', spin_duration_us: '200' },
        // A device's arena grows by powers of two: weights in a session lie beside it, to their size.
        use_device_allocator_for_initializers: holdsWeights ? '1' : '0',
      },
    },
    // Nothing to stderr: what goes wrong is thrown.
    logSeverityLevel: 4,
  }
}

/**
 * A session without an arena holds its graph and kernels; what a run computes is freed when it ends. Measured with ViT-B/32 (470 to 645
 * nodes): 2.5 to 3.5 MB a session.
 */
function estimateBytes(graph: Graph, modelBytes: number): number {
  return 2 ** 20 + 4096 * graph.nodes.length + modelBytes
}
