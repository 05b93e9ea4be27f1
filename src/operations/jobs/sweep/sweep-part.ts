/** What a shard of a sweep found, as bytes: a safetensors file, so that it is the same for the same numbers. */

import type { SweepOutput, SweptRuns } from '../../../engine/analyses/steering/sweep-contract.js'
import { bytesSource } from '../../../engine/io/byte-source.js'
import { readSafetensor, readSafetensorsHeader, safetensorsChunks } from '../../../engine/io/safetensors.js'
import { type Tensor, tensor } from '../../../engine/tensor.js'

const parts = ['defaults', 'points'] as const
const numbers = ['scores', 'probabilities', 'divergences'] as const
const ABOUT = 'sweep'

/** @param of  identity of the sweep, for `partOfSweep` */
export function sweepPart(outputs: readonly SweepOutput[], of: string): Uint8Array {
  const entries = outputs.flatMap((output, piece) => parts.flatMap((part) => entriesOf(`${piece}/${part}`, output[part])))
  return Buffer.concat(safetensorsChunks(entries, { [ABOUT]: of, pieces: String(outputs.length) }))
}

export async function partOfSweep(bytes: Uint8Array): Promise<{ readonly of: string; readonly outputs: readonly SweepOutput[] }> {
  const source = bytesSource(bytes)
  const header = await readSafetensorsHeader(source, 'the result of a shard')
  const read = async <A>(name: string) => (header.entries.has(name) ? ((await readSafetensor(source, header, name)).data as A) : undefined)
  const runs = async (prefix: string): Promise<SweptRuns> => {
    const [probabilities, divergences] = [
      await read<Float32Array>(`${prefix}/probabilities`),
      await read<Float32Array>(`${prefix}/divergences`),
    ]
    const best = await read<Int32Array>(`${prefix}/best`)
    return {
      scores: (await read<Float32Array>(`${prefix}/scores`))!,
      ...(probabilities && { probabilities }),
      ...(divergences && { divergences }),
      ...(best && { best }),
    }
  }
  const outputs: SweepOutput[] = []
  for (let piece = 0; piece < Number(header.metadata.get('pieces')); piece++) {
    outputs.push({ defaults: await runs(`${piece}/defaults`), points: await runs(`${piece}/points`) })
  }
  return { of: header.metadata.get(ABOUT)!, outputs }
}

function entriesOf(prefix: string, runs: SweptRuns): (readonly [string, Tensor])[] {
  const found = numbers.flatMap((name) => {
    const values = runs[name]
    return values ? [[`${prefix}/${name}`, tensor('float32', [values.length], values)] as const] : []
  })
  return [...found, ...(runs.best ? [[`${prefix}/best`, tensor('int32', [runs.best.length], runs.best)] as const] : [])]
}
