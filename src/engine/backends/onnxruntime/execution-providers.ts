/**
 * Where ONNX Runtime can compute: one row a device. What differs between devices is here; the rest of this folder does not ask which one
 * it is on.
 */

import type * as Ort from 'onnxruntime-node'
import type { Tensor } from '../../tensor.js'
import type { FeedableWeights } from './feedable-weights.js'
import { HostWeights } from './host-weights.js'

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
