/**
 * From the name of a device to a backend that computes there. The only file that names concrete backends.
 */

import type { Backend } from '../backends/backend.js'
import { createOnnxRuntimeBackend, findProvider } from '../backends/onnxruntime/backend.js'
import { createReferenceBackend } from '../backends/reference/backend.js'
import { createTfjsBackend } from '../backends/tfjs/backend.js'
import { EngineError } from '../errors.js'
import { GraphBuilder } from '../graph/builder.js'
import { float32 } from '../tensor.js'
import type { EngineOptions } from './engine-worker-calls.js'

/** @param which  what stands behind the colon of the device's name */
type Create = (options: EngineOptions, which: string | undefined) => Backend | Promise<Backend>

const onnxRuntime: Create = ({ deviceBytes = 0, ...options }) =>
  createOnnxRuntimeBackend({ ...options, ...(deviceBytes > 0 && { deviceBytes }) })

/** By what stands before the colon. */
const devices: Record<string, Create> = {
  cpu: onnxRuntime,
  cuda: onnxRuntime,
  /** Named only: what WebGPU finds may be a driver that computes on the CPU, many times slower than the CPU by itself. */
  webgpu: onnxRuntime,
  coreml: onnxRuntime,
  directml: onnxRuntime,
  /** TensorFlow.js, where the user has installed it: `tfjs`, `tfjs:node-gpu`, `tfjs:node`, `tfjs:wasm`, `tfjs:cpu`. */
  tfjs: (_, flavour = 'auto') => createTfjsBackend({ flavour }),
  /** Plain TypeScript, slow: defines what the operators mean. For tests and for doubts. */
  reference: () => createReferenceBackend(),
}

/** Best first. */
const automatic = ['cuda', 'cpu']

/** What `auto` would have taken rather, and why it did not. */
export interface PassedOver {
  readonly device: string
  readonly why: string
}

/** @throws DEVICE_UNAVAILABLE with what is available */
export async function chooseBackend(options: EngineOptions): Promise<Backend> {
  return options.device === 'auto' ? openAutomatic(options, (device) => open({ ...options, device })) : open(options)
}

/** Opens the best device that works. @throws DEVICE_UNAVAILABLE */
export async function openAutomatic<T>(
  { precision = 'float32' }: Pick<EngineOptions, 'precision'>,
  open: (device: string, passedOver: readonly PassedOver[]) => Promise<T>,
): Promise<T> {
  const passedOver: PassedOver[] = []
  for (const device of automatic) {
    try {
      findProvider(device, precision)
      return await open(device, passedOver)
    } catch (error) {
      passedOver.push({ device, why: (error as Error).message })
    }
  }
  const why = passedOver.map(({ device, why }) => `${device}: ${why}`).join('; ')
  throw new EngineError('DEVICE_UNAVAILABLE', { device: 'auto', why, available: [] })
}

async function open(options: EngineOptions): Promise<Backend> {
  const { device } = options
  const [name, which] = device.split(':', 2) as [string, string?]
  const create = Object.hasOwn(devices, name) ? devices[name] : undefined
  if (create === undefined) {
    throw new EngineError('DEVICE_UNAVAILABLE', { device, why: 'nothing computes there', available: ['auto', ...Object.keys(devices)] })
  }
  const backend = await create(options, which)
  const { precision = 'float32' } = options
  if (backend.precision !== precision) {
    const why = `${backend.name} computes in ${backend.precision}, not in ${precision} (REFRACT_PRECISION)`
    throw new EngineError('DEVICE_UNAVAILABLE', { device, why, available: [] })
  }
  await tryOut(backend, device)
  return backend
}

/** A device may be named, its libraries load, and still nothing be there. @throws DEVICE_UNAVAILABLE */
async function tryOut(backend: Backend, device: string): Promise<void> {
  const b = new GraphBuilder('is anybody there')
  const graph = b.build([b.op('MatMul', [b.input('x', 'float32', [1, 1]), b.parameter('w', [1, 1])])])
  try {
    const one = float32([1, 1], [1])
    const [program, weights] = await Promise.all([backend.compile(graph), backend.upload({ w: one })])
    await program.run({ inputs: { x: one }, weights, fetch: graph.outputs })
    await Promise.all([program.dispose(), weights.dispose()])
  } catch (error) {
    throw new EngineError('DEVICE_UNAVAILABLE', { device, why: (error as Error).message, available: ['cpu', 'reference'] })
  }
}
