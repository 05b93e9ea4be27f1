/**
 * The contract of a backend: something that compiles a graph and runs it.
 * A backend sees tensors and graphs only. It is not a queue, not a cache and not a policy: `host` decides what is compiled, kept and
 * evicted. Weights are uploaded once and then named at each run, so that on a device with its own memory they live there and are
 * shared by every program.
 */

import { invariant } from '../errors.js'
import type { Graph } from '../graph/graph.js'
import type { Tensor } from '../tensor.js'

/** Weights where the backend keeps them (host memory, device memory), by parameter name. Opaque to everyone else. */
export interface ResidentWeights {
  readonly bytes: number
  readonly names: ReadonlySet<string>
  /** Copies of what these weights are now: uploaded, or written back by the last run that did. @throws VALUE_UNKNOWN */
  read(names: readonly string[]): Promise<Record<string, Tensor>>
  /** Frees the memory. Programs do not own weights; nothing may run with them afterwards. */
  dispose(): Promise<void>
}

/** Weights under other names: each name of `weights` with `prefix` before it. */
export interface WeightPart {
  readonly prefix: string
  readonly weights: ResidentWeights
}

/** Weight name -> the output whose value it takes. */
export type WriteBack = Readonly<Record<string, string>>

/**
 * What a backend computes in. `tf32`: float32 whose products have factors of 10 bits, on NVIDIA's tensor cores. `float16`: products with weights in
 * float16, the rest in float32. Feeds and results are float32 in all of these. `float64`: everything is.
 */
export type Precision = 'float64' | 'float32' | 'tf32' | 'float16'

export interface CompileOptions {
  /**
   * What becomes of the memory of inner values when a run ends. `freed`: nothing is held between runs, for programs that rest. `kept`:
   * the next run uses it again, for the same shapes over and over, as in training. Default `freed`.
   */
  readonly workspace?: 'freed' | 'kept'
}

export interface Program {
  /** An estimate of the memory that the compiled program itself holds, without weights. */
  readonly bytes: number
  /**
   * Runs once. `inputs` has every graph input; `weights` every parameter. Returns the tensors named in `fetch`, each of which must be
   * an output of the compiled graph. The returned data belongs to the caller.
   *
   * `writeBack` says which weights take the values of which outputs when the run is done: those that the program reads and others,
   * each of its weight's dtype and shape, all of them at once. They stay where weights are kept, every program that shares the weights
   * reads them from its next run on, and arrays that were uploaded are not written to. A run that fails leaves every weight as it was.
   * Runs that write to the same weights follow one another; the caller sees to that.
   *
   * @throws FEED_MISSING, SHAPE_MISMATCH, VALUE_UNKNOWN
   */
  run(feeds: {
    inputs: Readonly<Record<string, Tensor>>
    weights: ResidentWeights
    fetch: readonly string[]
    writeBack?: WriteBack
  }): Promise<Record<string, Tensor>>
  dispose(): Promise<void>
}

/** What weights take of a device's own memory. */
export interface DeviceMemoryUse {
  readonly budgetBytes: number
  readonly usedBytes: number
  /** How often weights, or sessions that hold them, had to leave for others, since the start. */
  readonly nPagedOut: number
}

export interface Backend {
  /** `reference`, `onnxruntime`, ... */
  readonly name: string
  /** `cpu`, `cuda:0`, `webgpu`, ... */
  readonly device: string
  readonly precision: Precision
  /** Absent where weights are in the memory of this process. */
  readonly memory?: () => DeviceMemoryUse
  /** @throws OPERATOR_UNSUPPORTED, GRAPH_INVALID */
  compile(graph: Graph, options?: CompileOptions): Promise<Program>
  upload(weights: Readonly<Record<string, Tensor>>): Promise<ResidentWeights>
  /**
   * Several uploads as one, such as a model's and those of an SAE in its graph. Nothing is copied: the parts are what is read and written,
   * and whoever has them disposes of them.
   */
  combine(parts: readonly WeightPart[]): ResidentWeights
}

/** The names of weights that are combined. @throws Error when two would have the same name: whoever combines chooses the prefixes */
export function combinedNames(parts: readonly WeightPart[]): ReadonlyMap<string, { readonly part: WeightPart; readonly name: string }> {
  const names = new Map<string, { part: WeightPart; name: string }>()
  for (const part of parts) {
    for (const name of part.weights.names) {
      const combined = part.prefix + name
      invariant(!names.has(combined), `two weights are called "${combined}"`)
      names.set(combined, { part, name })
    }
  }
  return names
}
