/**
 * From the name of a device to a backend that computes there. The only file that names concrete backends.
 */

import type { Backend } from '../backends/backend.js'
import { createOnnxRuntimeBackend } from '../backends/onnxruntime/backend.js'
import { createReferenceBackend } from '../backends/reference/backend.js'
import { createTfjsBackend } from '../backends/tfjs/backend.js'
import { EngineError } from '../errors.js'
import type { EngineOptions } from './engine-worker-calls.js'

type Create = (options: EngineOptions, which: string | undefined) => Backend | Promise<Backend>

/** By what stands before the colon of a device's name; `which` is what stands behind it. */
const devices: Record<string, Create> = {
  /** The fastest there is. */
  auto: ({ intraOpThreads }) => createOnnxRuntimeBackend({ device: 'cpu', intraOpThreads }),
  cpu: ({ intraOpThreads }) => createOnnxRuntimeBackend({ device: 'cpu', intraOpThreads }),
  /** TensorFlow.js, where the user has installed it: `tfjs` or `tfjs:wasm`, ... */
  tfjs: (_, flavour = 'auto') => createTfjsBackend({ flavour }),
  /** Plain TypeScript, slow: defines what the operators mean. For tests and for doubts. */
  reference: () => createReferenceBackend(),
}

/** @throws DEVICE_UNAVAILABLE with what is available */
export async function chooseBackend(options: EngineOptions): Promise<Backend> {
  const [name, which] = options.device.split(':', 2) as [string, string?]
  const create = Object.hasOwn(devices, name) ? devices[name] : undefined
  if (create === undefined) {
    const why = 'this version computes on the CPU only'
    throw new EngineError('DEVICE_UNAVAILABLE', { device: options.device, why, available: Object.keys(devices) })
  }
  return create(options, which)
}
