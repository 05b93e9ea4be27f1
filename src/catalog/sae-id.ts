/**
 * An SAE's id from what it is: `clip-vit-b-32-datacomp-xl.9-resid-post.vanilla-x64-all`. The model, then the layer and site it reads, then
 * how it encodes, how wide it is (in multiples of the model's width) and the tokens it was trained on.
 */

import { EngineError } from '../engine/errors.js'
import type { SaeFacts } from './saes.js'

const SAE_ID = /^[a-z0-9]+(-[a-z0-9]+)*(\.[a-z0-9]+(-[a-z0-9]+)*){2}$/
const MAX_ID = 200

export function isSaeId(id: string): boolean {
  return SAE_ID.test(id) && id.length <= MAX_ID
}

/** @throws INPUT_INVALID when `id` is not of the form, or is of another model */
export function checkedSaeId(id: string, modelId: string): string {
  if (isSaeId(id) && id.startsWith(`${modelId}.`)) return id
  throw new EngineError('INPUT_INVALID', {
    path: 'id',
    problem: `"${id}" cannot be the id of an SAE of ${modelId}. Ids are the model's, a site and a variant, in lower-case letters, digits and single hyphens: ${modelId}.9-resid-post.vanilla-x64-all.`,
  })
}

export type SaeIdParts = Pick<
  SaeFacts,
  'modelId' | 'hookPointIn' | 'hookPointOut' | 'architecture' | 'k' | 'width' | 'dIn' | 'positions' | 'l1Coefficient'
>

/**
 * The published word for a plain SAE with ReLU is vanilla.
 * @param withL1  for an SAE of which the same model has others that differ only in their L1 coefficient
 */
export function saeIdOf(sae: SaeIdParts, { withL1 = false } = {}): string {
  const { modelId, hookPointIn, hookPointOut, architecture, k, positions, l1Coefficient } = sae
  const variant = [
    hookPointOut === hookPointIn ? '' : 'transcoder',
    architecture === 'standard' ? 'vanilla' : architecture,
    k ?? '',
    widthWord(sae),
    positions ?? '',
    withL1 && l1Coefficient !== null ? `l1-${l1Coefficient.toExponential()}` : '',
  ]
  return `${modelId}.${siteWord(hookPointIn)}.${slugPart(variant.filter((word) => word !== '').join('-'))}`
}

/** The layer of a hook point; null where it is in none. */
export function layerOf(hookPoint: string): number | null {
  const layer = /^(?:\w+\.)?blocks\.(\d+)\./.exec(hookPoint)?.[1]
  return layer === undefined ? null : Number(layer)
}

/** `blocks.9.hook_resid_post` -> `9-resid-post`, `blocks.1.ln2.hook_normalized` -> `1-ln2-normalized`. */
const siteWord = (hookPoint: string) => slugPart(hookPoint.replaceAll(/\b(blocks\.|hook_)/g, ''))

function widthWord({ width, dIn }: SaeIdParts): string {
  if (width === null) return ''
  return dIn !== null && width % dIn === 0 ? `x${width / dIn}` : `w${width}`
}

export const slugPart = (text: string) =>
  text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '')
