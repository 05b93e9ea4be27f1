/**
 * A model from a hook point on: given what the hook point should hold, and what the rest of the model needs of what came before it. The model
 * runs once as it is, and then, for every SAE that is put in, only what comes after it.
 */

import { isSymbol } from '../graph/dims.js'
import { replaceEach } from '../graph/edit.js'
import type { Graph, Node, ValueType } from '../graph/graph.js'
import { inferTypes, type Types } from '../graph/infer.js'

export const replacementInput = 'replacement'

export interface Continuation {
  /** Inputs: `replacement`, of the hook point's type, and what is carried over. The outputs are the model's. */
  readonly graph: Graph
  /** Values of the whole model's graph that the continuation is fed with, by their own names. */
  readonly carried: readonly string[]
}

/** @throws HOOK_POINT_UNKNOWN; EDIT_INVALID when nothing depends on the hook point */
export function continuation(graph: Graph, hookPoint: string, types: Types = inferTypes(graph)): Continuation {
  const edited = replaceEach(
    graph,
    [
      {
        hookPoint,
        edit: ({ builder, type }) => {
          const { dtype, shape } = type()
          return builder.input(replacementInput, dtype, shape)
        },
      },
    ],
    types,
  )
  return cut(edited.graph, edited.types, new Set(graph.nodes.flatMap(({ outputs }) => outputs)))
}

/** @param before  values that the whole model has under the same names */
function cut(graph: Graph, types: Types, before: ReadonlySet<string>): Continuation {
  const producers = new Map(graph.nodes.flatMap((node) => node.outputs.map((output) => [output, node] as const)))
  const after = new Set([replacementInput])
  for (const node of graph.nodes) if (node.inputs.some((input) => after.has(input))) for (const output of node.outputs) after.add(output)
  const kept = new Set<Node>()
  const inputs: Record<string, ValueType> = {}
  const declared = new Set<string>()
  const pending = [...graph.outputs]
  for (let value = pending.pop(); value !== undefined; value = pending.pop()) {
    const producer = producers.get(value)
    if (Object.hasOwn(graph.inputs, value)) inputs[value] = graph.inputs[value]!
    else if (!producer) declared.add(value)
    else if (!after.has(value) && before.has(value) && isFeedable(types, value)) inputs[value] = typeOf(types, value)
    else if (!kept.has(producer)) {
      kept.add(producer)
      pending.push(...producer.inputs.filter((input) => input !== ''))
    }
  }
  const used = <T>(values: Readonly<Record<string, T>>) => Object.fromEntries(Object.entries(values).filter(([name]) => declared.has(name)))
  return {
    graph: {
      ...graph,
      inputs: { [replacementInput]: graph.inputs[replacementInput]!, ...inputs },
      parameters: used(graph.parameters),
      constants: used(graph.constants),
      nodes: graph.nodes.filter((node) => kept.has(node)),
      hookPoints: [],
    },
    carried: Object.keys(inputs).filter((name) => name !== replacementInput),
  }
}

/** Shapes and places are computed anew: as inputs they would no longer be known when the graph is typed. */
function isFeedable(types: Types, value: string): boolean {
  const { dtype, shape } = types.get(value)!
  return dtype !== 'int64' && shape.every((dim) => typeof dim === 'number' || isSymbol(dim))
}

function typeOf(types: Types, value: string): ValueType {
  const { dtype, shape } = types.get(value)!
  return { dtype, shape }
}
