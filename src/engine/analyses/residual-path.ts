/**
 * Where features write to the residual stream and where they are read from it: the direct path from one to the other, past all attention and MLPs
 * in between.
 */

import { EngineError } from '../errors.js'
import type { GraphBuilder } from '../graph/builder.js'
import { meanOver, multiply, subtract } from '../graph/expressions.js'
import type { HookPointInfo, VisionConfig } from '../models/model.js'
import type { SaeConfig } from '../saes/sae.js'
import type { Workbench } from './workbench.js'

/** The hook point that an SAE's decoder writes. */
export const writtenBy = ({ hookPoint, transcoder }: SaeConfig) => transcoder?.hookPointOut ?? hookPoint

/** The block of a hook point; undefined outside of blocks. */
export function blockOf(hookPoint: string): number | undefined {
  const found = /^blocks\.(\d+)\./.exec(hookPoint)
  return found ? Number(found[1]) : undefined
}

/** Whether a decoder's rows are directions of the residual stream. */
export function writesToStream(config: SaeConfig, { dModel }: Pick<VisionConfig, 'dModel'>): boolean {
  return config.dOut === dModel && /^blocks\.\d+\.(hook_resid_(pre|mid|post)|hook_attn_out|hook_mlp_out)$/.test(writtenBy(config))
}

/** How an SAE reads the residual stream: as it is, or through a LayerNorm. */
export interface Reading {
  /** `blocks.3.ln2`; undefined where the stream itself is read. */
  readonly norm: string | undefined
}

/** @returns undefined where it does not read the stream, but what a block made of it */
export function readingOf(
  { hookPoint, dIn, headIndex, flattensHeads }: SaeConfig,
  { dModel }: Pick<VisionConfig, 'dModel'>,
): Reading | undefined {
  if (dIn !== dModel || headIndex !== undefined || flattensHeads) return undefined
  if (/^blocks\.\d+\.(hook_resid_(pre|mid|post)|hook_mlp_in)$/.test(hookPoint)) return { norm: undefined }
  const norm = /^(blocks\.\d+\.ln[12])\.hook_normalized$/.exec(hookPoint)?.[1]
  return norm === undefined ? undefined : { norm }
}

/** @throws SAE_MISFIT of an SAE that does not write to the stream */
export function requireWriter({ key, config }: Workbench['saes'][number], { model }: Workbench): void {
  if (writesToStream(config, model.config)) return
  const problems = [`its decoder writes to ${writtenBy(config)}, and not to the residual stream`]
  throw new EngineError('SAE_MISFIT', { sae: key, model: model.key, problems })
}

/** @throws SAE_MISFIT of an SAE that does not read the stream, or not after the other has written to it */
export function requireReader(upstream: Workbench['saes'][number], downstream: Workbench['saes'][number], { model }: Workbench): Reading {
  const refuse = (problem: string) => new EngineError('SAE_MISFIT', { sae: downstream.key, model: model.key, problems: [problem] })
  const reading = readingOf(downstream.config, model.config)
  const { hookPoint } = downstream.config
  if (!reading) throw refuse(`it reads ${hookPoint}, which the residual stream reaches only through what a block makes of it`)
  const place = (name: string) => model.description.vision.hookPoints.findIndex((each: HookPointInfo) => each.name === name)
  const written = writtenBy(upstream.config)
  if (place(written) < place(hookPoint)) return reading
  throw refuse(`it reads ${hookPoint}, which comes before ${written}, where ${upstream.key} writes`)
}

/** Rows of the stream as a LayerNorm hands them on, its scale left out. @param rows  `[batch, dModel]` */
export function readThrough(b: GraphBuilder, rows: string, { norm, model }: Reading & { readonly model: Workbench['model'] }): string {
  if (norm === undefined || model.config.normalization === 'none') return rows
  const centred = subtract(b, rows, meanOver(b, rows, -1))
  const gain = `${norm}.w`
  return model.weights.names.has(gain) ? multiply(b, centred, b.parameter(gain, [model.config.dModel])) : centred
}

/**
 * What one unit of a latent's activation adds to the stream, of rows of its decoder. Where the normalisation of the SAE's input is undone by
 * statistics of the token they are left out, and the row stands for a token whose factor is 1.
 */
export function asWritten(
  b: GraphBuilder,
  rows: string,
  { config, prefix }: { readonly config: SaeConfig; readonly prefix: string },
): string {
  const isUndone = config.normalization === 'expected_average_only_in' && (!config.transcoder || config.transcoder.denormalizes)
  return isUndone ? b.op('Div', [rows, b.parameter(`${prefix}input_scale`, [])]) : rows
}

/** What an SAE's encoder is given of rows: centred where it normalises by `layer_norm`; statistics of the token are left out. */
export function asRead(b: GraphBuilder, rows: string, { config, prefix }: { readonly config: SaeConfig; readonly prefix: string }): string {
  if (config.normalization === 'layer_norm') return subtract(b, rows, meanOver(b, rows, -1))
  return config.normalization === 'expected_average_only_in' ? multiply(b, rows, b.parameter(`${prefix}input_scale`, [])) : rows
}
