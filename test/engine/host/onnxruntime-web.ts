/** Runs ONNX files as a web page does: by ONNX Runtime's build for browsers, on one thread of WebAssembly. */

import * as ort from 'onnxruntime-web'
import type { ArrayOf, DType, Tensor } from '../../../src/engine/tensor.js'

ort.env.wasm.numThreads = 1

export type Feeds = Readonly<Record<string, Tensor>>

export interface WebSession {
  readonly inputNames: readonly string[]
  readonly outputNames: readonly string[]
  run(feeds: Feeds): Promise<Record<string, Tensor>>
  release(): Promise<void>
}

export async function openOnWeb(model: Uint8Array): Promise<WebSession> {
  const session = await ort.InferenceSession.create(model)
  return {
    inputNames: session.inputNames,
    outputNames: session.outputNames,
    async run(feeds) {
      const given = Object.entries(feeds).map(([name, { dtype, shape, data }]) => [name, new ort.Tensor(dtype, data, shape)])
      const made = await session.run(Object.fromEntries(given))
      return Object.fromEntries(
        Object.entries(made).map(([name, { type, dims, data }]) => [
          name,
          { dtype: type as DType, shape: dims, data: data as ArrayOf[DType] },
        ]),
      )
    },
    release: () => session.release(),
  }
}
