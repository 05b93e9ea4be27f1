/**
 * Codes of SAEs as rows of active features, and as sparse matrices.
 */

import { nPrefixTokens, patchGrid } from '../../engine/hook-points.js'
import type { Codes } from '../../engine/host/host.js'
import type { HookPointInfo, TextConfig, VisionConfig } from '../../engine/models/model.js'
import type { Tensor } from '../../engine/tensor.js'
import type { ActiveFeatures, ImageFeature, SaeFeatures } from '../schemas/features.js'
import type { DownloadedSae } from './find-feature.js'

export interface ReadBy {
  readonly sae: DownloadedSae
  readonly hookPoint: HookPointInfo
  /** Those that were read. */
  readonly positions: readonly number[]
  /** Of the model's vision tower. */
  readonly config: VisionConfig | TextConfig
}

export function saeFeaturesOf({ tokens, images }: Codes, { sae, hookPoint, positions, config }: ReadBy): SaeFeatures {
  const patchOf = patchesOf(hookPoint, config as VisionConfig)
  const nPositions = positions.length
  const rows = tokens && activeRows(tokens)
  return {
    sae: sae.id,
    hookPoint: hookPoint.name,
    width: sae.download.description.config.dSae,
    positions: [...positions],
    perPosition: rows
      ? Array.from({ length: rows.length / nPositions }, (_, input) => rows.slice(input * nPositions, (input + 1) * nPositions))
      : null,
    perImage: images ? imageRows(images, { positions, patchOf }) : null,
  }
}

/** The patch that a position is. */
function patchesOf({ axes }: HookPointInfo, config: VisionConfig): (position: number) => ImageFeature['patch'] {
  const first = axes[1] === 'patch' ? 0 : axes[1] === 'pos' ? nPrefixTokens(config) : Number.POSITIVE_INFINITY
  const { columns } = patchGrid(config)
  return (position) => {
    const patch = position - first
    return patch < 0 ? null : { row: Math.floor(patch / columns), col: patch % columns }
  }
}

/** What is active of each row; the largest come first, so the first that is not ends it. */
function activeRows({ activations, latents }: NonNullable<Codes['tokens']>): ActiveFeatures[] {
  const k = activations.shape.at(-1)!
  return Array.from({ length: activations.data.length / k }, (_, row) => {
    const nActive = activeIn(activations, row * k, k)
    return {
      features: Array.from(latents.data.subarray(row * k, row * k + nActive)),
      activations: Array.from(activations.data.subarray(row * k, row * k + nActive)),
    }
  })
}

function imageRows(
  { activations, latents, tokens }: NonNullable<Codes['images']>,
  { positions, patchOf }: { positions: readonly number[]; patchOf: (position: number) => ImageFeature['patch'] },
): ImageFeature[][] {
  const k = activations.shape.at(-1)!
  return Array.from({ length: activations.data.length / k }, (_, row) =>
    Array.from({ length: activeIn(activations, row * k, k) }, (_, index) => {
      const at = row * k + index
      const position = positions[tokens.data[at]!]!
      return { feature: latents.data[at]!, activation: activations.data[at]!, position, patch: patchOf(position) }
    }),
  )
}

function activeIn({ data }: Tensor<'float32'>, from: number, k: number): number {
  let nActive = 0
  while (nActive < k && data[from + nActive]! > 0) nActive++
  return nActive
}

/**
 * The same as compressed sparse rows, for the binary forms: `{sae}/perPosition/...` with a row for each input and position, input by input,
 * and `{sae}/perImage/...` with a row for each input. `scipy.sparse.csr_array((data, indices, indptr), shape=shape)`; the columns of a row
 * ascend.
 */
export function sparseTensors({ saes }: { readonly saes: readonly SaeFeatures[] }): Record<string, Tensor> {
  const tensors: Record<string, Tensor> = {}
  for (const { sae, width, positions, perPosition, perImage } of saes) {
    tensors[`${sae}/positions`] = int32(positions)
    if (perPosition) {
      const rows = perPosition
        .flat()
        .map(({ features, activations }) => features.map((feature, at) => ({ feature, activation: activations[at]! })))
      Object.assign(tensors, prefixed(`${sae}/perPosition`, compressed(rows, width).tensors))
    }
    if (perImage) {
      const { tensors: matrix, sorted } = compressed(perImage, width)
      Object.assign(tensors, prefixed(`${sae}/perImage`, { ...matrix, position: int32(sorted.map(({ position }) => position)) }))
    }
  }
  return tensors
}

type Active = Pick<ImageFeature, 'feature' | 'activation'>

function compressed<T extends Active>(
  rows: readonly (readonly T[])[],
  width: number,
): { tensors: Record<string, Tensor>; sorted: readonly T[] } {
  const sorted = rows.flatMap((row) => row.toSorted((a, b) => a.feature - b.feature))
  const indptr = new Int32Array(rows.length + 1)
  for (const [index, row] of rows.entries()) indptr[index + 1] = indptr[index]! + row.length
  return {
    sorted,
    tensors: {
      data: { dtype: 'float32', shape: [sorted.length], data: Float32Array.from(sorted, ({ activation }) => activation) },
      indices: int32(sorted.map(({ feature }) => feature)),
      indptr: { dtype: 'int32', shape: [indptr.length], data: indptr },
      shape: int32([rows.length, width]),
    },
  }
}

const int32 = (values: readonly number[]): Tensor<'int32'> => ({ dtype: 'int32', shape: [values.length], data: Int32Array.from(values) })

const prefixed = (prefix: string, tensors: Readonly<Record<string, Tensor>>) =>
  Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [`${prefix}/${name}`, tensor]))
