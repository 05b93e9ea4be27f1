/**
 * Sessions that hold weights, for devices whose memory this process cannot fill by itself: there is one for each set of weights that a program is run
 * with, and the weights are copied to the device when it is made. Weights that runs write are fed: a session of their own would be stale at once.
 * Sessions of all programs share a budget of bytes; those that were used least recently go first.
 */

import type * as Ort from 'onnxruntime-node'
import { EngineError } from '../../errors.js'
import type { Graph } from '../../graph/graph.js'
import type { Tensor } from '../../tensor.js'
import type { FeedableWeights } from './feedable-weights.js'
import { fromOrt } from './host-weights.js'
import type { FedSessions, ReadySession, SessionSource, WantedSession } from './sessions.js'

interface Baked {
  readonly owner: BakedSessions
  readonly session: Promise<Ort.InferenceSession>
  readonly held: ReadonlySet<string>
  readonly bytes: number
  nRuns: number
}

/** Of all programs of a device. */
export class BakedBudget {
  readonly #bytes: number
  /** The one used last is last. */
  readonly #entries = new Map<string, Baked>()

  constructor(bytes: number) {
    this.#bytes = bytes
  }

  get usedBytes(): number {
    return [...this.#entries.values()].reduce((sum, { bytes }) => sum + bytes, 0)
  }

  find(key: string): Baked | undefined {
    const found = this.#entries.get(key)
    if (found) {
      this.#entries.delete(key)
      this.#entries.set(key, found)
    }
    return found
  }

  /** Makes room by letting go of what no run uses. */
  async add(key: string, entry: Baked): Promise<void> {
    this.#entries.set(key, entry)
    for (const [other, each] of this.#entries) {
      if (this.usedBytes <= this.#bytes) return
      if (other !== key && each.nRuns === 0) await this.#drop(other, each)
    }
  }

  fits(bytes: number): boolean {
    return bytes <= this.#bytes
  }

  async dropAll(owner: BakedSessions): Promise<void> {
    for (const [key, each] of this.#entries) if (each.owner === owner) await this.#drop(key, each)
  }

  async forget(key: string): Promise<void> {
    const entry = this.#entries.get(key)
    if (entry) await this.#drop(key, entry)
  }

  async #drop(key: string, { session }: Baked): Promise<void> {
    this.#entries.delete(key)
    await (await session.catch(() => undefined))?.release()
  }
}

/** Arrays told apart. */
const identities = new WeakMap<object, number>()
let nIdentities = 0

function identityOf(object: object): number {
  const known = identities.get(object) ?? ++nIdentities
  identities.set(object, known)
  return known
}

export class BakedSessions implements SessionSource {
  readonly #graph: Graph
  readonly #fed: FedSessions
  readonly #budget: BakedBudget
  readonly #create: (initializers: Readonly<Record<string, Tensor>>) => Promise<Ort.InferenceSession>

  /**
   * @param fed     of the same program: takes over where weights cannot be held
   * @param create  a session that holds these parameters
   */
  constructor(
    graph: Graph,
    {
      fed,
      budget,
      create,
    }: { fed: FedSessions; budget: BakedBudget; create: (initializers: Readonly<Record<string, Tensor>>) => Promise<Ort.InferenceSession> },
  ) {
    this.#graph = graph
    this.#fed = fed
    this.#budget = budget
    this.#create = create
  }

  async get(wanted: WantedSession): Promise<ReadySession> {
    const { weights } = wanted
    const names = Object.keys(this.#graph.parameters)
    const held = names.filter((name) => !weights.isMade(name))
    const bytes = held.reduce((sum, name) => sum + bytesOf(weights, name), 0)
    if (held.length === 0 || !this.#budget.fits(bytes)) return this.#fed.get(wanted)
    const key = `${identityOf(this)} ${held.map((name) => `${name}=${identityOf(weights.feed(name)!)}`).join()}`
    const entry = this.#budget.find(key) ?? this.#bake(weights, new Set(held), bytes)
    entry.nRuns++
    const done = () => {
      entry.nRuns--
    }
    try {
      await this.#budget.add(key, entry)
      return { session: await entry.session, fed: names.filter((name) => !entry.held.has(name)), done }
    } catch (error) {
      done()
      await this.#budget.forget(key)
      // One file holds 2 GiB.
      if (error instanceof EngineError && error.code === 'MODEL_UNSUPPORTED') return this.#fed.get(wanted)
      throw error
    }
  }

  async release(): Promise<void> {
    await this.#budget.dropAll(this)
    await this.#fed.release()
  }

  #bake(weights: FeedableWeights, held: ReadonlySet<string>, bytes: number): Baked {
    const initializers = Object.fromEntries([...held].map((name) => [name, fromOrt(weights.feed(name)!)]))
    const session = Promise.resolve().then(() => this.#create(initializers))
    session.catch(() => undefined)
    return { owner: this, session, held, bytes, nRuns: 0 }
  }
}

function bytesOf(weights: FeedableWeights, name: string): number {
  return (weights.feed(name)!.data as Float32Array).byteLength
}
