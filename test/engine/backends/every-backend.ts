/** For what is about backends: with those that are there on some machines only. */

import { createOnnxRuntimeBackend } from '../../../src/engine/backends/onnxruntime/backend.js'
import { chooseBackend } from '../../../src/engine/host/choose-backend.js'
import { type BackendUnderTest, backends, underTest } from '../each-backend.js'

/** Undefined where no adapter is found. `npm test` finds the one in Chromium, which computes on the CPU (scripts/vulkan.mjs). */
export const webgpu = await findWebgpu()

export const everyBackend: readonly BackendUnderTest[] = [...backends, ...(webgpu ? [webgpu] : [])]

async function findWebgpu(): Promise<BackendUnderTest | undefined> {
  const found = await chooseBackend({ device: 'webgpu', intraOpThreads: 1 }).catch(() => undefined)
  return found && underTest('webgpu', () => createOnnxRuntimeBackend({ device: 'webgpu', intraOpThreads: 1 }), { checksIndices: false })
}
