/**
 * The devices that can be named, and what the host has to know of one beside its backend. What computes there is the business of
 * choose-backend.ts.
 */

/** At least one; the same may be there twice. */
export type DeviceList = readonly [string, ...string[]]

const processors = ['cpu', 'reference', 'tfjs', 'tfjs:node', 'tfjs:wasm', 'tfjs:cpu']
const accelerators = ['cuda', 'cuda:<index>', 'webgpu', 'coreml', 'directml', 'directml:<index>', 'tfjs:node-gpu']

/** `cuda:<index>` stands for `cuda:0`, `cuda:1` and so on. */
export const deviceNames: readonly string[] = [...processors, ...accelerators]

const formOf = (name: string) => name.replace(/:\d{1,2}$/, ':<index>')

export const isDeviceName = (name: string) => deviceNames.includes(formOf(name))

export const isAccelerator = (name: string) => accelerators.includes(formOf(name))

/**
 * Rows that are computed together at most. On a CPU, more give no more images a second. An accelerator is not busy with 16; 256 are what one
 * request may hold (REFRACT_MAX_INPUTS), and what they take is bounded in bytes, too.
 */
export const mostRows = (name: string) => (isAccelerator(name) ? 256 : 16)
