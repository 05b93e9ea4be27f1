/** An SAE where an edit is made: what it reads, as tokens, and what it writes, in the hook point's own shape. */

import { invariant } from '../errors.js'
import type { GraphBuilder } from '../graph/builder.js'
import { wholes } from '../graph/expressions.js'
import { vectors } from '../saes/attach-saes.js'
import { decode, encode, type SaeSite } from '../saes/encode-decode.js'
import type { SaeConfig } from '../saes/sae.js'
import { tensor } from '../tensor.js'
import type { FeatureEdit } from './edit.js'
import type { EditingSae, Place } from './technique.js'

/** The hook point that an SAE writes. */
export const writtenHookPoint = ({ hookPoint, transcoder }: SaeConfig) => transcoder?.hookPointOut ?? hookPoint

/** Of an edit that has been validated. */
export function saeOf({ sae: index }: FeatureEdit, { tower }: Place): EditingSae {
  const sae = tower.saes?.[index]
  invariant(sae, `SAE ${index} of the edits has been validated`)
  return sae
}

/** @param x  the hook point's value: its name makes those of the SAE's hook points its own */
export function siteOf({ prefix }: EditingSae, x: string, chosen?: string): SaeSite {
  return { prefix, hooks: `${x}/`, axes: ['batch', 'pos', 'dModel'], ...(chosen !== undefined && { chosen }) }
}

/** What the SAE reads, `[batch, pos, dIn]`: `x` itself, or of a transcoder its own hook point as it is by then. */
export function tokensOf(b: GraphBuilder, x: string, { config }: EditingSae, { hookPoint, tower }: Place): string {
  const read = config.transcoder ? config.hookPoint : x
  const { axes } = config.transcoder ? tower.hookPoints.find(({ name }) => name === config.hookPoint)! : hookPoint
  return axes.length > 2 ? vectors(b, read, config) : b.op('Unsqueeze', [read, wholes(b, [1])])
}

/** Every latent of every token. */
export interface WholeCode {
  /** `[batch, pos, dSae]` */
  readonly latentActs: string
  /** The reconstruction, `[batch, pos, dOut]`. */
  decoded(): string
}

/** @param tokens  of `tokensOf`; here the rows of one matrix, so that a bias is added within the product */
export function encodeAll(b: GraphBuilder, tokens: string, { config, prefix }: EditingSae, x: string): WholeCode {
  const site: SaeSite = { prefix, hooks: `${x}/all/`, axes: ['batch', 'dModel'] }
  const encoded = encode(b, b.op('Reshape', [tokens, wholes(b, [-1, config.dIn])]), config, site)
  const batchAndPos = b.op('Shape', [tokens], { end: 2 })
  const byToken = (rows: string, width: number) => b.op('Reshape', [rows, b.op('Concat', [batchAndPos, wholes(b, [width])], { axis: 0 })])
  return {
    latentActs: byToken(encoded.latentActs, config.dSae),
    decoded: () => byToken(decode(b, encoded.latentActs, encoded, config, site), config.dOut),
  }
}

/** From `[batch, pos, dOut]` to the hook point's shape; of an SAE of one head the heads' axis has length 1. */
export function asHookPoint(b: GraphBuilder, written: string, { config }: EditingSae, { hookPoint }: Place): string {
  const { shape } = hookPoint
  if (config.headIndex !== undefined) return b.op('Unsqueeze', [written, wholes(b, [2])])
  if (config.flattensHeads) return b.op('Reshape', [written, wholes(b, [0, 0, ...shape.slice(2).map(Number)])])
  return shape.length === 2 ? b.op('Squeeze', [written, wholes(b, [1])]) : written
}

/** `edited` where the SAE writes: everywhere, or at its one head. */
export function whereWritten(
  b: GraphBuilder,
  { edited, x }: { edited: string; x: string },
  { config }: EditingSae,
  { hookPoint }: Place,
): string {
  const { headIndex } = config
  if (headIndex === undefined) return edited
  const isIts = Uint8Array.from({ length: hookPoint.shape[2] as number }, (_, head) => Number(head === headIndex))
  return b.op('Where', [b.constant(tensor('bool', [1, 1, isIts.length, 1], isIts)), edited, x])
}
