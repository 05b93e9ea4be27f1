/**
 * An engine's worker without a model: it answers the calls of the real one on this thread, keeps a journal of them, and holds every run
 * until the test lets it go on. Its "model" multiplies each picture by two; the channel to it copies messages as a thread's would, and can
 * be cut as a thread can die.
 */

import type { AnalysisName, AnalysisOutput } from '../../../src/engine/analyses/analyses.js'
import type { DeviceMemoryUse } from '../../../src/engine/backends/backend.js'
import { EngineError } from '../../../src/engine/errors.js'
import type { Channel } from '../../../src/engine/host/channel.js'
import { deferred } from '../../../src/engine/host/deferred.js'
import type {
  AnalysisCall,
  Batch,
  BatchResult,
  EngineOptions,
  EngineWorker,
  ExportCall,
  Outcome,
  Structure,
  WeightsCall,
} from '../../../src/engine/host/engine-worker-calls.js'
import type { CodesRequest, ModelSource, RunRequest, SaeSource } from '../../../src/engine/host/host.js'
import { answerCalls, type Methods, toWire } from '../../../src/engine/host/remote.js'
import type { Edit } from '../../../src/engine/interventions/edit.js'
import type { ModelDescription } from '../../../src/engine/models/model.js'
import type { SaeDescription } from '../../../src/engine/saes/load-sae.js'
import { float32, type Tensor, zeros } from '../../../src/engine/tensor.js'

/** A journal's lines: `load a`, `compile ...`, `run a 3+1` (rows of each member). */
export class FakeEngine implements EngineWorker {
  readonly journal: string[] = []
  /** Bytes of models by key; 400 otherwise. */
  readonly modelBytes = new Map<string, number>()
  programBytes = 10
  /** Of an accelerator's own memory. */
  deviceMemory: DeviceMemoryUse | undefined
  /** Why it does not start. */
  refusal: string | undefined
  /** What a run that begins now will say it took. */
  runMs = 1
  /** Runs wait for this. */
  gate: Promise<void> = Promise.resolve()
  /** Analyses wait for this, or until they are called off. */
  analysisGate: Promise<void> = Promise.resolve()
  #loaded = new Set<string>()
  #structures = new Map<string, Structure>()
  #compiled = new Set<string>()
  #expected: { readonly line: string; readonly times: number; resolve(): void }[] = []

  /** Resolves when the journal has `times` lines that start so. */
  reaches(line: string, times = 1): Promise<void> {
    const { promise, resolve } = deferred<void>()
    this.#expected.push({ line, times, resolve: () => resolve() })
    this.#notice()
    return promise
  }

  /** Keys of the models in its memory. */
  get loaded(): readonly string[] {
    return [...this.#loaded].sort()
  }

  /** A new worker, with nothing in its memory. */
  reborn(): this {
    this.#loaded.clear()
    this.#structures.clear()
    this.#compiled.clear()
    this.#write('start')
    return this
  }

  async start({ device }: EngineOptions) {
    if (this.refusal !== undefined) throw new EngineError('DEVICE_UNAVAILABLE', { device, why: this.refusal, available: ['cpu'] })
    return { backend: 'fake', device }
  }

  async inspect(source: ModelSource): Promise<ModelDescription> {
    this.#write(`inspect ${source.key}`)
    if (source.folder === 'missing') throw new EngineError('FILE_INVALID', { file: 'config.json', problem: 'there is none' })
    return { vision: { nParameters: this.#bytesOf(source.key) / 4 } } as ModelDescription
  }

  async load(source: ModelSource) {
    this.#write(`load ${source.key}`)
    this.#loaded.add(source.key)
    return { bytes: this.#bytesOf(source.key), row: { bytes: 4, aliveBytes: 4, streamBytes: 4, tokens: 1 } }
  }

  async unload(model: string) {
    this.#write(`unload ${model}`)
    this.#loaded.delete(model)
  }

  async inspectSae(source: SaeSource): Promise<SaeDescription> {
    this.#write(`inspect sae ${source.key}`)
    if (source.folder === 'missing') throw new EngineError('FILE_INVALID', { file: 'config.json', problem: 'there is none' })
    return { nParameters: this.#bytesOf(source.key) / 4, config: { dSae: 4, dOut: 1 } } as SaeDescription
  }

  async loadSae(source: SaeSource) {
    this.#write(`load sae ${source.key}`)
    this.#loaded.add(`sae ${source.key}`)
    return { bytes: this.#bytesOf(source.key) }
  }

  async unloadSae(sae: string) {
    this.#write(`unload sae ${sae}`)
    this.#loaded.delete(`sae ${sae}`)
  }

  async plan(structure: Structure) {
    this.#must(this.#loaded, structure.model)
    for (const { sae } of structure.saes) this.#must(this.#loaded, `sae ${sae.key}`)
    for (const name of structure.read) {
      if (name === 'nowhere') throw new EngineError('HOOK_POINT_UNKNOWN', { hookPoint: name, model: structure.model, known: [] })
    }
    this.#structures.set(`${structure.model} ${structure.key}`, structure)
    const sizes = { estimatedBytes: this.programBytes, outputBytesPerRow: 4, workingBytesPerRow: 4 }
    const couplesRows = structure.edits.some(({ op }) => op === 'mean')
    return { program: structure.key, ...sizes, couplesRows, needsWholeRequest: couplesRows }
  }

  async compile(program: string) {
    this.#write(`compile ${program}`)
    this.#compiled.add(program)
    return { bytes: this.programBytes }
  }

  async drop(program: string) {
    this.#write('drop')
    this.#compiled.delete(program)
  }

  async decoderRows(sae: string, latents: readonly number[]) {
    this.#must(this.#loaded, `sae ${sae}`)
    this.#write(`rows ${sae} ${latents.join()}`)
    return float32([latents.length, 1], latents)
  }

  async decoderCosines({ model, sae }: { readonly model: string; readonly sae: string }, embeddings: Tensor<'float32'>) {
    this.#must(this.#loaded, model)
    this.#must(this.#loaded, `sae ${sae}`)
    return embeddings
  }

  async analyse<Name extends AnalysisName>(
    { name, model, saes, input }: AnalysisCall<Name>,
    signal?: AbortSignal,
  ): Promise<AnalysisOutput<Name>> {
    this.#must(this.#loaded, model)
    for (const sae of saes) this.#must(this.#loaded, `sae ${sae}`)
    this.#write(`analyse ${name}`)
    const calledOff = deferred<never>()
    signal?.addEventListener('abort', () => calledOff.reject(signal.reason as Error))
    await Promise.race([this.analysisGate, calledOff.promise])
    return input as AnalysisOutput<Name>
  }

  /** A byte, a weight of two numbers, a byte, and so on for each hook point that is read. */
  async exportGraph({ structure }: ExportCall) {
    this.#must(this.#loaded, structure.model)
    const parts = structure.read.flatMap((parameter, index) => [Uint8Array.of(index), { parameter, byteLength: 8 }])
    return { byteLength: 9 * structure.read.length, parts }
  }

  async readWeights({ model, names }: WeightsCall) {
    this.#must(this.#loaded, model)
    this.#write(`weights ${model} ${names.join()}`)
    return names.map((name) => float32([2], [name.length, 0]))
  }

  async run({ model, structure, members, saes }: Batch): Promise<BatchResult> {
    this.#must(this.#loaded, model)
    this.#must(this.#compiled, structure)
    for (const { sae } of saes) this.#must(this.#loaded, `sae ${sae.key}`)
    const { read } = this.#structures.get(`${model} ${structure}`)!
    this.#write(`run ${model} ${members.map(({ inputs }) => pictures(inputs).length).join('+')}`)
    const { runMs } = this
    await this.gate
    const outcomes = members.map(({ inputs, edits }): Outcome => {
      const bad = edits.find((edit) => 'strength' in edit && Number.isNaN(edit.strength))
      if (bad !== undefined) {
        return { error: toWire(new EngineError('EDIT_INVALID', { path: 'edits[0].strength', problem: 'it is not a number' })) }
      }
      const doubled = pictures(inputs).map(({ data }) => 2 * data[0]!)
      const output = float32([doubled.length], doubled)
      const codes = saes.map(() => ({
        tokens: { activations: float32([doubled.length, 1, 1], doubled), latents: zeros('int32', [doubled.length, 1, 1]) },
      }))
      return { output, activations: read.map(() => float32([doubled.length], doubled)), codes }
    })
    return { outcomes, runMs }
  }

  #bytesOf(key: string): number {
    return this.modelBytes.get(key) ?? 400
  }

  #must(set: ReadonlySet<string>, name: string): void {
    if (!set.has(name)) throw new Error(`"${name}" is not in the worker's memory`)
  }

  #write(line: string): void {
    this.journal.push(line)
    this.#notice()
  }

  #notice(): void {
    for (const { line, times, resolve } of this.#expected) {
      if (this.journal.filter((written) => written.startsWith(line)).length >= times) resolve()
    }
  }
}

function pictures(inputs: RunRequest['inputs']): readonly Tensor<'float32'>[] {
  if (inputs.kind !== 'pictures') throw new Error('the fake engine takes pictures')
  return inputs.pictures
}

export interface LocalChannel extends Channel {
  /** As if the thread had died. */
  cut(reason: string): void
}

/** A channel to methods on this thread. Messages arrive in a later microtask and are copies; a buffer that is transferred is gone. */
export function localChannel<T extends Methods<T>>(methods: T, state?: () => unknown): LocalChannel {
  const end = deferred<string>()
  let isCut = false
  const cut = (reason: string) => {
    isCut = true
    end.resolve(reason)
  }
  let toMethods: (message: unknown) => void = () => undefined
  let toOwner: (message: unknown) => void = () => undefined
  const deliver = (message: unknown, transfer: readonly ArrayBuffer[], to: (message: unknown) => void) => {
    const copy = structuredClone(message, { transfer: [...transfer] })
    queueMicrotask(() => {
      if (!isCut) to(copy)
    })
  }
  answerCalls(
    {
      send: (message, transfer = []) => deliver(message, transfer, (copy) => toOwner(copy)),
      receive: (listener) => {
        toMethods = listener
      },
    },
    methods,
    state,
  )
  return {
    send: (message, transfer = []) => deliver(message, transfer, (copy) => toMethods(copy)),
    receive: (listener) => {
      toOwner = listener
    },
    ended: end.promise,
    finish: async () => cut('it was ended'),
    terminate: async () => cut('it was ended'),
    cut,
  }
}

/** A run of one-number pictures. */
export function fakeRun(model: string, values: readonly number[], about: { read?: string[]; edits?: Edit[] } = {}): RunRequest {
  const source: ModelSource = { key: model, folder: `/${model}`, processing: [] }
  const pictures = values.map((value) => float32([1], [value]))
  return { model: source, inputs: { kind: 'pictures', pictures }, read: about.read ?? [], edits: about.edits ?? [] }
}

/** The same, read by SAEs. */
export function fakeCodes(model: string, values: readonly number[], saes: readonly string[], positions?: readonly number[]): CodesRequest {
  const { read: _, ...run } = fakeRun(model, values)
  const source = (key: string): SaeSource => ({ key, folder: `/${key}`, overrides: {} })
  return { ...run, saes: saes.map((key) => ({ sae: source(key), topK: 1, imageTopK: 0, ...(positions && { positions }) })) }
}
