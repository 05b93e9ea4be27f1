/** Compiled programs by key, the ones used last: an analysis that is asked again compiles nothing. */

import type { Backend, Program } from '../backends/backend.js'
import type { Graph } from '../graph/graph.js'

/** All together. Programs hold no weights: one of a model of twelve layers takes 3 MB. */
const MOST_BYTES = 256 * 2 ** 20

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
    const known = this.#shelved.get(key)
    const found = known ?? this.#make(build)
    this.#shelved.delete(key)
    this.#shelved.set(key, found)
    try {
      const shelved = await found
      if (known === undefined) await this.#clearSpace()
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

  /** Lets go of those that were used longest ago; the last one stays. */
  async #clearSpace(): Promise<void> {
    const sizes = await Promise.all([...this.#shelved.values()].map(bytesOf))
    let bytes = sizes.reduce((sum, size) => sum + size, 0)
    for (const [index, [key, each]] of [...this.#shelved].slice(0, -1).entries()) {
      if (bytes <= MOST_BYTES) break
      bytes -= sizes[index]!
      this.#shelved.delete(key)
      await disposed(each)
    }
  }
}

/** Of one that could not be made: none. */
async function bytesOf(shelved: Promise<ShelvedProgram>): Promise<number> {
  return (await shelved.catch(() => undefined))?.program.bytes ?? 0
}

async function disposed(shelved: Promise<ShelvedProgram>): Promise<void> {
  const made = await shelved.catch(() => undefined)
  await made?.program.dispose()
}
