/**
 * A model as plain data: a graph of ONNX operators over named values. Printing, checking, hashing and editing a graph are
 * functions over this data, one file each beside this one.
 *
 * Terminology
 *   value       a named tensor of the graph: an input, a parameter, a constant or an output of a node
 *   input       fed anew at each run: pixels, token ids, strengths, masks
 *   parameter   a weight, fed by name and shared by every program that uses it
 *   hook point  a value with a published name (`blocks.5.hook_resid_post`) that can be read and edited
 *   structure   everything about a graph except its name: what a compiled program depends on (see hash.ts)
 */

import type { Tensor } from '../tensor.js'
import type { OpName } from './op-name.js'
import type { Attribute, ValueType } from './value-type.js'

export type { Attribute, Dim, ValueType } from './value-type.js'

export interface Node {
  readonly op: OpName
  /** Value names; `''` stands for an absent optional input, as in ONNX. */
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly attributes: Readonly<Record<string, Attribute>>
}

/** Axis names of hook points, in the field's order and spelling. */
export type Axis =
  | 'batch'
  | 'layer'
  | 'pos'
  | 'patch'
  | 'head'
  | 'qPos'
  | 'kPos'
  | 'dModel'
  | 'dHead'
  | 'dMlp'
  | 'dSae'
  | 'nClasses'
  | 'dEmbed'
  | 'scale'

export interface HookPoint {
  readonly name: string
  readonly axes: readonly Axis[]
  /**
   * The values this hook point stands for, in firing order. Nearly always one, of the hook point's own name. With split q/k/v
   * inputs LayerNorm 1 fires three times; an edit applies to every firing, a read returns the last (as in ViT-Prisma).
   */
  readonly firings: readonly string[]
}

/** The values that no node makes. */
export interface Declarations {
  readonly inputs: Readonly<Record<string, ValueType>>
  readonly parameters: Readonly<Record<string, ValueType>>
  /** Small literals (axes, shapes, epsilons); part of the structure. Weights are never constants. */
  readonly constants: Readonly<Record<string, Tensor>>
}

export interface Graph extends Declarations {
  readonly name: string
  /** In topological order. */
  readonly nodes: readonly Node[]
  readonly outputs: readonly string[]
  /** In firing order. */
  readonly hookPoints: readonly HookPoint[]
}
