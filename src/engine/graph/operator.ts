/**
 * What a row of the operator table says. The rows are in `operators/`, by kind; `operators.ts` is the one table of them.
 */

import type { GraphBuilder } from './builder.js'
import type { OpName } from './op-name.js'
import type { Attribute, Dim, ValueType } from './value-type.js'

export type AttributeSpec =
  | { readonly kind: 'int'; readonly default?: number; readonly allowed?: readonly number[]; readonly required?: true }
  | { readonly kind: 'float'; readonly default?: number; readonly required?: true }
  | { readonly kind: 'ints'; readonly default?: readonly number[]; readonly required?: true }
  | { readonly kind: 'string'; readonly default?: string; readonly allowed: readonly string[]; readonly required?: true }
  /** A dtype, by name. */
  | { readonly kind: 'dtype'; readonly required?: true }

/** A value's type, and the elements of a small int64 vector where they are known before the run (axes, shapes). */
export interface Inferred extends ValueType {
  readonly contents?: readonly Dim[]
}

/** A node as its rule sees it. */
export interface Call {
  /** Undefined: an optional input that is absent. */
  readonly inputs: readonly (Inferred | undefined)[]
  readonly nOutputs: number
  /** With defaults filled in. */
  readonly attributes: Readonly<Record<string, Attribute>>
}

/** The same node as its body sees it: with the names of its inputs, `''` where absent. */
export interface NamedCall extends Call {
  readonly names: readonly string[]
}

/** What an operator's body may do with a builder. */
export type BodyBuilder = Pick<GraphBuilder, 'constant' | 'op'>

export interface Operator {
  /** Fewest and most inputs; those past the fewest are optional. */
  readonly inputs: readonly [min: number, max: number]
  readonly outputs: readonly [min: number, max: number]
  readonly attributes: Readonly<Record<string, AttributeSpec>>
  /** The ONNX operator-set version that last changed this operator, as of `opset` in operators.ts. */
  readonly since: number
  /** Types of the outputs from those of the inputs. @throws RuleViolation */
  readonly infer: (call: Call) => readonly Inferred[]
  /**
   * The operator written with simpler ones, every one of its outputs on the way to those after it in computation. It makes an edit of
   * an inner quantity (LayerNormalization's scale) reach the result; see write-out.ts.
   */
  readonly body?: (builder: BodyBuilder, call: NamedCall) => readonly string[]
  /** For an operator with one input: the operator that undoes it. */
  readonly inverse?: OpName
}

/** Thrown by a rule: why a node's inputs and attributes do not fit. */
export class RuleViolation extends Error {}

export function refuse(message: string): never {
  throw new RuleViolation(message)
}
