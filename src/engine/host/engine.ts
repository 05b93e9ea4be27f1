/**
 * The engine proper: models, programs and runs on one backend. No thread, no queue, no budget: it is told what to load and to drop, and
 * can be used as it is in tests and scripts.
 */

import { type AnalysisName, type AnalysisOutput, analyses } from '../analyses/analyses.js'
import type { Analysis } from '../analyses/analysis.js'
import { ProgramShelf } from '../analyses/program-shelf.js'
import { openWorkbench } from '../analyses/workbench.js'
import type { Backend, Program, ResidentWeights } from '../backends/backend.js'
import { deviceFailure } from '../backends/device-failures.js'
import { EngineError, invariant } from '../errors.js'
import type { Graph } from '../graph/graph.js'
import type { OnnxFile } from '../graph/to-onnx.js'
import { type BuildTower, builtTowers } from '../interventions/built-towers.js'
import { describeModel, type LoadedTower, loadModel } from '../models/load.js'
import type { ModelDescription, TowerDescription, TowerName, VisionConfig } from '../models/model.js'
import type { ClipTokenizer } from '../models/tokenizer.js'
import { saePrefix } from '../saes/attach-saes.js'
import { describeSae, loadSae, type SaeDescription } from '../saes/load-sae.js'
import type { Tensor } from '../tensor.js'
import type { RowSize } from './analysis-bytes.js'
import { DecoderReader, type ReadableSae } from './decoder-reader.js'
import {
  type AnalysisCall,
  type Batch,
  type BatchResult,
  type EngineWorker,
  type ExportCall,
  type Plan,
  type Structure,
  saesOf,
  type WeightsCall,
} from './engine-worker-calls.js'
import { exportGraph } from './export-graph.js'
import { footprint, rowSize } from './footprint.js'
import type { ModelSource, SaeSource } from './host.js'
import { type PlannedGraph, type PlannedStructure, planStructure } from './planned-structure.js'
import { toWire } from './remote.js'
import { runShares, type Share, shareOf } from './run-shares.js'

/** Where models and SAEs come from; tests have their own. */
export interface ModelReader {
  readonly describeModel: typeof describeModel
  readonly loadModel: typeof loadModel
  readonly describeSae: typeof describeSae
  readonly loadSae: typeof loadSae
}

interface ResidentTower {
  readonly config: TowerDescription['config']
  readonly builtWith: BuildTower
  readonly weights: ResidentWeights
}

interface ResidentModel {
  readonly description: ModelDescription
  readonly towers: { readonly [name in TowerName]?: ResidentTower }
  readonly tokenizer: ClipTokenizer | undefined
  readonly structures: Map<string, PlannedStructure>
  /** Of analyses. */
  readonly shelf: ProgramShelf
}

/** What a compiled program is expected to hold before it says so itself: measured on ONNX Runtime's CPU sessions. */
const expectedBytes = ({ nodes }: Graph) => 2 ** 20 + 4500 * nodes.length

/** The graph goes when it has been compiled. */
interface PlannedProgram {
  graph: Graph | undefined
  compiled: Promise<Program> | undefined
}

export class Engine implements Omit<EngineWorker, 'start'> {
  readonly #backend: Backend
  readonly #reader: ModelReader
  readonly #models = new Map<string, ResidentModel>()
  readonly #saes = new Map<string, ReadableSae>()
  readonly #decoders: DecoderReader
  readonly #programs = new Map<string, PlannedProgram>()

  constructor(backend: Backend, reader: ModelReader = { describeModel, loadModel, describeSae, loadSae }) {
    this.#backend = backend
    this.#reader = reader
    this.#decoders = new DecoderReader(backend)
  }

  inspect({ folder, processing }: ModelSource): Promise<ModelDescription> {
    return this.#reader.describeModel(folder, { processing })
  }

  async load({ key, folder, processing }: ModelSource): Promise<{ bytes: number; row: RowSize }> {
    invariant(!this.#models.has(key), `model "${key}" is loaded already`)
    const { description, towers, tokenizer } = await this.#reader.loadModel(folder, { processing })
    const vision = await this.#upload(description.vision, towers.vision)
    const text = description.text && towers.text && (await this.#upload(description.text, towers.text))
    const shelf = new ProgramShelf(this.#backend)
    this.#models.set(key, { description, towers: { vision, ...(text && { text }) }, tokenizer, structures: new Map(), shelf })
    const { graph, types } = vision.builtWith(new Set())
    const row = rowSize(graph, types, description.vision.config as VisionConfig)
    return { bytes: vision.weights.bytes + (text?.weights.bytes ?? 0), row }
  }

  async unload(key: string): Promise<void> {
    const model = this.#models.get(key)
    this.#models.delete(key)
    for (const { lengths } of this.#saes.values()) lengths.delete(key)
    await model?.shelf.dispose()
    for (const tower of Object.values(model?.towers ?? {})) await tower.weights.dispose()
  }

  inspectSae({ folder, overrides }: SaeSource): Promise<SaeDescription> {
    return this.#reader.describeSae(folder, { overrides })
  }

  async loadSae({ key, folder, overrides }: SaeSource): Promise<{ bytes: number }> {
    invariant(!this.#saes.has(key), `SAE "${key}" is loaded already`)
    const { description, weights } = await this.#reader.loadSae(folder, { overrides })
    const uploaded = await this.#backend.upload(weights)
    this.#saes.set(key, { config: description.config, weights: uploaded, lengths: new Map() })
    return { bytes: uploaded.bytes }
  }

  async unloadSae(key: string): Promise<void> {
    const sae = this.#saes.get(key)
    this.#saes.delete(key)
    await sae?.weights.dispose()
  }

  async plan(structure: Structure): Promise<Plan> {
    const { planned, graph, types, lengths } = this.#planned(structure)
    this.#model(structure.model).structures.set(structure.key, planned)
    if (!this.#programs.has(planned.program)) this.#programs.set(planned.program, { graph, compiled: undefined })
    const { program, couplesRows, needsWholeRequest } = planned
    return { program, couplesRows, needsWholeRequest, estimatedBytes: expectedBytes(graph), ...footprint(graph, types, lengths) }
  }

  async compile(program: string): Promise<{ bytes: number }> {
    const planned = this.#programs.get(program)
    invariant(planned !== undefined, `program ${program} has been planned`)
    planned.compiled ??= this.#backend.compile(planned.graph!)
    planned.graph = undefined
    return { bytes: (await planned.compiled).bytes }
  }

  async drop(program: string): Promise<void> {
    const dropped = this.#programs.get(program)
    this.#programs.delete(program)
    for (const { structures } of this.#models.values()) {
      for (const [key, planned] of structures) if (planned.program === program) structures.delete(key)
    }
    const compiled = await dropped?.compiled?.catch(() => undefined)
    await compiled?.dispose()
  }

  async run({ model: key, structure, maxRows, members, saes }: Batch): Promise<BatchResult> {
    const start = performance.now()
    const model = this.#model(key)
    const planned = model.structures.get(structure)
    const program = await this.#programs.get(planned?.program ?? '')?.compiled
    invariant(planned !== undefined && program !== undefined, `"${structure}" of "${key}" has been compiled`)
    const own = model.towers[members.some(({ inputs }) => inputs.kind === 'text') ? 'text' : 'vision']!.weights
    const weights = planned.saes.length === 0 ? own : this.#withSaes(own, planned.saes)
    const prepared = members.map((member) => attempt(() => shareOf(member, planned, model.tokenizer)))
    const good = prepared.filter((each): each is Share => !('error' in each))
    const most = planned.needsWholeRequest ? Number.POSITIVE_INFINITY : maxRows
    const job = { device: this.#backend.device, program, weights, planned, saes, maxRows: most }
    const results = good.length === 0 ? [] : await runShares(job, good)
    const outcomes = prepared.map((each) => ('error' in each ? each : results.shift()!))
    return { outcomes, runMs: performance.now() - start }
  }

  async analyse<Name extends AnalysisName>(
    { name, model: key, saes, input }: AnalysisCall<Name>,
    signal?: AbortSignal,
  ): Promise<AnalysisOutput<Name>> {
    const { description, towers, shelf } = this.#model(key)
    const { config, builtWith, weights } = towers.vision!
    const bench = openWorkbench({
      backend: this.#backend,
      model: { key, description, config: config as VisionConfig, build: builtWith, weights },
      saes: saes.map((sae) => ({ key: sae, ...this.#sae(sae) })),
      programs: shelf,
      signal,
    })
    const analysis = analyses[name] as Analysis<typeof input, AnalysisOutput<Name>>
    return analysis.run(bench, input).catch((error: unknown) => {
      throw deviceFailure(error, { device: this.#backend.device, doing: `computing the analysis "${name}"` }) ?? error
    })
  }

  async exportGraph(call: ExportCall): Promise<OnnxFile> {
    return exportGraph(this.#planned(call.structure), call)
  }

  async readWeights({ model: key, tower, saes, names }: WeightsCall): Promise<readonly Tensor[]> {
    const read = await this.#withSaes(this.#model(key).towers[tower]!.weights, saes).read(names)
    return names.map((name) => read[name]!)
  }

  async decoderRows(sae: string, latents: readonly number[]): Promise<Tensor<'float32'>> {
    return this.#decoders.rows(this.#sae(sae), latents)
  }

  async decoderCosines(
    loaded: { readonly model: string; readonly sae: string },
    embeddings: Tensor<'float32'>,
  ): Promise<Tensor<'float32'>> {
    const { config, weights } = this.#model(loaded.model).towers.vision!
    const model = { key: loaded.model, config: config as VisionConfig, hasGain: weights.names.has('ln_final.w'), weights }
    return this.#decoders.cosines(model, this.#sae(loaded.sae), embeddings)
  }

  #planned(structure: Structure): PlannedGraph {
    const tower = this.#model(structure.model).towers[structure.tower]
    if (tower === undefined)
      throw new EngineError('INPUT_INVALID', { path: 'inputs', problem: `this model has no ${structure.tower} tower` })
    const configs = saesOf(structure).map(({ key }) => this.#sae(key).config)
    return planStructure(tower.builtWith, structure, configs)
  }

  #model(key: string): ResidentModel {
    const model = this.#models.get(key)
    invariant(model !== undefined, `model "${key}" has been loaded`)
    return model
  }

  #sae(key: string): ReadableSae {
    const sae = this.#saes.get(key)
    invariant(sae !== undefined, `SAE "${key}" has been loaded`)
    return sae
  }

  #withSaes(own: ResidentWeights, keys: readonly string[]): ResidentWeights {
    const saes = keys.map((key, index) => ({ prefix: saePrefix(index), weights: this.#sae(key).weights }))
    return this.#backend.combine([{ prefix: '', weights: own }, ...saes])
  }

  async #upload(description: TowerDescription, { buildGraph, weights }: LoadedTower): Promise<ResidentTower> {
    return { config: description.config, builtWith: builtTowers(description, buildGraph), weights: await this.#backend.upload(weights) }
  }
}

function attempt(make: () => Share): Share | { error: ReturnType<typeof toWire> } {
  try {
    return make()
  } catch (error) {
    return { error: toWire(error) }
  }
}
