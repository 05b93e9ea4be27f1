/**
 * What a row of the operator table says. The rows are in `operators/`, by kind; `operators.ts` is the one table of them.
 */

import type { Tensor } from '../tensor.js'
import type { GraphBuilder } from './builder.js'
import type { Node } from './graph.js'
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

/** What a gradient rule builds with. Asked for a node that there is already, it hands out that one. */
export interface GradientBuilder extends Pick<GraphBuilder, 'constant' | 'op' | 'opMany'> {
  /** What a constant holds; undefined: the value is not one. */
  literal(value: string): Tensor | undefined
  /** The node that makes a value; undefined: it is declared. */
  producer(value: string): Node | undefined
  /** The first output of such a node, if there is one. */
  existing(op: OpName, inputs: readonly string[], attributes?: Readonly<Record<string, Attribute>>): string | undefined
}

/** A node as its gradient rule sees it. */
export interface GradientCall extends NamedCall {
  readonly outputNames: readonly string[]
  readonly outputs: readonly ValueType[]
  /** Of the outputs, each of its output's dtype and shape. Undefined: zero. At least one is there. */
  readonly gradients: readonly (string | undefined)[]
  /** Which inputs need a gradient; they are floats, and no axis of theirs is of length 0. At least one is. */
  readonly wanted: readonly boolean[]
}

/**
 * Gradients of the inputs, in their places, each of its input's dtype and shape; undefined: zero, or not wanted. Nodes for an input that
 * is not wanted need not be avoided where they are shared with one that is; what nothing reads is dropped.
 */
export type GradientRule = (builder: GradientBuilder, call: GradientCall) => readonly (string | undefined)[]

export interface Operator {
  /** Who defines it; absent: ONNX. `refract`: this row does, and it has a body, which is what runtimes of ONNX are given (write-out.ts). */
  readonly domain?: 'com.microsoft' | 'refract'
  /** Fewest and most inputs; those past the fewest are optional. */
  readonly inputs: readonly [min: number, max: number]
  readonly outputs: readonly [min: number, max: number]
  readonly attributes: Readonly<Record<string, AttributeSpec>>
  /** The operator-set version, of its domain, that last changed this operator, as of `opset` in operators.ts. */
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
  /** Reverse mode (differentiate.ts); `none`: the result is piecewise constant, or not of floats; `body`: its body's, which takes its place. */
  readonly gradient: GradientRule | 'none' | 'body'
  /** How many outputs the gradient rule reads; a node that has fewer is given them. */
  readonly gradientOutputs?: number
}

/** Thrown by a rule: why a node's inputs and attributes do not fit. */
export class RuleViolation extends Error {}

export function refuse(message: string): never {
  throw new RuleViolation(message)
}
