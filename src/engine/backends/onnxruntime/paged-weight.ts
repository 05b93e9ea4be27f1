/** One weight, in host memory, in a device's, or in both: then they are the same. */

import type * as Ort from 'onnxruntime-node'
import { bytesPerElement, elementCount, type Tensor } from '../../tensor.js'
import type { Occupant } from './device-memory.js'
import type { DeviceMoves } from './device-moves.js'
import { fromOrt, toOrt } from './host-weights.js'

export class PagedWeight implements Occupant {
  readonly type: Pick<Tensor, 'dtype' | 'shape'>
  readonly bytes: number
  readonly #ort: typeof Ort
  readonly #moves: Pick<DeviceMoves, 'toDevice' | 'toHost'>
  /** Absent where a run has written the weight on the device. */
  #onHost: Ort.Tensor | undefined
  #onDevice: Ort.Tensor | undefined
  /** Moves follow one another. */
  #last: Promise<unknown> = Promise.resolve()

  /** @param weight  stays the caller's: it is not written to */
  constructor(weight: Tensor, { ort, moves }: { readonly ort: typeof Ort; readonly moves: Pick<DeviceMoves, 'toDevice' | 'toHost'> }) {
    this.type = { dtype: weight.dtype, shape: weight.shape }
    this.bytes = elementCount(weight.shape) * bytesPerElement[weight.dtype]
    this.#ort = ort
    this.#moves = moves
    this.#onHost = toOrt(ort, weight)
  }

  /** Whole numbers and truth values, which are few, stay in host memory: not every device computes with them. */
  get isPaged(): boolean {
    return this.type.dtype === 'float32' && this.bytes > 0
  }

  get isOnDevice(): boolean {
    return this.#onDevice !== undefined
  }

  /** As it is fed now. */
  get tensor(): Ort.Tensor {
    return this.#onDevice ?? this.#onHost!
  }

  /** Brings it to the device, where it is not there. */
  bring(): Promise<void> {
    return this.#inTurn(async () => {
      this.#onDevice ??= await this.#moves.toDevice(fromOrt(this.#onHost!))
    })
  }

  leave(): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#onDevice === undefined) return
      this.#onHost ??= toOrt(this.#ort, await this.#moves.toHost(this.#onDevice))
      this.#onDevice.dispose()
      this.#onDevice = undefined
    })
  }

  /** Resolves when no move is under way. */
  async settled(): Promise<void> {
    await this.#last
  }

  /** Takes what a run made as its own, wherever it lies; no move is under way. */
  replace(value: Ort.Tensor): void {
    this.#onDevice?.dispose()
    const isOnHost = value.location === 'cpu'
    this.#onHost = isOnHost ? value : undefined
    this.#onDevice = isOnHost ? undefined : value
  }

  /** A copy of what it is now. */
  async read(): Promise<Tensor> {
    const read = await this.#inTurn(async () => (this.#onHost ? fromOrt(this.#onHost) : this.#moves.toHost(this.#onDevice!)))
    return { dtype: read.dtype, shape: [...read.shape], data: read.data.slice() } as Tensor
  }

  dispose(): Promise<void> {
    return this.#inTurn(async () => {
      this.#onDevice?.dispose()
      this.#onDevice = undefined
      this.#onHost = undefined
    })
  }

  #inTurn<T>(move: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(move)
    this.#last = turn.catch(() => undefined)
    return turn
  }
}
