/**
 * The engine proper: models, programs and runs on one backend. No thread, no queue, no budget: it is told what to load and to drop, and
 * can be used as it is in tests and scripts.
 */

import type { Backend, Program, ResidentWeights } from '../backends/backend.js'
import { EngineError, invariant } from '../errors.js'
import type { Graph } from '../graph/graph.js'
import { editInputs } from '../interventions/apply-edits.js'
import { mergeEditInputs } from '../interventions/merge-inputs.js'
import { describeModel, type LoadedTower, loadModel } from '../models/load.js'
import type { ModelDescription, TowerDescription, TowerName } from '../models/model.js'
import type { ClipTokenizer } from '../models/tokenizer.js'
import type { Tensor } from '../tensor.js'
import { joinRows, RowShares, rowsOfTensor } from './batch-rows.js'
import type { Batch, BatchMember, BatchResult, EngineWorker, Outcome, Plan, Structure } from './engine-worker-calls.js'
import { footprint } from './footprint.js'
import type { ModelSource, RunInputs } from './host.js'
import { builtTowers, type PlannedStructure, planStructure } from './planned-structure.js'
import { toWire } from './remote.js'

/** Where models come from; tests have their own. */
export interface ModelReader {
  readonly describeModel: typeof describeModel
  readonly loadModel: typeof loadModel
}

interface ResidentTower {
  readonly builtWith: ReturnType<typeof builtTowers>
  readonly weights: ResidentWeights
}

interface ResidentModel {
  readonly towers: { readonly [name in TowerName]?: ResidentTower }
  readonly tokenizer: ClipTokenizer | undefined
  readonly structures: Map<string, PlannedStructure>
}

/** A member that can be run: its feeds, one row for each of its inputs. */
interface Share {
  readonly nRows: number
  readonly main: Tensor
  readonly inputs: Readonly<Record<string, Tensor>>
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
  readonly #programs = new Map<string, PlannedProgram>()

  constructor(backend: Backend, reader: ModelReader = { describeModel, loadModel }) {
    this.#backend = backend
    this.#reader = reader
  }

  inspect({ folder, processing }: ModelSource): Promise<ModelDescription> {
    return this.#reader.describeModel(folder, { processing })
  }

  async load({ key, folder, processing }: ModelSource): Promise<{ bytes: number }> {
    invariant(!this.#models.has(key), `model "${key}" is loaded already`)
    const { description, towers, tokenizer } = await this.#reader.loadModel(folder, { processing })
    const vision = await this.#upload(description.vision, towers.vision)
    const text = description.text && towers.text && (await this.#upload(description.text, towers.text))
    this.#models.set(key, { towers: { vision, ...(text && { text }) }, tokenizer, structures: new Map() })
    return { bytes: vision.weights.bytes + (text?.weights.bytes ?? 0) }
  }

  async unload(key: string): Promise<void> {
    const model = this.#models.get(key)
    this.#models.delete(key)
    for (const tower of Object.values(model?.towers ?? {})) await tower.weights.dispose()
  }

  async plan(structure: Structure): Promise<Plan> {
    const model = this.#model(structure.model)
    const tower = model.towers[structure.tower]
    if (tower === undefined)
      throw new EngineError('INPUT_INVALID', { path: 'inputs', problem: `this model has no ${structure.tower} tower` })
    const { planned, graph, types } = planStructure(tower.builtWith, structure)
    model.structures.set(structure.key, planned)
    if (!this.#programs.has(planned.program)) this.#programs.set(planned.program, { graph, compiled: undefined })
    const { program, couplesRows, needsWholeRequest } = planned
    return { program, couplesRows, needsWholeRequest, estimatedBytes: expectedBytes(graph), ...footprint(graph, types) }
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

  async run({ model: key, structure, maxRows, members }: Batch): Promise<BatchResult> {
    const start = performance.now()
    const model = this.#model(key)
    const planned = model.structures.get(structure)
    const program = await this.#programs.get(planned?.program ?? '')?.compiled
    invariant(planned !== undefined && program !== undefined, `"${structure}" of "${key}" has been compiled`)
    const weights = model.towers[members.some(({ inputs }) => inputs.kind === 'text') ? 'text' : 'vision']!.weights
    const prepared = members.map((member) => attempt(() => share(member, planned, model.tokenizer)))
    const good = prepared.filter((each): each is Share => !('error' in each))
    const job: Job = { program, weights, planned, maxRows: planned.needsWholeRequest ? Number.POSITIVE_INFINITY : maxRows }
    const results = good.length === 0 ? [] : await runShares(job, good)
    const outcomes = prepared.map((each) => ('error' in each ? each : results.shift()!))
    return { outcomes, runMs: performance.now() - start }
  }

  #model(key: string): ResidentModel {
    const model = this.#models.get(key)
    invariant(model !== undefined, `model "${key}" has been loaded`)
    return model
  }

  async #upload(description: TowerDescription, { buildGraph, weights }: LoadedTower): Promise<ResidentTower> {
    return { builtWith: builtTowers(description, buildGraph), weights: await this.#backend.upload(weights) }
  }
}

interface Job {
  readonly program: Program
  readonly weights: ResidentWeights
  readonly planned: PlannedStructure
  readonly maxRows: number
}

/**
 * Checks a request against its structure and makes its feeds.
 * @throws INPUT_INVALID, SHAPE_MISMATCH, TEXT_INVALID, and every error of editing
 */
function share({ inputs, edits }: BatchMember, { tower, input }: PlannedStructure, tokenizer: ClipTokenizer | undefined): Share {
  const main = inputs.kind === 'text' ? tokens(inputs.texts, tokenizer) : pixels(inputs, input.rowShape)
  const nRows = main.shape[0]!
  return { nRows, main, inputs: editInputs(edits, tower, nRows) }
}

function tokens(texts: readonly string[], tokenizer: ClipTokenizer | undefined): Tensor<'int64'> {
  if (texts.length === 0) throw new EngineError('INPUT_INVALID', { path: 'inputs', problem: 'there is no text' })
  if (tokenizer === undefined) throw new EngineError('TEXT_INVALID', { problem: 'the model has no tokenizer.' })
  return tokenizer.encode(texts)
}

function pixels(inputs: Exclude<RunInputs, { kind: 'text' }>, rowShape: readonly number[]): Tensor<'float32'> {
  const given =
    inputs.kind === 'pixels' ? [inputs.pixels] : inputs.pictures.map((picture) => ({ ...picture, shape: [1, ...picture.shape] }))
  const nRows = given.reduce((sum, { shape }) => sum + (shape[0] ?? 0), 0)
  if (nRows === 0) throw new EngineError('INPUT_INVALID', { path: 'inputs', problem: 'there is no picture' })
  for (const { shape } of given) {
    if (shape.slice(1).join() === rowShape.join()) continue
    throw new EngineError('SHAPE_MISMATCH', { what: 'A prepared picture', expected: rowShape, actual: shape.slice(1) })
  }
  return joinRows(given)
}

/** Runs them as one batch; where that fails, each by itself, so that none pays for another. */
async function runShares(job: Job, shares: readonly Share[]): Promise<Outcome[]> {
  try {
    return await runTogether(job, shares)
  } catch (error) {
    if (shares.length === 1) return [{ error: toWire(error) }]
    const outcomes: Outcome[] = []
    for (const share of shares) outcomes.push(...(await runShares(job, [share])))
    return outcomes
  }
}

/** In parts of at most `maxRows` rows; smaller ones when a part does not find the memory it needs. */
async function runTogether({ program, weights, planned, maxRows }: Job, shares: readonly Share[]): Promise<Outcome[]> {
  const { input, fetch, roles } = planned
  const inputs = { [input.name]: joinRows(shares.map(({ main }) => main)), ...mergeEditInputs(shares, roles) }
  const nRows = inputs[input.name]!.shape[0]!
  const dealt = fetch.map(() => new RowShares<'float32'>(shares.map(({ nRows }) => nRows)))
  let step = maxRows
  for (let row = 0; row < nRows; ) {
    const end = Math.min(nRows, row + step)
    const feeds = Object.fromEntries(Object.entries(inputs).map(([name, tensor]) => [name, rowsOfTensor(tensor, row, end)]))
    try {
      const values = await program.run({ inputs: feeds, weights, fetch })
      for (const [index, name] of fetch.entries()) dealt[index]!.add(values[name] as Tensor<'float32'>)
      row = end
    } catch (error) {
      if (!isOutOfMemory(error) || end - row === 1 || !Number.isFinite(maxRows)) throw error
      step = Math.ceil((end - row) / 2)
    }
  }
  const values = dealt.map((each) => each.take())
  return shares.map((_, index) => ({ output: values[0]![index]!, activations: values.slice(1).map((tensors) => tensors[index]!) }))
}

/** Backends say it in their own words. */
function isOutOfMemory(error: unknown): boolean {
  return error instanceof Error && /bad_alloc|out of memory|failed to allocate|allocation failed/i.test(error.message)
}

function attempt(make: () => Share): Share | { error: ReturnType<typeof toWire> } {
  try {
    return make()
  } catch (error) {
    return { error: toWire(error) }
  }
}
