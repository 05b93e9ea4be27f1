/**
 * A graph as text that people read and `parse` reads back exactly:
 *
 *     graph "vit"
 *     input pixels: float32[batch, 3, 224, 224]
 *     parameter embed.W: float32[768, 3, 32, 32]
 *     constant "const:int64[1]-1": int64[1] = [-1]
 *     v0:Conv = Conv(pixels, embed.W) strides=[32, 32]
 *     ln1, mean, inverse = LayerNormalization(v0:Conv, w, _) epsilon=0.000001   // float32[batch, 50, 768]
 *     output logits
 *     hook blocks.0.hook_resid_pre [batch, pos, dModel]
 *     hook blocks.0.ln1.hook_scale [batch, pos, scale] = blocks.0.ln1.hook_scale#0, blocks.0.ln1.hook_scale
 *
 * `_` is an absent input; a name that is not plain is in JSON quotes; what follows `//` is for the reader.
 */

import type { Tensor } from '../tensor.js'
import type { Graph, Node } from './graph.js'
import type { Attribute, ValueType } from './value-type.js'

/** Words that begin a line, and `_`; as names they are quoted. */
export const reservedWords: readonly string[] = ['graph', 'input', 'parameter', 'constant', 'output', 'hook', '_']

/** A name that needs no quotes. A colon belongs to it only when something follows. */
export const plainName = /^[A-Za-z_](?:[\w.#@/-]|:(?=\w))*/

/** @param types  when given, each node is followed by what it makes */
export function print(graph: Graph, types?: ReadonlyMap<string, ValueType>): string {
  const lines = [
    `graph ${JSON.stringify(graph.name)}`,
    ...Object.entries(graph.inputs).map(([name, type]) => `input ${printName(name)}: ${printType(type)}`),
    ...Object.entries(graph.parameters).map(([name, type]) => `parameter ${printName(name)}: ${printType(type)}`),
    ...Object.entries(graph.constants).map(
      ([name, literal]) => `constant ${printName(name)}: ${printType(literal)} = ${printElements(literal)}`,
    ),
    ...graph.nodes.map((node) => printNode(node) + (types ? printMade(node, types) : '')),
    ...graph.outputs.map((output) => `output ${printName(output)}`),
    ...graph.hookPoints.map(({ name, axes, firings }) => {
      const fired = firings.length === 1 && firings[0] === name ? '' : ` = ${firings.map(printName).join(', ')}`
      return `hook ${printName(name)} [${axes.join(', ')}]${fired}`
    }),
  ]
  return `${lines.join('\n')}\n`
}

export function printType({ dtype, shape }: ValueType): string {
  return `${dtype}[${shape.join(', ')}]`
}

function printNode({ op, inputs, outputs, attributes }: Node): string {
  const given = inputs.map((input) => (input === '' ? '_' : printName(input))).join(', ')
  const set = Object.entries(attributes).map(([name, value]) => ` ${name}=${printAttribute(value)}`)
  return `${outputs.map(printName).join(', ')} = ${op}(${given})${set.join('')}`
}

function printMade(node: Node, types: ReadonlyMap<string, ValueType>): string {
  const made = node.outputs.map((output) => types.get(output)).map((type) => (type ? printType(type) : '?'))
  return `  // ${made.join(', ')}`
}

function printName(name: string): string {
  const isPlain = plainName.exec(name)?.[0] === name && !reservedWords.includes(name)
  return isPlain ? name : JSON.stringify(name)
}

function printAttribute(value: Attribute): string {
  if (typeof value === 'string') return JSON.stringify(value)
  return typeof value === 'number' ? printNumber(value) : `[${value.map(printNumber).join(', ')}]`
}

function printElements({ data }: Tensor): string {
  return `[${data instanceof BigInt64Array ? data.join(', ') : Array.from(data, printNumber).join(', ')}]`
}

function printNumber(value: number): string {
  return Object.is(value, -0) ? '-0' : String(value)
}
