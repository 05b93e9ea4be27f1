/**
 * The contract of a backend: something that compiles a graph and runs it.
 * A backend sees tensors and graphs only. It is not a queue, not a cache and not a policy: `host` decides what is compiled, kept and
 * evicted. Weights are uploaded once and then named at each run, so that on a device with its own memory they live there and are
 * shared by every program.
 */

import type { Graph } from '../graph/graph.js'
import type { Tensor } from '../tensor.js'

/** Weights where the backend keeps them (host memory, device memory), by parameter name. Opaque to everyone else. */
export interface ResidentWeights {
  readonly bytes: number
  readonly names: ReadonlySet<string>
  /** Frees the memory. Programs do not own weights; nothing may run with them afterwards. */
  dispose(): Promise<void>
}

export interface Program {
  /** An estimate of the memory that the compiled program itself holds, without weights. */
  readonly bytes: number
  /**
   * Runs once. `inputs` has every graph input; `weights` every parameter. Returns the tensors named in `fetch`, each of which must be
   * an output of the compiled graph. The returned data belongs to the caller.
   * @throws FEED_MISSING, SHAPE_MISMATCH
   */
  run(feeds: {
    inputs: Readonly<Record<string, Tensor>>
    weights: ResidentWeights
    fetch: readonly string[]
  }): Promise<Record<string, Tensor>>
  dispose(): Promise<void>
}

export interface Backend {
  /** `reference`, `onnxruntime`, ... */
  readonly name: string
  /** `cpu`, `cuda:0`, `webgpu`, ... */
  readonly device: string
  /** @throws OPERATOR_UNSUPPORTED, GRAPH_INVALID */
  compile(graph: Graph): Promise<Program>
  upload(weights: Readonly<Record<string, Tensor>>): Promise<ResidentWeights>
}
