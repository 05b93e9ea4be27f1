/** What a score is attributed to: the nodes of the graph, and which of them are kept. */

import type { Tensor } from '../../../tensor.js'
import type { Outputs } from '../../shared-prefix.js'
import { totalOutputs } from './graphs.js'

/** Where, and how much of the score goes through it. */
export interface Candidate {
  readonly kind: 'feature' | 'error' | 'head' | 'token'
  readonly position: number
  /** Gradient of the score times what is there. */
  readonly attribution: number
  /** Of a feature and an error: the place of its SAE among those of the request. */
  readonly sae?: number
  /** Of a feature: the latent. */
  readonly index?: number
  readonly activation?: number
  /** Of a feature: what its decoder's row is multiplied with. */
  readonly coefficient?: number
  readonly layer?: number
  readonly head?: number
}

/** At most so many, and no more than are needed for a share of all attributions by size. */
export interface Threshold {
  readonly most: number
  readonly share: number
}

interface Place {
  readonly dSae: readonly number[]
  /** How many layers' heads are nodes. */
  readonly nLayers: number
}

/** Every node that may be kept: all but the features that are less important than those that the graph hands out. */
export function candidates(outputs: Outputs, { dSae, nLayers }: Place): Candidate[] {
  const features = dSae.flatMap((width, sae) => {
    const names = totalOutputs.features(sae)
    const [values, activations, coefficients] = [names.values, names.activations, names.coefficients].map((name) => outputs[name]!.data)
    return Array.from((outputs[names.places] as Tensor).data, Number).map((place, at): Candidate => {
      const [position, index] = [Math.floor(place / width), place % width]
      const amounts = { attribution: values![at]!, activation: activations![at]!, coefficient: coefficients![at]! }
      return { kind: 'feature', sae, index, position, ...amounts }
    })
  })
  const errors = dSae.flatMap((_, sae) => {
    return Array.from(
      outputs[totalOutputs.errors(sae)]!.data,
      (attribution, position): Candidate => ({ kind: 'error', sae, position, attribution }),
    )
  })
  const heads = Array.from({ length: nLayers }, (_, layer) => {
    const { shape, data } = outputs[totalOutputs.heads(layer)]!
    const nHeads = shape[2]!
    return Array.from(data, (attribution, at): Candidate => {
      return { kind: 'head', layer, head: at % nHeads, position: Math.floor(at / nHeads), attribution }
    })
  })
  const tokens = Array.from(
    outputs[totalOutputs.tokens]!.data,
    (attribution, position): Candidate => ({ kind: 'token', position, attribution }),
  )
  return [...tokens, ...heads.flat(), ...features, ...errors].filter(({ attribution }) => attribution !== 0)
}

/** The largest by size, up to a number of them and a share of `total`; by size, the largest first. */
export function largest<T>(
  items: readonly T[],
  sizeOf: (item: T) => number,
  { most, share, total }: Threshold & { readonly total: number },
): T[] {
  const sorted = items.toSorted((a, b) => Math.abs(sizeOf(b)) - Math.abs(sizeOf(a)))
  const kept: T[] = []
  let sum = 0
  for (const item of sorted) {
    if (kept.length >= most || sum >= share * total || sizeOf(item) === 0) break
    kept.push(item)
    sum += Math.abs(sizeOf(item))
  }
  return kept
}
