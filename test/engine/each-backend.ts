/** The backends that tests run on: `describe.each(backends)('... on %s', (backend) => ...)`. */

import type { Backend } from '../../src/engine/backends/backend.js'
import { createOnnxRuntimeBackend } from '../../src/engine/backends/onnxruntime/backend.js'
import { createReferenceBackend } from '../../src/engine/backends/reference/backend.js'
import { createTfjsBackend } from '../../src/engine/backends/tfjs/backend.js'
import type { Graph } from '../../src/engine/graph/graph.js'
import type { Tensor } from '../../src/engine/tensor.js'

export interface BackendUnderTest {
  readonly name: string
  readonly hasFloat64: boolean
  /** Whether an index out of range fails a run; a device may take the nearest one. */
  readonly checksIndices: boolean
  create(): Promise<Backend>
  toString(): string
}

export const underTest = (
  name: string,
  create: () => Promise<Backend>,
  { hasFloat64 = true, checksIndices = true } = {},
): BackendUnderTest => ({
  ...{ name, hasFloat64, checksIndices, create },
  toString: () => name,
})

export const reference = underTest('reference', async () => createReferenceBackend())
export const referenceFloat64 = underTest('reference (float64)', async () => createReferenceBackend({ precision: 'float64' }))
// One thread: the graphs are tiny and the machine is shared.
export const onnxruntime = underTest('onnxruntime', () => createOnnxRuntimeBackend({ intraOpThreads: 1 }))

export const tfjs = underTest('tfjs', () => createTfjsBackend({ flavour: 'cpu' }), { hasFloat64: false })

export const backends: readonly BackendUnderTest[] = [reference, onnxruntime, tfjs]

/** Compiles, uploads, runs once and frees everything. Fetches every output unless told otherwise. */
export async function runOnce(
  backend: Backend,
  graph: Graph,
  {
    inputs = {},
    weights = {},
    fetch = graph.outputs,
  }: { inputs?: Readonly<Record<string, Tensor>>; weights?: Readonly<Record<string, Tensor>>; fetch?: readonly string[] } = {},
): Promise<Record<string, Tensor>> {
  const [program, resident] = await Promise.all([backend.compile(graph), backend.upload(weights)])
  try {
    return await program.run({ inputs, weights: resident, fetch })
  } finally {
    await Promise.all([program.dispose(), resident.dispose()])
  }
}
