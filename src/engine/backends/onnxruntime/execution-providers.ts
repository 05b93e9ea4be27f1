/**
 * Where ONNX Runtime can compute: one row a device. What differs between devices is here; the rest of this folder does not ask which one
 * it is on.
 */

import type * as Ort from 'onnxruntime-node'
import type { Graph } from '../../graph/graph.js'
import type { Tensor } from '../../tensor.js'
import type { ResidentWeights } from '../backend.js'
import { HostWeights } from './host-weights.js'

/** Weights as this backend keeps them: to be fed by name to a session. */
export interface FeedableWeights extends ResidentWeights {
  /** The tensors of the graph's parameters, checked against them. @throws FEED_MISSING, SHAPE_MISMATCH */
  feeds(graph: Graph): Readonly<Record<string, Ort.Tensor>>
}

export interface ExecutionProvider {
  /** As ONNX Runtime takes it in a session's options. */
  readonly options: Ort.InferenceSession.ExecutionProviderConfig
  /** Brings weights to where the device reads them. */
  upload(ort: typeof Ort, weights: Readonly<Record<string, Tensor>>): FeedableWeights
}

export const executionProviders = {
  cpu: { options: 'cpu', upload: (ort, weights) => new HostWeights(ort, weights) },
} as const satisfies Record<string, ExecutionProvider>

export type Device = keyof typeof executionProviders
