/** The golden features of test/fixtures/features: SAEs that read the pictures of models/hf-clip, as PyTorch computes them. */

import fs from 'node:fs'
import path from 'node:path'
import type { SaeSource } from '../../../src/engine/host/host.js'
import { openFileSource } from '../../../src/engine/io/byte-source.js'
import { openWeights } from '../../../src/engine/io/weight-file.js'
import type { Tensor } from '../../../src/engine/tensor.js'

export const featureFolder = path.resolve(import.meta.dirname, '../../fixtures/features')

const readJson = (file: string) => JSON.parse(fs.readFileSync(path.join(featureFolder, file), 'utf8'))

export const featureCases = Object.keys((readJson('manifest.json') as { cases: object }).cases)

export const goldenEdit = readJson('edit.json') as { hookPoint: string; op: 'add'; vector: number[]; strength: number; unit: 'raw' }

export const saeSource = (name: string): SaeSource => ({ key: name, folder: path.join(featureFolder, name), overrides: {} })

/** By what follows the SAE's name: `latents`, `tokens/values`, ... */
export async function goldenFeatures(name: string): Promise<Record<string, Tensor<'float32'>>> {
  const file = 'expected.safetensors'
  const opened = await openWeights(await openFileSource(path.join(featureFolder, file), file), file)
  try {
    const own = [...opened.entries.keys()].filter((key) => key.startsWith(`${name}/`))
    const entries = await Promise.all(own.map(async (key) => [key.slice(name.length + 1), await opened.read(key)] as const))
    return Object.fromEntries(entries) as Record<string, Tensor<'float32'>>
  } finally {
    await opened.close()
  }
}

/** Rows of `k` chosen latents: index and value of those that are active. */
export function activeOf(
  { activations, latents }: { readonly activations: Tensor<'float32'>; readonly latents: Tensor },
  more?: Tensor<'int32'>,
): { latent: number; value: number; token?: number }[][] {
  const k = activations.shape.at(-1)!
  const rows = activations.data.length / k
  return Array.from({ length: rows }, (_, row) =>
    Array.from({ length: k }, (_, at) => row * k + at)
      .filter((at) => activations.data[at]! > 0)
      .map((at) => ({ latent: Number(latents.data[at]), value: activations.data[at]!, ...(more && { token: Number(more.data[at]) }) })),
  )
}
