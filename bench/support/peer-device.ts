/** The device of the peers in PyTorch: the one that ours run on, where PyTorch has it. */

import { readConfig } from '../../src/config.js'

const { devices, precision } = readConfig({ REFRACT_DEVICE: 'cpu', ...process.env })
const [device = 'cpu'] = devices

export const isAccelerator = device !== 'cpu'
export const computesInFloat32 = precision === 'float32'

/** Arguments of a peer; undefined where PyTorch does not compute on such a device. */
export const peerDevice = /^(cpu|cuda(:\d+)?)$/.test(device) ? ['--device', device, '--precision', precision] : undefined
