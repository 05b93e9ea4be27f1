/**
 * Where ONNX Runtime can compute: one row a device. What differs between devices is here; the rest of this folder does not ask which one
 * it is on.
 */

import fs from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import type * as Ort from 'onnxruntime-node'
import type { Precision } from '../backend.js'

export interface ExecutionProvider {
  /** As ONNX Runtime takes it in a session's options; `index` is of the device where there are several. */
  readonly options: (index: number) => Ort.InferenceSession.ExecutionProviderConfig
  /**
   * `host`: weights and results are in this process' memory. `device`: weights, and results that become weights, stay in the device's. `session`:
   * sessions hold the weights in the device's memory (baked-sessions.ts), results come back.
   */
  readonly memory: 'host' | 'device' | 'session'
  /** How many bytes of weights the device's memory holds, unless told otherwise; the rest of it is for what runs compute. */
  readonly deviceBytes?: number
  /**
   * What it can be asked to compute in, float32 first. Whether CUDA computes float32 as TF32 is for the process to say before the library is loaded
   * (NVIDIA_TF32_OVERRIDE): Node's binding hands over no option but the device.
   */
  readonly precisions: readonly [Precision, ...Precision[]]
  /** Why it cannot be there, where that can be seen without trying. */
  readonly missing?: () => string | undefined
}

export const executionProviders = {
  /** In float16 it would compute in float32 all the same, with rounding in between. */
  cpu: { options: () => 'cpu', memory: 'host', precisions: ['float32'] },
  cuda: {
    options: (deviceId) => ({ name: 'cuda', deviceId }),
    memory: 'session',
    deviceBytes: 8 * 2 ** 30,
    precisions: ['float32', 'tf32', 'float16'],
    missing: missingCuda,
  },
  webgpu: { options: () => 'webgpu', memory: 'device', deviceBytes: 4 * 2 ** 30, precisions: ['float32', 'float16'] },
  /** Apple's; weights are fed from host memory. Never run by those who wrote this. */
  coreml: { options: () => 'coreml', memory: 'host', precisions: ['float32', 'float16'] },
  /** Windows'; the same. */
  directml: { options: (deviceId) => ({ name: 'dml', deviceId }), memory: 'host', precisions: ['float32', 'float16'] },
} as const satisfies Record<string, ExecutionProvider>

/** npm's package has no room for it; ONNX Runtime would say so on standard error. */
function missingCuda(): string | undefined {
  const installed = createRequire(import.meta.url).resolve('onnxruntime-node')
  const library = path.join(path.dirname(installed), `../bin/napi-v6/${process.platform}/${process.arch}/libonnxruntime_providers_cuda.so`)
  if (fs.existsSync(library)) return undefined
  return 'its provider is not installed (node node_modules/onnxruntime-node/script/install.js --onnxruntime-node-install=cuda12)'
}

export type Device = keyof typeof executionProviders
