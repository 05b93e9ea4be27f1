/** Rows of decoders, some at a time: their lengths, and what is computed of them in blocks so that no matrix of all pairs ever is. */

import { EngineError } from '../../errors.js'
import { GraphBuilder } from '../../graph/builder.js'
import { normOver } from '../../graph/expressions.js'
import { saePrefix } from '../../saes/attach-saes.js'
import { int64, type Tensor } from '../../tensor.js'
import type { Workbench } from '../workbench.js'

/** Products that are alive at once: 64 MB. */
const PRODUCTS = 2 ** 24
const MOST_ROWS = 4096

/** Rows of a block, each of which has `width` products. */
export const rowsOfBlock = (width: number) => Math.max(1, Math.min(MOST_ROWS, Math.floor(PRODUCTS / Math.max(1, width))))

/** Values of a block of `width` products a row that are alive at once, in bytes; for `cost`. */
export const blockBytes = (width: number, { copies = 3 } = {}) => 4 * copies * rowsOfBlock(width) * width

/** The parameter, and the rows of it that an int64 input `latents` `[batch]` names: `[batch, dOut]`. */
export function decoderRows(
  b: GraphBuilder,
  { config, index }: { readonly config: { readonly dSae: number; readonly dOut: number }; readonly index: number },
): string {
  const rows = b.input('latents', 'int64', ['batch'])
  return b.op('Gather', [b.parameter(`${saePrefix(index)}W_dec`, [config.dSae, config.dOut]), rows], { axis: 0 })
}

/** Runs over indices in blocks; `each` gets them with their tensor. */
export async function inBlocks(
  indices: ArrayLike<number>,
  rows: number,
  each: (block: { readonly from: number; readonly latents: Tensor<'int64'>; readonly indices: readonly number[] }) => Promise<void>,
): Promise<void> {
  for (let from = 0; from < indices.length; from += rows) {
    const some = Array.from({ length: Math.min(rows, indices.length - from) }, (_, at) => indices[from + at]!)
    await each({ from, latents: int64([some.length], some), indices: some })
  }
}

/** Lengths of all rows, and their inverses; 0 of a row that has none. */
export async function decoderNorms(
  bench: Workbench,
  index: number,
): Promise<{ readonly norms: Float32Array; readonly inverse: Float32Array }> {
  const { config, key } = bench.saes[index]!
  const program = await bench.ready(`decoderNorms ${index}`, () => {
    const b = new GraphBuilder('decoder norms')
    return b.build([b.named('norms', normOver(b, decoderRows(b, { config, index }), -1, 0))])
  })
  const norms = new Float32Array(config.dSae)
  await inBlocks(everyIndex(config.dSae), rowsOfBlock(config.dOut), async ({ from, latents }) => {
    norms.set((await program.run({ latents })).norms!.data, from)
  })
  requireFinite(norms, { key, what: 'decoder' })
  return { norms, inverse: norms.map((length) => (length > 0 ? 1 / length : 0)) }
}

/** @throws FILE_INVALID of an SAE whose weights are no numbers, or too large to be squared */
export function requireFinite(lengths: Float32Array, { key, what }: { readonly key: string; readonly what: string }): void {
  const broken = lengths.findIndex((length) => !Number.isFinite(length))
  if (broken >= 0)
    throw new EngineError('FILE_INVALID', { file: key, problem: `the ${what} of latent ${broken} is infinite or no number.` })
}

export const everyIndex = (length: number) => Int32Array.from({ length }, (_, index) => index)

export const pick = (values: Float32Array, indices: ArrayLike<number>) => Float32Array.from(indices, (index) => values[index]!)
