/** Gradients by central differences, to check others against. */

import type { Backend } from '../../../src/engine/backends/backend.js'
import type { Graph } from '../../../src/engine/graph/graph.js'
import { elementCount, type Tensor, tensor } from '../../../src/engine/tensor.js'

const step = 1e-5

/**
 * Of the sum of a graph's first output.
 * @param by  names of float64 inputs
 */
export async function differenceQuotients(
  backend: Backend,
  graph: Graph,
  {
    inputs,
    weights = {},
    by,
  }: { inputs: Readonly<Record<string, Tensor>>; weights?: Readonly<Record<string, Tensor>>; by: readonly string[] },
): Promise<Record<string, Tensor>> {
  const [program, resident] = await Promise.all([backend.compile(graph), backend.upload(weights)])
  const valueAt = async (moved: Readonly<Record<string, Tensor>>) => {
    const results = await program.run({ inputs: moved, weights: resident, fetch: [graph.outputs[0]!] })
    return (results[graph.outputs[0]!]!.data as Float64Array).reduce((sum, element) => sum + element, 0)
  }
  const quotients: Record<string, Tensor> = {}
  for (const name of by) {
    const { shape, data } = inputs[name]!
    const quotient = new Float64Array(elementCount(shape))
    for (let at = 0; at < quotient.length; at++) {
      const moved = (by: number) => ({
        ...inputs,
        [name]: tensor('float64', shape, (data as Float64Array).with(at, Number(data[at]) + by)),
      })
      quotient[at] = ((await valueAt(moved(step))) - (await valueAt(moved(-step)))) / (2 * step)
    }
    quotients[name] = tensor('float64', shape, quotient)
  }
  await Promise.all([program.dispose(), resident.dispose()])
  return quotients
}
