/**
 * To a device's memory and back, through programs that do nothing: the binding itself offers neither. (Its own way to read such a tensor ends the
 * process in ONNX Runtime 1.30.)
 */

import type * as Ort from 'onnxruntime-node'
import { GraphBuilder } from '../../graph/builder.js'
import { toOnnx } from '../../graph/to-onnx.js'
import type { DType, Tensor } from '../../tensor.js'
import type { DeviceMemory } from './device-memory.js'
import { fromOrt, toOrt } from './host-weights.js'

export class DeviceMoves {
  readonly #ort: typeof Ort
  readonly #options: Ort.InferenceSession.SessionOptions
  readonly #memory: DeviceMemory
  /** By direction, dtype and rank. */
  readonly #sessions = new Map<string, Promise<Ort.InferenceSession>>()

  constructor(ort: typeof Ort, { options, memory }: { options: Ort.InferenceSession.SessionOptions; memory: DeviceMemory }) {
    this.#ort = ort
    this.#options = options
    this.#memory = memory
  }

  /** A tensor whose data is in the device's memory, to be disposed of. */
  async toDevice(tensor: Tensor): Promise<Ort.Tensor> {
    return this.#move('gpu-buffer', toOrt(this.#ort, tensor))
  }

  async toHost(tensor: Ort.Tensor): Promise<Tensor> {
    return fromOrt(await this.#move('cpu', tensor))
  }

  async #move(to: 'cpu' | 'gpu-buffer', tensor: Ort.Tensor): Promise<Ort.Tensor> {
    const key = `${to} ${tensor.type} ${tensor.dims.length}`
    return this.#memory.attempt('moving weights', async () => {
      const session = this.#sessions.get(key) ?? this.#create(to, tensor)
      this.#sessions.set(key, session)
      session.catch(() => this.#sessions.delete(key))
      return (await (await session).run({ x: tensor })).y!
    })
  }

  #create(to: 'cpu' | 'gpu-buffer', { type, dims }: Ort.Tensor): Promise<Ort.InferenceSession> {
    const b = new GraphBuilder('move')
    const lengths = dims.map((_, axis) => `d${axis}`)
    const graph = b.build([b.named('y', b.op('Identity', [b.input('x', type as DType, lengths)]))])
    return this.#ort.InferenceSession.create(toOnnx(graph), { ...this.#options, preferredOutputLocation: to })
  }
}
