/** Several uploads as one, each under a prefix: they are fed from where they are, and written to there. */

import type * as Ort from 'onnxruntime-node'
import type { Graph } from '../../graph/graph.js'
import type { DType, Tensor } from '../../tensor.js'
import { combinedNames, type WeightPart } from '../backend.js'
import { checkRead, checkWeights } from '../feeds.js'
import type { FeedableWeights } from './feedable-weights.js'

export class CombinedWeights implements FeedableWeights {
  readonly names: ReadonlySet<string>
  readonly #found: ReturnType<typeof combinedNames>
  readonly #parts: readonly WeightPart[]

  /** @param parts  of the same device */
  constructor(parts: readonly (WeightPart & { readonly weights: FeedableWeights })[]) {
    this.#parts = parts
    this.#found = combinedNames(parts)
    this.names = new Set(this.#found.keys())
  }

  get bytes(): number {
    return this.#parts.reduce((sum, { weights }) => sum + weights.bytes, 0)
  }

  feed(name: string): Ort.Tensor | undefined {
    const found = this.#found.get(name)
    return found && (found.part.weights as FeedableWeights).feed(found.name)
  }

  feeds(graph: Graph): Readonly<Record<string, Ort.Tensor>> {
    checkWeights(graph, {
      has: (name) => this.#found.has(name),
      get: (name) => {
        const feed = this.feed(name)
        return feed && { dtype: feed.type as DType, shape: feed.dims }
      },
    })
    return Object.fromEntries(Object.keys(graph.parameters).map((name) => [name, this.feed(name)!]))
  }

  write(values: Readonly<Record<string, Ort.Tensor>>): void | Promise<void> {
    const pending = this.#parts.flatMap((part) => {
      const own = Object.entries(values).flatMap(([name, value]) => {
        const found = this.#found.get(name)
        return found?.part === part ? [[found.name, value] as const] : []
      })
      return own.length > 0 ? ((part.weights as FeedableWeights).write(Object.fromEntries(own)) ?? []) : []
    })
    return pending.length > 0 ? Promise.all(pending).then(() => undefined) : undefined
  }

  async hold(names: readonly string[]): Promise<() => void> {
    const releases: (() => void)[] = []
    const release = () => {
      for (const each of releases) each()
    }
    try {
      for (const part of this.#parts) {
        const found = names.map((name) => this.#found.get(name)).filter((found) => found?.part === part)
        const own = found.map((found) => found!.name)
        releases.push(await (part.weights as FeedableWeights).hold(own))
      }
      return release
    } catch (error) {
      release()
      throw error
    }
  }

  isMade(combined: string): boolean {
    const { part, name } = this.#found.get(combined)!
    return (part.weights as FeedableWeights).isMade(name)
  }

  isWritable(combined: string): boolean {
    const found = this.#found.get(combined)
    return found !== undefined && (found.part.weights as FeedableWeights).isWritable(found.name)
  }

  async read(names: readonly string[]): Promise<Record<string, Tensor>> {
    checkRead(names, this.names)
    const entries = names.map(async (name) => {
      const { part, name: own } = this.#found.get(name)!
      return [name, (await part.weights.read([own]))[own]!] as const
    })
    return Object.fromEntries(await Promise.all(entries))
  }

  /** The parts stay. */
  async dispose(): Promise<void> {}
}
