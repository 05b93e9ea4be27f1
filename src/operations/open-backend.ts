/** Where everything computes that does not serve: commands and jobs. */

import { availableParallelism } from 'node:os'
import type { Config } from '../config.js'
import type { Backend } from '../engine/backends/backend.js'
import { chooseBackend } from '../engine/host/choose-backend.js'

/** The first of the configured devices. @throws DEVICE_UNAVAILABLE */
export function openBackend({ devices: [device], deviceBytes, precision }: Config): Promise<Backend> {
  return chooseBackend({ device, deviceBytes, precision, intraOpThreads: availableParallelism() })
}
