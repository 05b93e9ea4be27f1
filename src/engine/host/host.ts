/**
 * What the rest of the server sees of the engine: load models, run them, prepare pictures, all off the calling thread. The worker that
 * owns the device, the queue, batching and the memory budget are behind this (see engine-host.ts).
 */

import type { AnalysisInput, AnalysisName, AnalysisOutput } from '../analyses/analyses.js'
import type { DeviceMemoryUse } from '../backends/backend.js'
import type { ImageInfo } from '../image/decode.js'
import type { Drawing } from '../image/draw.js'
import type { Preprocessing } from '../image/preprocessing.js'
import type { Edit } from '../interventions/edit.js'
import type { ModelDescription, TowerName, WeightProcessing } from '../models/model.js'
import type { SaeDescription, SaeOverrides } from '../saes/load-sae.js'
import type { CodeCounts } from '../saes/read-codes.js'
import type { Tensor } from '../tensor.js'

/** A model on disk. `key` is its identity in memory (the catalog's slug plus the weights' sha256). */
export interface ModelSource {
  readonly key: string
  /** Absolute path of the folder that holds configuration, weights and tokenizer. */
  readonly folder: string
  readonly processing: readonly WeightProcessing[]
}

/** An SAE on disk. `key` is its identity in memory (the catalog's id plus the weights' sha256). */
export interface SaeSource {
  readonly key: string
  readonly folder: string
  readonly overrides: SaeOverrides
}

/** One SAE reading a run, and what is wanted of its codes. */
export interface SaeRead extends CodeCounts {
  readonly sae: SaeSource
  /** Along the second axis of its hook point; absent: all of them. */
  readonly positions?: readonly number[]
  /** Latents whose activations are wanted of every position, whether they are among the most active or not. */
  readonly latents?: readonly number[]
}

export type RunInputs =
  /** What `preprocess` returns, [channel, height, width] each: not copied on the calling thread, so the better way for many. */
  | { readonly kind: 'pictures'; readonly pictures: readonly Tensor<'float32'>[] }
  | { readonly kind: 'pixels' /** [batch, channel, height, width], preprocessed */; readonly pixels: Tensor<'float32'> }
  | { readonly kind: 'text'; readonly texts: readonly string[] }

export interface RunRequest {
  readonly model: ModelSource
  readonly inputs: RunInputs
  /** Exact hook-point names. Reading an edited hook point returns the edited value. */
  readonly read: readonly string[]
  readonly edits: readonly Edit[]
  /** What edits of features name by its place. */
  readonly editSaes?: readonly SaeSource[]
}

export interface RunResult {
  /** The tower's output: logits, embeddings or features. */
  readonly output: Tensor<'float32'>
  /** By hook-point name, in the order of the request. */
  readonly activations: Readonly<Record<string, Tensor<'float32'>>>
  readonly timings: RunTimings
}

/** A run of the model up to the last hook point that an SAE reads, and the codes of all of them. */
export interface CodesRequest {
  readonly model: ModelSource
  readonly inputs: RunInputs
  readonly edits: readonly Edit[]
  readonly editSaes?: readonly SaeSource[]
  /** Each SAE once. */
  readonly saes: readonly SaeRead[]
}

/**
 * The most active latents, the most active first; an activation of 0 stands for none. `k` is what was asked for, or how many can be active
 * at all.
 */
export interface Codes {
  /** `[batch, pos, k]`, positions as selected. Absent where none were asked for. */
  readonly tokens?: { readonly activations: Tensor<'float32'>; readonly latents: Tensor<'int32'> }
  /** `[batch, k]`, by the largest activation over the selected positions; `tokens` counts along these. */
  readonly images?: { readonly activations: Tensor<'float32'>; readonly latents: Tensor<'int32'>; readonly tokens: Tensor<'int32'> }
  /** `[batch, pos, n]` of the `latents` that were named, in their order; 0 where one is not active. */
  readonly chosen?: Tensor<'float32'>
}

export interface DecoderCosinesRequest {
  readonly model: ModelSource
  readonly sae: SaeSource
  /** Unit vectors, `[n, dEmbed]`. The answer is `[dSae, n]`. */
  readonly embeddings: Tensor<'float32'>
}

/** A question about a model (engine/analyses). */
export interface AnalysisRequest<Name extends AnalysisName> {
  readonly model: ModelSource
  /** Those that it works with, in the order in which it counts them. */
  readonly saes?: readonly SaeSource[]
  readonly input: AnalysisInput<Name>
}

/** What of a model is taken elsewhere: its graph with edits, what is read of it, and the SAEs that read it. */
export interface ExportRequest {
  readonly model: ModelSource
  readonly tower: TowerName
  /** Whether the tower's output is among the outputs. */
  readonly output: boolean
  readonly read: readonly string[]
  readonly edits: readonly Edit[]
  readonly editSaes?: readonly SaeSource[]
  readonly saes: readonly SaeRead[]
  /** How many inputs a batch has at least: an edit may take the value of another one. */
  readonly nRows: number
  /** See ExportCall. */
  readonly weights: boolean
  readonly operands: 'values' | 'inputs'
  readonly metadata: Readonly<Record<string, string>>
  readonly producerVersion: string
}

/** An ONNX file that is made while it is read: weights come from memory when their turn comes, and models are brought back for them. */
export interface ExportedGraph {
  readonly byteLength: number
  readonly chunks: AsyncIterable<Uint8Array>
}

export interface CodesResult {
  /** In the order of the request. */
  readonly codes: readonly Codes[]
  readonly timings: RunTimings
}

/** Milliseconds. `compile` is 0 for a known structure; `load` is 0 when the weights were in memory. */
export interface RunTimings {
  readonly queue: number
  readonly load: number
  readonly compile: number
  readonly run: number
}

export interface LoadedWeights {
  readonly key: string
  readonly bytes: number
  readonly inUse: boolean
}

/** Of one device. */
export interface DeviceStatus {
  /** `unhealthy`: the worker died again and again, and is left alone for a while. */
  readonly state: 'starting' | 'ready' | 'restarting' | 'unhealthy' | 'closed'
  readonly backend: string
  readonly device: string
  readonly queueLength: number
  readonly queueLimit: number
  readonly restarts: number
  /** Used by its weights, programs and runs. */
  readonly memory: { readonly budgetBytes: number; readonly usedBytes: number }
  /** Of an accelerator's own memory, what its weights take, as of its last answer; absent where they are in the server's. */
  readonly deviceMemory?: DeviceMemoryUse
  readonly models: readonly LoadedWeights[]
  readonly saes: readonly LoadedWeights[]
  readonly programs: { readonly count: number; readonly bytes: number; readonly compiled: number; readonly hits: number }
  /** Since the start: runs of the device, the requests they served and the inputs in those. */
  readonly runs: { readonly count: number; readonly requests: number; readonly rows: number }
}

/** Of all devices together; `ready` when one of them is. Names are joined, numbers added, weights that several hold are listed once. */
export interface HostStatus extends Omit<DeviceStatus, 'deviceMemory'> {
  readonly devices: readonly DeviceStatus[]
  /** What `auto` would have taken rather, and why it did not. */
  readonly passedOver: readonly { readonly device: string; readonly why: string }[]
  /** With prepared pictures and activation caches. */
  readonly memory: {
    readonly budgetBytes: number
    readonly usedBytes: number
    /** `run` is the results and the working memory of the runs in flight. */
    readonly byKind: Readonly<Record<'model' | 'sae' | 'program' | 'run' | 'cache' | 'picture', number>>
  }
  /** Prepared pictures in memory; `waiting` ones have not been begun. */
  readonly pictures: { readonly count: number; readonly hits: number; readonly misses: number; readonly waiting: number }
  /** Kept activations. */
  readonly caches: { readonly count: number }
}

/** A picture before it is prepared. */
export interface PictureFile {
  /** Its content hash: what prepared pictures are kept by. */
  readonly id: string
  /** The file; asked for only when the prepared picture is not at hand. */
  read(): Uint8Array | Promise<Uint8Array>
}

export interface EngineHost {
  /** Reads configuration, weight names and shapes; checks that they fit. Loads no weights to stay. @throws any model-file error */
  inspect(source: ModelSource, signal?: AbortSignal): Promise<ModelDescription>
  /** Brings a model's weights into memory (evicting what is idle). Runs do it themselves; this is for warming up. */
  load(source: ModelSource, signal?: AbortSignal): Promise<void>
  /** Drops a model from memory, once nothing uses it. */
  unload(key: string): Promise<void>
  /** @throws QUEUE_FULL, MEMORY_EXCEEDED, WORKER_DIED, ENGINE_UNHEALTHY, CANCELLED, and every error of reading and editing */
  run(request: RunRequest, signal?: AbortSignal): Promise<RunResult>
  /** Runs inputs for the codes of SAEs. @throws as `run`, and SAE_MISFIT */
  codes(request: CodesRequest, signal?: AbortSignal): Promise<CodesResult>
  /** Asks one of the analyses, which takes its turn as a run does. @throws as `run`, and whatever the analysis refuses */
  analyse<Name extends AnalysisName>(name: Name, request: AnalysisRequest<Name>, signal?: AbortSignal): Promise<AnalysisOutput<Name>>
  /** @throws MODEL_UNSUPPORTED beyond what one file holds; SAE_MISFIT; as `run`, while the chunks are read, too */
  exportGraph(request: ExportRequest, signal?: AbortSignal): Promise<ExportedGraph>
  /** Rows of an SAE's decoder, `[latents, dOut]`. @throws INPUT_INVALID of a latent that it does not have; as `run` */
  decoderRows(request: { readonly sae: SaeSource; readonly latents: readonly number[] }, signal?: AbortSignal): Promise<Tensor<'float32'>>
  /**
   * What each row of an SAE's decoder has to do with embeddings: the cosine of the row, projected as the model's answer is (`decoder-graphs.ts`),
   * with each of them. @throws SAE_MISFIT when the rows do not reach the answer; as `run`
   */
  decoderCosines(request: DecoderCosinesRequest, signal?: AbortSignal): Promise<Tensor<'float32'>>
  /** Reads an SAE's configuration and the headers of its weights. @throws every error of SAE files */
  inspectSae(source: SaeSource, signal?: AbortSignal): Promise<SaeDescription>
  /** Drops an SAE from memory, once nothing uses it. */
  unloadSae(key: string): Promise<void>
  /** Decodes, resizes, crops and normalises one picture: [channel, height, width]. @throws IMAGE_INVALID, IMAGE_TOO_LARGE */
  preprocess(image: PictureFile, how: Preprocessing, signal?: AbortSignal): Promise<Tensor<'float32'>>
  /** Decodes a picture to its end and says what it is, off the calling thread. @throws IMAGE_INVALID, IMAGE_TOO_LARGE */
  inspectImage(bytes: Uint8Array, signal?: AbortSignal): Promise<ImageInfo>
  /** Draws a heatmap, a sheet or a thumbnail, off the calling thread. @throws what `draw` of image/draw.ts throws */
  draw(drawing: Drawing, signal?: AbortSignal): Promise<Uint8Array>
  /** Keeps a run's activations for a while under the memory budget, least recently used out first. Returns the cache's
   * id; a cache that does not fit beside what is in use counts as evicted at once. */
  keep(activations: Readonly<Record<string, Tensor<'float32'>>>, about: CacheInfo): string
  /** Undefined when it was evicted or never was. */
  cached(id: string): { readonly activations: Readonly<Record<string, Tensor<'float32'>>>; readonly about: CacheInfo } | undefined
  status(): HostStatus
  close(): Promise<void>
}

export interface CacheInfo {
  readonly modelId: string
  readonly tower: TowerName
}
