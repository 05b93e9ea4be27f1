/** Compiled programs by key, the ones used last: an analysis that is asked again compiles nothing. */

import type { Backend, Program } from '../backends/backend.js'
import type { Graph } from '../graph/graph.js'

/** Programs hold no weights, so they are small: a few MB for a model of twelve layers. */
const MOST = 24

export interface ShelvedProgram {
  readonly program: Program
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
}

export class ProgramShelf {
  readonly #backend: Backend
  /** The one used last is last. */
  readonly #shelved = new Map<string, Promise<ShelvedProgram>>()

  constructor(backend: Backend) {
    this.#backend = backend
  }

  /** @throws what building and compiling throw; nothing is kept of that */
  async get(key: string, build: () => Graph): Promise<ShelvedProgram> {
    const found = this.#shelved.get(key) ?? this.#make(build)
    this.#shelved.delete(key)
    this.#shelved.set(key, found)
    try {
      const shelved = await found
      await this.#clearSpace()
      return shelved
    } catch (error) {
      if (this.#shelved.get(key) === found) this.#shelved.delete(key)
      throw error
    }
  }

  async dispose(): Promise<void> {
    const all = [...this.#shelved.values()]
    this.#shelved.clear()
    for (const each of all) await disposed(each)
  }

  async #make(build: () => Graph): Promise<ShelvedProgram> {
    const graph = build()
    return { program: await this.#backend.compile(graph), inputs: Object.keys(graph.inputs), outputs: graph.outputs }
  }

  async #clearSpace(): Promise<void> {
    for (const [key, each] of this.#shelved) {
      if (this.#shelved.size <= MOST) break
      this.#shelved.delete(key)
      await disposed(each)
    }
  }
}

async function disposed(shelved: Promise<ShelvedProgram>): Promise<void> {
  const made = await shelved.catch(() => undefined)
  await made?.program.dispose()
}
