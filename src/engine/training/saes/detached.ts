/** Values that a loss computes with and that no gradient goes back through (PyTorch's `detach`). */

import type { GraphBuilder } from '../../graph/builder.js'

export class Detached {
  readonly #values: string[] = []

  /** A copy of a value that counts as a constant when the graph is differentiated with `stopAt: values`. */
  copy(b: GraphBuilder, value: string): string {
    const copy = b.op('Identity', [value])
    this.#values.push(copy)
    return copy
  }

  get values(): readonly string[] {
    return this.#values
  }
}
