/**
 * What the engine's worker answers, and the structured-cloneable data that crosses. The caller decides what is loaded, compiled, kept and
 * dropped, and in which order; the worker keeps what it is told to and computes.
 */

import type { AnalysisInput, AnalysisName, AnalysisOutput } from '../analyses/analyses.js'
import type { Precision } from '../backends/backend.js'
import type { OnnxFile } from '../graph/to-onnx.js'
import type { Edit } from '../interventions/edit.js'
import type { ModelDescription, TowerName } from '../models/model.js'
import type { SaeDescription } from '../saes/load-sae.js'
import type { Tensor } from '../tensor.js'
import type { RowSize } from './analysis-bytes.js'
import type { Codes, ModelSource, RunInputs, SaeRead, SaeSource } from './host.js'
import type { toWire } from './remote.js'

export interface EngineOptions {
  /** `auto`, `cpu`, `cuda:1`, ... as in choose-backend.ts; a host says which. */
  readonly device: string
  readonly intraOpThreads: number
  /** Default `float32`. */
  readonly precision?: Precision
  /** How much of an accelerator's memory weights may take. 0, as by default: as the backend has it. */
  readonly deviceBytes?: number
}

export interface EngineInfo {
  readonly backend: string
  readonly device: string
}

/** What determines a structure: a run without its pixels and texts. */
export interface Structure {
  /** The structure's key (structure-key.ts). */
  readonly key: string
  /** A loaded model's key. */
  readonly model: string
  readonly tower: TowerName
  readonly read: readonly string[]
  readonly edits: readonly Edit[]
  /** What edits of features name by its place. */
  readonly editSaes: readonly SaeSource[]
  /** Whether the tower's output is computed. */
  readonly output: boolean
  readonly saes: readonly SaeRead[]
  /** Rows of this request, for edits that refer to other inputs. */
  readonly nRows: number
}

/** All that a structure needs, in the order in which its graph knows their parameters (`saePrefix`): those that read, then those of edits. */
export const saesOf = ({ saes, editSaes }: Pick<Structure, 'saes' | 'editSaes'>): readonly SaeSource[] => [
  ...saes.map(({ sae }) => sae),
  ...editSaes,
]

export interface Plan {
  /** Identity of the compiled program: the graph's structural hash. Structures of different models can share one. */
  readonly program: string
  /** What the compiled program is expected to hold, until `compile` has told. */
  readonly estimatedBytes: number
  /** Of one input: the tensors handed back, and the values alive at once on the way. */
  readonly outputBytesPerRow: number
  readonly workingBytesPerRow: number
  /** All inputs of a request count for each other: it runs alone and whole. */
  readonly couplesRows: boolean
  /** An input reads another of its request: it runs whole, in one batch. */
  readonly needsWholeRequest: boolean
}

export interface BatchMember {
  readonly inputs: RunInputs
  readonly edits: readonly Edit[]
}

/** Requests of one structure, to be run together. */
export interface Batch {
  readonly model: string
  readonly structure: string
  /** More rows than this run one part after another, unless the structure needs requests whole. */
  readonly maxRows: number
  readonly members: readonly BatchMember[]
  /** Of every member: requests that read other positions do not share a run. */
  readonly saes: readonly SaeRead[]
}

export type Outcome =
  | {
      /** Absent where the structure has none. */
      readonly output?: Tensor<'float32'>
      /** In the order of the structure's `read`. */
      readonly activations: readonly Tensor<'float32'>[]
      /** In the order of the structure's `saes`. */
      readonly codes: readonly Codes[]
    }
  | { readonly error: ReturnType<typeof toWire> }

export interface BatchResult {
  /** One for each member, in order. */
  readonly outcomes: readonly Outcome[]
  readonly runMs: number
}

/** A question about a model and SAEs that are loaded. */
export interface AnalysisCall<Name extends AnalysisName = AnalysisName> {
  readonly name: Name
  readonly model: string
  readonly saes: readonly string[]
  readonly input: AnalysisInput<Name>
}

/** A structure's graph as a file, of a model and SAEs that are loaded. */
export interface ExportCall {
  readonly structure: Structure
  /** Whether the file has the weights in it, or takes them as inputs. */
  readonly weights: boolean
  /** Whether the numbers of the edits are in the file, or it takes them as inputs. */
  readonly operands: 'values' | 'inputs'
  /** Beside the graph. */
  readonly metadata: Readonly<Record<string, string>>
  readonly producerVersion: string
}

/** Weights by the names by which the graph of a structure knows them. */
export interface WeightsCall {
  readonly model: string
  readonly tower: TowerName
  /** Of the structure, in order. */
  readonly saes: readonly string[]
  readonly names: readonly string[]
}

export interface EngineWorker {
  /** The first call. @throws DEVICE_UNAVAILABLE */
  start(options: EngineOptions): Promise<EngineInfo>
  inspect(source: ModelSource): Promise<ModelDescription>
  /** What it takes in memory, and what a run of its vision tower does for each input. @throws every error of model files */
  load(source: ModelSource): Promise<{ readonly bytes: number; readonly row: RowSize }>
  unload(model: string): Promise<void>
  inspectSae(source: SaeSource): Promise<SaeDescription>
  /** @throws every error of SAE files */
  loadSae(source: SaeSource): Promise<{ readonly bytes: number }>
  unloadSae(sae: string): Promise<void>
  /** Checks a structure, whose model and SAEs are loaded, and builds its graph. @throws SAE_MISFIT, and every error of reading and editing */
  plan(structure: Structure): Promise<Plan>
  /** Compiles a planned program. */
  compile(program: string): Promise<{ readonly bytes: number }>
  drop(program: string): Promise<void>
  /** A member that cannot be run has an error in its place; the others are run. */
  run(batch: Batch): Promise<BatchResult>
  /** @param signal  aborts when nobody waits for the answer any more @throws CANCELLED then, soon */
  analyse<Name extends AnalysisName>(call: AnalysisCall<Name>, signal?: AbortSignal): Promise<AnalysisOutput<Name>>
  /** Without its weights, whose places it names. @throws what `plan` throws, and MODEL_UNSUPPORTED beyond what one file holds */
  exportGraph(call: ExportCall): Promise<OnnxFile>
  /** Copies, in order. @throws VALUE_UNKNOWN */
  readWeights(call: WeightsCall): Promise<readonly Tensor[]>
  /** Rows of the decoder of an SAE that is loaded, `[latents, dOut]`. @throws INPUT_INVALID */
  decoderRows(sae: string, latents: readonly number[]): Promise<Tensor<'float32'>>
  /** Cosines of each row of an SAE's decoder, projected as a model's answer is, with unit vectors `[n, dEmbed]`: `[dSae, n]`. */
  decoderCosines(loaded: { readonly model: string; readonly sae: string }, embeddings: Tensor<'float32'>): Promise<Tensor<'float32'>>
}
