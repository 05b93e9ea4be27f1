/** Edges: what each node adds to a later one directly, past all nodes in between. */

import { gradientName } from '../../../graph/differentiate.js'
import { nPositions } from '../../../hook-points.js'
import type { VisionConfig } from '../../../models/model.js'
import { float32, type Tensor } from '../../../tensor.js'
import type { Outputs } from '../../shared-prefix.js'
import { seedInputs, TOKENS, zOf } from './graphs.js'
import type { Candidate } from './nodes.js'
import { type Site, siteNames } from './sites.js'

/** A node whose inputs are wanted. */
export type Sink =
  | { readonly kind: 'score'; readonly direction: Float32Array }
  | { readonly kind: 'node'; readonly node: Candidate; readonly column?: Float32Array }

export interface Seeding {
  readonly config: VisionConfig
  readonly sites: readonly Site[]
  readonly heads: boolean
  /** Of the run: gradients of what heads mix. */
  readonly outputs: Outputs
}

/** The seeds of some sinks, a row for each. */
export function seedsOf(sinks: readonly Sink[], { config, sites, heads, outputs }: Seeding): Record<string, Tensor<'float32'>> {
  const nRows = sinks.length
  const length = nPositions(config)
  const empty = (...shape: number[]) => float32([nRows, ...shape], new Float32Array(nRows * shape.reduce((a, b) => a * b, 1)))
  const seeds: Record<string, Tensor<'float32'>> = { [seedInputs.direction]: empty(config.head.dOut) }
  for (const { index, sae } of sites) seeds[seedInputs.sae(index)] = empty(length, sae.dIn)
  const width = config.nHeads * config.dHead
  for (let layer = 0; heads && layer < config.nLayers; layer++) seeds[seedInputs.heads(layer)] = empty(length, config.nHeads, config.dHead)
  for (const [row, sink] of sinks.entries()) {
    if (sink.kind === 'score') {
      seeds[seedInputs.direction]!.data.set(sink.direction, row * config.head.dOut)
      continue
    }
    const { node, column } = sink
    if (node.kind === 'feature') {
      seeds[seedInputs.sae(node.sae!)]!.data.set(column!, (row * length + node.position) * column!.length)
    } else if (node.kind === 'head') {
      // what matters of a head is what the score takes of it
      const from = node.position * width + node.head! * config.dHead
      const gradient = outputs[gradientName(zOf(node.layer!))]!.data.subarray(from, from + config.dHead)
      seeds[seedInputs.heads(node.layer!)]!.data.set(gradient, row * length * width + from)
    }
  }
  return seeds
}

/** Numbers of a place, `[pos, width]` a row. */
interface Field {
  readonly data: ArrayLike<number>
  readonly width: number
}

/** Products with the gradients of a sink, row `row` of the direct graph's outputs. */
export class DirectGradients {
  readonly #outputs: Outputs
  readonly #row: number
  readonly #length: number

  constructor(outputs: Outputs, row: number, length: number) {
    this.#outputs = outputs
    this.#row = row
    this.#length = length
  }

  /** Of a vector that is written at one position, from element `at` on. */
  along(
    place: string,
    { position, vector, at = 0 }: { readonly position: number; readonly vector: ArrayLike<number>; readonly at?: number },
  ): number {
    const { data, width } = this.#field(place)
    const from = (this.#row * this.#length + position) * width + at
    let sum = 0
    for (let i = 0; i < vector.length; i++) sum += data[from + i]! * vector[i]!
    return sum
  }

  /** Of everything that is at a place. */
  all(place: string, values: ArrayLike<number>): number {
    const { data, width } = this.#field(place)
    const from = this.#row * this.#length * width
    let sum = 0
    for (let i = 0; i < values.length; i++) sum += data[from + i]! * values[i]!
    return sum
  }

  #field(place: string): Field {
    const { data, shape } = this.#outputs[gradientName(place)]!
    return { data, width: shape.slice(2).reduce((a, b) => a * b, 1) }
  }
}

/** What a node writes, and where. */
export interface Written {
  readonly place: string
  readonly position: number
  readonly vector: ArrayLike<number>
  readonly at?: number
}

/** @param row  of a feature: its decoder's */
export function writtenBy(
  node: Candidate,
  { config, outputs, row }: { config: VisionConfig; outputs: Outputs; row?: ArrayLike<number> },
): Written {
  const { kind, position } = node
  const ofToken = (name: string) => {
    const { data, shape } = outputs[name]!
    return data.subarray(position * shape[2]!, (position + 1) * shape[2]!)
  }
  switch (kind) {
    case 'token':
      return { place: TOKENS, position, vector: ofToken(TOKENS) }
    case 'error':
      return { place: siteNames(node.sae!).node, position, vector: ofToken(siteNames(node.sae!).error) }
    case 'feature':
      return { place: siteNames(node.sae!).node, position, vector: Float64Array.from(row!, (value) => value * node.coefficient!) }
    case 'head': {
      const place = zOf(node.layer!)
      const at = node.head! * config.dHead
      const from = position * config.nHeads * config.dHead + at
      return { place, position, at, vector: outputs[place]!.data.subarray(from, from + config.dHead) }
    }
    default:
      return kind satisfies never
  }
}
