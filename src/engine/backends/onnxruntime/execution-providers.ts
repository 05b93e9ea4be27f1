/**
 * Where ONNX Runtime can compute: one row a device. What differs between devices is here; the rest of this folder does not ask which one
 * it is on.
 */

import type * as Ort from 'onnxruntime-node'

export interface ExecutionProvider {
  /** As ONNX Runtime takes it in a session's options; `index` is of the device where there are several. */
  readonly options: (index: number) => Ort.InferenceSession.ExecutionProviderConfig
  /** `host`: weights and results are in this process' memory. `device`: weights, and results that become weights, stay in the device's. */
  readonly memory: 'host' | 'device'
}

export const executionProviders = {
  cpu: { options: () => 'cpu', memory: 'host' },
  webgpu: { options: () => 'webgpu', memory: 'device' },
  /** Apple's; weights are fed from host memory. Never run by those who wrote this. */
  coreml: { options: () => 'coreml', memory: 'host' },
  /** Windows'; the same. */
  directml: { options: (deviceId) => ({ name: 'dml', deviceId }), memory: 'host' },
} as const satisfies Record<string, ExecutionProvider>

export type Device = keyof typeof executionProviders
