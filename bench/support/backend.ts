/** What the benchmarks of the bare engine run on: as the server is told, by `REFRACT_DEVICE` (the first of several; default `cpu`) and `REFRACT_PRECISION`. */

import { readConfig } from '../../src/config.js'
import type { Backend } from '../../src/engine/backends/backend.js'
import { isAccelerator } from '../../src/engine/host/device-names.js'
import { openBackend } from '../../src/operations/open-backend.js'

const config = readConfig({ REFRACT_DEVICE: 'cpu', ...process.env })

const environment = { REFRACT_DEVICE: config.devices.join(','), REFRACT_PRECISION: config.precision }

export const onAccelerator = isAccelerator(config.devices[0])
export const computesInFloat32 = config.precision === 'float32'

/** Arguments of a peer that computes on the same device; undefined where PyTorch has none such. */
export const peerDevice = /^(cpu|cuda(:\d+)?)$/.test(config.devices[0])
  ? ['--device', config.devices[0], '--precision', config.precision]
  : undefined

let isAsTold = false

/** What this benchmark has run on, for its tables: the CPU unless it asked for what it was told. */
export const deviceUsed = () => (isAsTold ? `${environment.REFRACT_DEVICE}, ${environment.REFRACT_PRECISION}` : 'cpu, float32')

/** Of a server that is started. */
export function serverEnvironment() {
  isAsTold = true
  return environment
}

function computeAsTold(): void {
  isAsTold = true
  // as the command line sets it, before NVIDIA's libraries are loaded
  if (config.precision === 'tf32') delete process.env.NVIDIA_TF32_OVERRIDE
  else process.env.NVIDIA_TF32_OVERRIDE = '0'
}

/** What a benchmark starts its host with. */
export function hostDevices() {
  computeAsTold()
  return { devices: config.devices, deviceBytes: config.deviceBytes, precision: config.precision }
}

export function benchBackend(): Promise<Backend> {
  computeAsTold()
  return openBackend(config)
}
