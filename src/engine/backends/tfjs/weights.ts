/** Weights as TensorFlow.js keeps them, in the memory of its device. */

import { invariant } from '../../errors.js'
import { bytesPerElement, elementCount, type Tensor } from '../../tensor.js'
import { combinedNames, type ResidentWeights, type WeightPart } from '../backend.js'
import { checkRead } from '../feeds.js'
import { device, dtypeOf, host, isHost, type Value } from './kernel.js'
import type { Tf } from './library.js'

export abstract class TfWeights implements ResidentWeights {
  abstract readonly names: ReadonlySet<string>
  /** As it is now. */
  abstract get(name: string): Value | undefined
  /** Takes a value as its own. */
  abstract write(name: string, value: Value): void
  abstract dispose(): Promise<void>

  has(name: string): boolean {
    return this.names.has(name)
  }

  get bytes(): number {
    return [...this.names].reduce((sum, name) => {
      const value = this.get(name)!
      return sum + elementCount(value.shape) * bytesPerElement[dtypeOf(value)]
    }, 0)
  }

  async read(names: readonly string[]): Promise<Record<string, Tensor>> {
    checkRead(names, this.names)
    return Object.fromEntries(names.map((name) => [name, owned(host(this.get(name)!))]))
  }
}

/** What nobody else has. */
export function owned(tensor: Tensor): Tensor {
  return { ...tensor, shape: [...tensor.shape], data: tensor.data.slice() } as Tensor
}

export class UploadedWeights extends TfWeights {
  readonly names: ReadonlySet<string>
  readonly #values: Map<string, Value>

  constructor(tf: Tf, weights: Readonly<Record<string, Tensor>>) {
    super()
    this.#values = new Map(Object.entries(weights).map(([name, weight]) => [name, uploaded(tf, weight)]))
    this.names = new Set(this.#values.keys())
  }

  get(name: string): Value | undefined {
    return this.#values.get(name)
  }

  write(name: string, value: Value): void {
    release(this.#values.get(name)!)
    this.#values.set(name, value)
  }

  async dispose(): Promise<void> {
    for (const value of this.#values.values()) release(value)
    this.#values.clear()
  }
}

export class CombinedWeights extends TfWeights {
  readonly names: ReadonlySet<string>
  readonly #found: ReturnType<typeof combinedNames>

  constructor(parts: readonly WeightPart[]) {
    super()
    for (const part of parts) own(part)
    this.#found = combinedNames(parts)
    this.names = new Set(this.#found.keys())
  }

  get(combined: string): Value | undefined {
    const found = this.#found.get(combined)
    return found && own(found.part).get(found.name)
  }

  write(combined: string, value: Value): void {
    const { part, name } = this.#found.get(combined)!
    own(part).write(name, value)
  }

  /** The parts stay. */
  async dispose(): Promise<void> {}
}

function own({ weights }: WeightPart): TfWeights {
  invariant(weights instanceof TfWeights, 'weights are combined where they were not uploaded to')
  return weights
}

/** Floats and truth values on the device, a copy; whole numbers in host memory. */
export function uploaded(tf: Tf, tensor: Tensor): Value {
  const isOnDevice = tensor.dtype === 'float32' || tensor.dtype === 'bool'
  return isOnDevice ? tf.keep(device(tf, owned(tensor))) : tensor
}

export function release(value: Value): void {
  if (!isHost(value)) value.dispose()
}
