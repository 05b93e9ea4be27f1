/**
 * Everything that is wrong with a graph, at once: values, order, arities, attributes, shapes, declared types, hook points.
 */

import type { Problem } from '../errors.js'
import { bytesPerElement, elementCount } from '../tensor.js'
import { isSymbol } from './dims.js'
import type { Graph } from './graph.js'
import { graphInvalid, walk } from './infer.js'
import type { ValueType } from './value-type.js'

/** More problems than this are not collected; nobody reads them. */
const mostProblems = 100

/** The problems of a graph, each naming its node or value; at most 100. An empty list: the graph is valid. */
export function findProblems(graph: Graph): readonly Problem[] {
  return check(graph).problems
}

/** The type of every value of a valid graph. @throws GRAPH_INVALID with all problems */
export function validate(graph: Graph): ReadonlyMap<string, ValueType> {
  const { types, problems } = check(graph)
  if (problems.length > 0) throw graphInvalid(graph, problems)
  return types
}

function check(graph: Graph) {
  const problems: Problem[] = []
  const report = (path: string, message: string) => {
    if (problems.length < mostProblems) problems.push({ path, message })
  }
  checkDeclarations(graph, report)
  const types = walk(graph, report)
  checkOutputs(graph, report)
  checkHookPoints(graph, types, report)
  return { types, problems }
}

type Report = (path: string, message: string) => void

function checkDeclarations(graph: Graph, report: Report): void {
  const declared = (kind: string, types: Readonly<Record<string, ValueType>>, allowsSymbols: boolean) => {
    for (const [name, { dtype, shape }] of Object.entries(types)) {
      const path = `${kind}["${name}"]`
      if (name === '') report(path, 'a value needs a name')
      if (!Object.hasOwn(bytesPerElement, dtype)) report(path, `"${dtype}" is not a dtype`)
      for (const dim of shape) {
        const isLength = typeof dim === 'number' ? Number.isSafeInteger(dim) && dim >= 0 : allowsSymbols && isSymbol(dim)
        if (!isLength) report(path, `axis length ${JSON.stringify(dim)} is not a whole number${allowsSymbols ? ' or a symbol' : ''}`)
      }
    }
  }
  declared('inputs', graph.inputs, true)
  declared('parameters', graph.parameters, false)
  declared('constants', graph.constants as Readonly<Record<string, ValueType>>, false)
  for (const [name, literal] of Object.entries(graph.constants)) {
    const expected = elementCount(literal.shape)
    if (literal.data.length !== expected)
      report(`constants["${name}"]`, `has ${literal.data.length} elements for shape [${literal.shape.join(', ')}]`)
  }
}

function checkOutputs(graph: Graph, report: Report): void {
  const seen = new Set<string>()
  for (const [index, output] of graph.outputs.entries()) {
    if (seen.has(output)) report(`outputs[${index}]`, `"${output}" is an output twice`)
    seen.add(output)
  }
  if (graph.outputs.length === 0) report('outputs', 'the graph has no output')
}

function checkHookPoints(graph: Graph, types: ReadonlyMap<string, ValueType>, report: Report): void {
  const seen = new Set<string>()
  for (const { name, axes, firings } of graph.hookPoints) {
    const path = `hookPoints["${name}"]`
    if (seen.has(name)) report(path, 'the name is taken by another hook point')
    seen.add(name)
    if (firings.at(-1) !== name) report(path, 'its last firing must be the value of its own name')
    if (new Set(firings).size !== firings.length) report(path, 'a firing is listed twice')
    for (const firing of firings) {
      const type = types.get(firing)
      if (type && type.shape.length !== axes.length) {
        report(path, `"${firing}" has shape [${type.shape.join(', ')}] and ${axes.length} axes (${axes.join(', ')})`)
      } else if (!type && !isMade(graph, firing)) {
        report(path, `"${firing}" is not a value of the graph`)
      }
    }
  }
}

/** True for a value that exists but could not be typed; that was reported already. */
function isMade(graph: Graph, value: string): boolean {
  return graph.nodes.some((node) => node.outputs.includes(value))
}
