/** The sessions of one program, made when first wanted. */

import type * as Ort from 'onnxruntime-node'
import type { Graph } from '../../graph/graph.js'
import type { FeedableWeights } from './feedable-weights.js'

export interface WantedSession {
  readonly weights: FeedableWeights
  /** Outputs that stay in the device's memory. */
  readonly stays: readonly string[]
}

export interface ReadySession {
  readonly session: Ort.InferenceSession
  /** The parameters that it is fed; it holds the others. */
  readonly fed: readonly string[]
  /** To be called when the run is over. */
  done(): void
}

export interface SessionSource {
  get(wanted: WantedSession): Promise<ReadySession>
  release(): Promise<void>
}

/** Alike but for which results stay in the device's memory; all weights are fed. */
export class FedSessions implements SessionSource {
  readonly #fed: readonly string[]
  readonly #create: (stays: readonly string[]) => Promise<Ort.InferenceSession>
  readonly #made = new Map<string, Promise<Ort.InferenceSession>>()

  /** @param create  a session whose outputs are in host memory, but for those that stay */
  constructor(graph: Graph, create: (stays: readonly string[]) => Promise<Ort.InferenceSession>) {
    this.#fed = Object.keys(graph.parameters)
    this.#create = create
  }

  async get({ stays }: Pick<WantedSession, 'stays'>): Promise<ReadySession> {
    const key = stays.join()
    const session = this.#made.get(key) ?? this.#create(stays)
    this.#made.set(key, session)
    session.catch(() => this.#made.delete(key))
    return { session: await session, fed: this.#fed, done: () => undefined }
  }

  async release(): Promise<void> {
    const all = [...this.#made.values()]
    this.#made.clear()
    for (const each of all) await (await each.catch(() => undefined))?.release()
  }
}
