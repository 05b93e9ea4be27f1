/**
 * From the name of a device to a backend that computes there. The only file that names concrete backends.
 */

import type { Backend } from '../backends/backend.js'
import { createOnnxRuntimeBackend } from '../backends/onnxruntime/backend.js'
import { createReferenceBackend } from '../backends/reference/backend.js'
import { EngineError } from '../errors.js'
import type { EngineOptions } from './engine-worker-calls.js'

const devices: Record<string, (options: EngineOptions) => Backend | Promise<Backend>> = {
  /** The fastest there is. */
  auto: ({ intraOpThreads }) => createOnnxRuntimeBackend({ device: 'cpu', intraOpThreads }),
  cpu: ({ intraOpThreads }) => createOnnxRuntimeBackend({ device: 'cpu', intraOpThreads }),
  /** Plain TypeScript, slow: defines what the operators mean. For tests and for doubts. */
  reference: () => createReferenceBackend(),
}

/** @throws DEVICE_UNAVAILABLE with what is available */
export async function chooseBackend(options: EngineOptions): Promise<Backend> {
  const create = Object.hasOwn(devices, options.device) ? devices[options.device] : undefined
  if (create === undefined) {
    const why = 'this version computes on the CPU only'
    throw new EngineError('DEVICE_UNAVAILABLE', { device: options.device, why, available: Object.keys(devices) })
  }
  return create(options)
}
