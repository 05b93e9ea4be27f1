/** The golden SAEs of test/fixtures/saes, and what PyTorch, ViT-Prisma's formulas and SAELens computed. */

import fs from 'node:fs'
import path from 'node:path'
import { openFileSource } from '../../../src/engine/io/byte-source.js'
import { openWeights } from '../../../src/engine/io/weight-file.js'
import type { Tensor } from '../../../src/engine/tensor.js'

export const fixtureFolder = path.resolve(import.meta.dirname, '../../fixtures/saes')

export const readJson = (file: string) => JSON.parse(fs.readFileSync(path.join(fixtureFolder, file), 'utf8'))

export async function readTensors(file: string): Promise<Record<string, Tensor<'float32'>>> {
  const opened = await openWeights(await openFileSource(path.join(fixtureFolder, file), file), file)
  try {
    const tensors: Record<string, Tensor<'float32'>> = {}
    for (const name of opened.entries.keys()) tensors[name] = (await opened.read(name)) as Tensor<'float32'>
    return tensors
  } finally {
    await opened.close()
  }
}

/** Of `case/part/name`, those with this beginning, by what follows it. */
export function under(tensors: Readonly<Record<string, Tensor<'float32'>>>, prefix: string): Record<string, Tensor<'float32'>> {
  const found = Object.entries(tensors).filter(([name]) => name.startsWith(`${prefix}/`))
  return Object.fromEntries(found.map(([name, tensor]) => [name.slice(prefix.length + 1), tensor]))
}
