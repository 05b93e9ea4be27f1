/** What a file of this folder says: how latents are made of the SAE's input. */

import type { GraphBuilder } from '../../graph/builder.js'
import type { Axis } from '../../graph/graph.js'
import type { SaeConfig } from '../sae.js'

/** Where in a graph an SAE stands. */
export interface SaeSite {
  /** Before the names of its parameters and hook points: `''`, or `blocks.9.hook_resid_post.`. */
  readonly prefix: string
  /** Before the names of its hook points, where it has others: of an SAE that stands in a graph more than once. */
  readonly hooks?: string
  /**
   * Of `x` `[batch, pos, dIn]`: only these latents of each row of the batch are encoded, int64 `[batch, n]`. The latents are then
   * `[batch, pos, n]`. Not for `topk`, whose latents depend on one another.
   */
  readonly chosen?: string
  /** Of what it reads; the last axis is encoded. */
  readonly axes: readonly Axis[]
  /** Tokens of a training batch. Given, `batch-topk` selects over the batch; otherwise by its learned threshold. */
  readonly batch?: number
  /**
   * In training: a copy of `b_dec` without a gradient that is taken from the input in its place, and the term that makes up for it in each of
   * the encoder's biases, given its weight. The gradient of `b_dec` then needs no product as large as the others.
   */
  readonly shift?: { readonly value: string; readonly makeUp: (weight: string) => string }
}

export interface Latents {
  readonly latentActs: string
  /** Before the activation; `hook_hidden_pre`. Of a gated SAE its magnitudes', which is no hook point (as in ViT-Prisma). */
  readonly pre: string
  /** Of a gated SAE: what its gate compares with 0. */
  readonly gatePre?: string
}

/** @param saeIn  the input as the encoder gets it, `[..., dIn]` */
export type MakeLatents = (b: GraphBuilder, saeIn: string, config: SaeConfig, site: SaeSite) => Latents
