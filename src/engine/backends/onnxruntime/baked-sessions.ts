/**
 * Sessions that hold weights, for devices whose memory this process cannot fill by itself: there is one for each set of weights that a program is run
 * with, and the weights are copied to the device when it is made. Weights that runs write are fed: a session of their own would be stale at once.
 * Sessions of all programs share a budget of bytes; those that were used least recently go first.
 */

import type * as Ort from 'onnxruntime-node'
import { EngineError } from '../../errors.js'
import type { Graph } from '../../graph/graph.js'
import type { Tensor } from '../../tensor.js'
import type { DeviceMemory, Occupant } from './device-memory.js'
import type { FeedableWeights } from './feedable-weights.js'
import { fromOrt } from './host-weights.js'
import type { FedSessions, ReadySession, SessionSource, WantedSession } from './sessions.js'

/** A session that holds weights, made when it is first opened. */
class BakedSession implements Occupant {
  readonly bytes: number
  /** Let go of when it has been called: it has the weights. */
  #create: (() => Promise<Ort.InferenceSession>) | undefined
  readonly #onLeave: () => void
  #session: Promise<Ort.InferenceSession> | undefined

  constructor(bytes: number, { create, onLeave }: { create: () => Promise<Ort.InferenceSession>; onLeave: () => void }) {
    this.bytes = bytes
    this.#create = create
    this.#onLeave = onLeave
  }

  open(): Promise<Ort.InferenceSession> {
    this.#session ??= this.#create!()
    this.#create = undefined
    return this.#session
  }

  async leave(): Promise<void> {
    this.#onLeave()
    await (await this.#session?.catch(() => undefined))?.release()
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

export interface BakedSessionsOptions {
  /** Of the same program: takes over where weights cannot be held. */
  readonly fed: FedSessions
  readonly memory: DeviceMemory
  /** A session that holds these parameters. */
  readonly create: (initializers: Readonly<Record<string, Tensor>>) => Promise<Ort.InferenceSession>
}

export class BakedSessions implements SessionSource {
  readonly #names: readonly string[]
  readonly #options: BakedSessionsOptions
  /** By which arrays they hold. */
  readonly #baked = new Map<string, BakedSession>()

  constructor(graph: Graph, options: BakedSessionsOptions) {
    this.#names = Object.keys(graph.parameters)
    this.#options = options
  }

  async get(wanted: WantedSession): Promise<ReadySession> {
    const { fed, memory } = this.#options
    const { weights } = wanted
    const held = this.#names.filter((name) => !weights.isMade(name))
    const made = this.#names.filter((name) => weights.isMade(name))
    if (held.length === 0) return fed.get(wanted)
    const key = held.map((name) => `${name}=${identityOf(weights.feed(name)!)}`).join()
    const baked = this.#baked.get(key) ?? this.#bake(key, { weights, held })
    const done = memory.hold(baked)
    if (done === undefined) return fed.get(wanted)
    this.#baked.set(key, baked)
    try {
      await memory.makeRoom()
      return { session: await baked.open(), fed: made, done }
    } catch (error) {
      memory.remove(baked)
      await baked.leave()
      // One file holds 2 GiB.
      if (error instanceof EngineError && error.code === 'MODEL_UNSUPPORTED') return fed.get(wanted)
      throw error
    }
  }

  async release(): Promise<void> {
    for (const baked of this.#baked.values()) {
      this.#options.memory.remove(baked)
      await baked.leave()
    }
    await this.#options.fed.release()
  }

  #bake(key: string, { weights, held }: { readonly weights: FeedableWeights; readonly held: readonly string[] }): BakedSession {
    const feeds = held.map((name) => [name, weights.feed(name)!] as const)
    const bytes = feeds.reduce((sum, [, { data }]) => sum + (data as Float32Array).byteLength, 0)
    const create = () => this.#options.create(Object.fromEntries(feeds.map(([name, feed]) => [name, fromOrt(feed)])))
    return new BakedSession(bytes, { create, onLeave: () => this.#baked.delete(key) })
  }
}
