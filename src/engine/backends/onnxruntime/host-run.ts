/** The nodes of one run that this process computes: which of them write to the weights' own arrays, and which make new ones. */

import { invariant } from '../../errors.js'
import type { Node } from '../../graph/graph.js'
import { attributesOf } from '../../graph/infer.js'
import { allocate, type Tensor } from '../../tensor.js'
import type { Floats } from './adam-update.js'
import { type HostKernel, hostKernels } from './host-kernels.js'

export interface HostRun {
  /** The outputs of nodes that made new arrays, by name. */
  readonly made: Readonly<Record<string, Tensor>>
  /** The outputs that the others write over their inputs. */
  readonly inPlace: ReadonlySet<string>
  /** Computes those. Throws nothing; until then no weight has changed. */
  finish(): void
}

export interface Surroundings {
  /** Of declared values and of what the session made. */
  valueNamed(name: string): Tensor
  /** Whether an output becomes the weight that an input is, and goes nowhere else. */
  isReplaced(output: string, input: string): boolean
  /** Whether the array of such a weight may be written over, as far as others are concerned. */
  isWritable(input: string): boolean
}

/** An array that a second node, or another input of this one, reads too is not written over. */
export function startHostRun(nodes: readonly Node[], { valueNamed, isReplaced, isWritable }: Surroundings): HostRun {
  const calls = nodes.map((node) => {
    const inputs = node.inputs.map((input) => (input === '' ? undefined : valueNamed(input)))
    return { node, inputs, kernel: hostKernels[node.op]!, attributes: attributesOf(node) }
  })
  const nReaders = new Map<unknown, number>()
  for (const input of calls.flatMap(({ inputs }) => inputs)) if (input) nReaders.set(input.data, (nReaders.get(input.data) ?? 0) + 1)
  const goesBack = ({ node, kernel }: (typeof calls)[number]) =>
    node.outputs.every((output, at) => isReplaced(output, node.inputs[kernel.replaces[at]!]!))
  const isInPlace = (call: (typeof calls)[number]) =>
    goesBack(call) && call.kernel.replaces.every((at) => nReaders.get(call.inputs[at]!.data) === 1 && isWritable(call.node.inputs[at]!))
  const over = calls.filter(isInPlace)
  const made = calls
    .filter((call) => !over.includes(call))
    .flatMap((call) => {
      const { node, inputs, kernel, attributes } = call
      const outputs = emptyLike(
        kernel.replaces.map((at) => inputs[at]!),
        goesBack(call) ? kernel.lasting : undefined,
      )
      compute(kernel, { inputs, outputs, attributes })
      return node.outputs.map((output, at) => [output, outputs[at]!] as const)
    })
  return {
    made: Object.fromEntries(made),
    inPlace: new Set(over.flatMap(({ node }) => node.outputs)),
    finish() {
      for (const { node, inputs, kernel, attributes } of over) {
        compute(kernel, { inputs, outputs: node.outputs.map((_, at) => inputs[kernel.replaces[at]!]!), attributes })
      }
    },
  }
}

function emptyLike(tensors: readonly Tensor[], arrays: HostKernel['lasting']): Tensor[] {
  const made = arrays?.(tensors.map(floatsOf))
  return tensors.map(
    ({ dtype, shape, data }, at) => ({ dtype, shape: [...shape], data: made?.[at] ?? allocate(dtype, data.length) }) as Tensor,
  )
}

interface Call {
  readonly inputs: readonly (Tensor | undefined)[]
  readonly outputs: readonly Tensor[]
  readonly attributes: ReturnType<typeof attributesOf>
}

function compute(kernel: HostKernel, { inputs, outputs, attributes }: Call): void {
  kernel.compute({ inputs: inputs.map((input) => input && floatsOf(input)), outputs: outputs.map(floatsOf), attributes })
}

function floatsOf({ dtype, data }: Tensor): Floats {
  invariant(dtype === 'float32' || dtype === 'float64', `a kernel of this process is given ${dtype}`)
  return data as Floats
}
