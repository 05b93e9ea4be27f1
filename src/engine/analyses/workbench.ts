/**
 * What an analysis works with: a model and SAEs whose weights lie on a device, and programs that are compiled once. An analysis builds the graphs
 * it needs, runs them, and knows nothing of threads, queues or budgets.
 */

import type { Backend, ResidentWeights } from '../backends/backend.js'
import type { Graph } from '../graph/graph.js'
import type { BuildTower } from '../interventions/built-towers.js'
import type { ModelDescription, VisionConfig } from '../models/model.js'
import { saePrefix } from '../saes/attach-saes.js'
import type { SaeConfig } from '../saes/sae.js'
import type { Tensor } from '../tensor.js'
import type { ProgramShelf } from './program-shelf.js'

export interface StudiedModel {
  /** Its identity in memory; in errors. */
  readonly key: string
  readonly description: ModelDescription
  readonly config: VisionConfig
  /** The vision tower's graph, with these optional hook points in it. */
  readonly build: BuildTower
  readonly weights: ResidentWeights
}

export interface AttachedWeights {
  readonly key: string
  readonly config: SaeConfig
  readonly weights: ResidentWeights
}

/** A compiled graph with the weights it is run with. */
export interface Ready {
  /** What it is fed. */
  readonly inputs: readonly string[]
  run(inputs: Readonly<Record<string, Tensor>>): Promise<Readonly<Record<string, Tensor<'float32'>>>>
}

export interface Workbench {
  readonly model: StudiedModel
  /** Their parameters are known to graphs by `saePrefix(index)`. */
  readonly saes: readonly AttachedWeights[]
  /**
   * The compiled graph of a key; built and compiled when it is first asked for, and kept for later calls about this model. Equal keys must mean
   * equal graphs: a key names everything that the graph depends on but the model and the configurations of the SAEs. All outputs of the graph are fetched.
   */
  ready(key: string, build: () => Graph): Promise<Ready>
  /**
   * To be asked for between pieces of work that no program does, a tenth of a second or so each: before every run of a program it is asked for anyway.
   * @throws CANCELLED when nobody waits for the answer any more
   */
  stillWanted(): Promise<void>
  /** A copy of a weight of the model, or of an SAE, by the name that graphs know it by. @throws VALUE_UNKNOWN */
  weight(name: string): Promise<Tensor<'float32'>>
}

export interface WorkbenchParts {
  readonly backend: Backend
  readonly model: StudiedModel
  readonly saes: readonly AttachedWeights[]
  /** Of this model. */
  readonly programs: ProgramShelf
  /** Aborts when nobody waits for the answer any more. */
  readonly signal?: AbortSignal | undefined
}

export function openWorkbench({ backend, model, saes, programs, signal }: WorkbenchParts): Workbench {
  const parts = saes.map(({ weights }, index) => ({ prefix: saePrefix(index), weights }))
  const weights = saes.length === 0 ? model.weights : backend.combine([{ prefix: '', weights: model.weights }, ...parts])
  const configs = JSON.stringify(saes.map(({ config }) => config))
  const stillWanted = async () => {
    if (!signal) return
    // the message that calls the work off is read between turns of the event loop, which a backend need not take
    await new Promise((resolve) => setImmediate(resolve))
    signal.throwIfAborted()
  }
  return {
    model,
    saes,
    async ready(key, build) {
      const { program, inputs: fed, outputs } = await programs.get(`${key} ${configs}`, build)
      return {
        inputs: fed,
        async run(inputs) {
          await stillWanted()
          return (await program.run({ inputs, weights, fetch: outputs })) as Record<string, Tensor<'float32'>>
        },
      }
    },
    stillWanted,
    async weight(name) {
      return (await weights.read([name]))[name] as Tensor<'float32'>
    },
  }
}
