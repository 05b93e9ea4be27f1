/**
 * THE one table of operators. They are ONNX's, by name and meaning, at operator set 20; where a row allows less than ONNX does, the row
 * says so. Where ONNX has none, a row may name another domain, or our own: a fused operator with the body that it stands for. Every backend
 * and every check is driven from here.
 *
 * A new operator is its name in op-name.ts, its row in the file of its kind under operators/, its gradient rule under gradients/ (or 'none'), its
 * kernel in the reference backend and its cases in the tests; then `test/fixtures/make/onnx_operators.py` fetches what ONNX says of it.
 */

import { type OpName, opNames } from './op-name.js'
import type { Operator } from './operator.js'
import { alongAxes } from './operators/along-axes.js'
import { convolutions } from './operators/convolution.js'
import { elementwise } from './operators/elementwise.js'
import { gathering } from './operators/gather.js'
import { linearAlgebra } from './operators/linear-algebra.js'
import { shape } from './operators/shape.js'
import { updates } from './operators/updates.js'

export { type OpName, opNames }

/** The ONNX operator set that graphs are written in; Gelu came with it. */
export const opset = 20

export const operators: Readonly<Record<OpName, Operator>> = {
  ...elementwise,
  ...linearAlgebra,
  ...convolutions,
  ...alongAxes,
  ...shape,
  ...gathering,
  ...updates,
}

/** The operator sets of the other domains that runtimes of ONNX know. */
export const domainOpsets = { 'com.microsoft': 1 } as const satisfies Record<Exclude<NonNullable<Operator['domain']>, 'refract'>, number>

/** Where an operator is defined. */
export function definitionPage(op: OpName): string {
  const { domain } = operators[op]
  if (domain === 'refract') return 'src/engine/graph/operators/updates.ts'
  if (domain === undefined) return `https://onnx.ai/onnx/operators/onnx__${op}.html`
  return `https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#${domain}.${op}`
}
