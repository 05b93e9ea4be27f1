/**
 * Requests of equal structure as one batch: their feeds, one request's rows after the other's.
 */

import { invariant } from '../errors.js'
import { allocate, type Tensor } from '../tensor.js'
import type { OperandRole } from './technique.js'

/** One request's share of a batch. */
export interface BatchShare {
  readonly nRows: number
  readonly inputs: Readonly<Record<string, Tensor>>
}

/** Concatenates along axis 0; row indices, which count from each request's first row, are moved to where that row is in the batch. */
export function mergeEditInputs(shares: readonly BatchShare[], roles: Readonly<Record<string, OperandRole>>): Record<string, Tensor> {
  return Object.fromEntries(Object.entries(roles).map(([name, role]) => [name, mergeInput(name, role, shares)]))
}

function mergeInput(name: string, role: OperandRole, shares: readonly BatchShare[]): Tensor {
  const tensors = shares.map(({ inputs }) => inputs[name]!)
  const { dtype, shape } = tensors[0]!
  const rowShape = shape.slice(1)
  const agree = tensors.every((each) => each.dtype === dtype && each.shape.slice(1).join() === rowShape.join())
  invariant(agree, `requests of equal structure differ in "${name}"`)
  const data = allocate(
    dtype,
    tensors.reduce((length, each) => length + each.data.length, 0),
  )
  let at = 0
  let firstRow = 0
  for (const [share, { nRows }] of shares.entries()) {
    const part = tensors[share]!.data
    if (role === 'rowIndex')
      (data as BigInt64Array).set(
        (part as BigInt64Array).map((row) => row + BigInt(firstRow)),
        at,
      )
    else (data as Float32Array).set(part as Float32Array, at)
    at += part.length
    firstRow += nRows
  }
  return { dtype, shape: [firstRow, ...rowShape], data } as Tensor
}
