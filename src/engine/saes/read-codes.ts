/**
 * Sparse codes as outputs of a graph: of each token, and of each image, the latents that are most active. The selection happens in the
 * graph, so that a code of 49,152 numbers a token is never handed out.
 */

import type { GraphBuilder } from '../graph/builder.js'
import { literal, multiply, sumOver, wholes } from '../graph/expressions.js'
import { activatesInOrder, activateValues } from './architectures/activations.js'
import { type Encoded, encode, type SaeSite } from './encode-decode.js'
import type { SaeConfig } from './sae.js'

/** How many latents are read; 0: none. More than there are is all there are. */
export interface CodeCounts {
  /** Of each token. */
  readonly topK: number
  /** Of each image: by their largest activation over its tokens. */
  readonly imageTopK: number
}

/** Names of values, each with its rows in order of activation, the largest first. An activation of 0 is no latent. */
export interface CodeValues {
  /** `[batch, pos, k]`: float32, and int32 indices of latents. */
  readonly tokens?: { readonly activations: string; readonly latents: string }
  /** `[batch, k]`; `tokens` are int32 indices along `pos`, where the activation is largest. */
  readonly images?: { readonly activations: string; readonly latents: string; readonly tokens: string }
  /** `[batch, pos, n]`: of the chosen latents, in their order. */
  readonly chosen?: string
  /** `[batch, pos]`: 0 where the input is of finite numbers, else NaN. */
  readonly inputs: string
}

/**
 * @param x       `[batch, pos, dIn]`
 * @param prefix  of the SAE's parameters
 * @param chosen  int64 `[n]`: latents that are read of every token, whatever their activation
 */
export function readCodes(
  b: GraphBuilder,
  x: string,
  {
    config,
    prefix,
    topK,
    imageTopK,
    chosen,
  }: CodeCounts & { readonly config: SaeConfig; readonly prefix: string; readonly chosen?: string },
): CodeValues {
  const site: SaeSite = { prefix, axes: ['batch', 'dModel'] }
  // Tokens of all images as one matrix: a single product.
  const encoded = encode(b, b.op('Reshape', [x, wholes(b, [-1, config.dIn])]), config, site)
  const batchAndPos = b.op('Shape', [x], { end: 2 })
  const ranked = rankedBy(encoded, config)
  const activate = (values: string) => (ranked === encoded.latentActs ? values : activateValues(b, values, config, site))
  return {
    ...(topK > 0 && { tokens: tokenCodes(b, ranked, { k: Math.min(topK, mostActive(config)), batchAndPos, activate }) }),
    ...(imageTopK > 0 && {
      images: imageCodes(b, keepsAll(config) ? ranked : encoded.latentActs, {
        k: Math.min(imageTopK, config.dSae),
        dSae: config.dSae,
        batchAndPos,
        activate: keepsAll(config) ? activate : (values) => values,
      }),
    }),
    ...(chosen !== undefined && { chosen: chosenCodes(b, encoded.latentActs, { chosen, batchAndPos }) }),
    inputs: sumOver(b, multiply(b, x, literal(b, 0)), -1, 0),
  }
}

/** What latents are compared by: where activating keeps their order, the pre-activations, so that only the chosen are activated. */
function rankedBy({ pre, latentActs }: Encoded, config: SaeConfig): string {
  return activatesInOrder(config) ? pre : latentActs
}

/** Whether a latent's activation depends on its own pre-activation alone; with top-k it depends on the other latents'. */
const keepsAll = ({ activation }: SaeConfig) => activation !== 'topk'

/** Of one token. */
const mostActive = ({ activation, k, dSae }: SaeConfig) => (activation === 'topk' ? k! : dSae)

interface Selection {
  readonly k: number
  /** The lengths of the first two axes. */
  readonly batchAndPos: string
  /** From what was compared to the activations. */
  readonly activate: (values: string) => string
}

function tokenCodes(b: GraphBuilder, ranked: string, { k, batchAndPos, activate }: Selection): NonNullable<CodeValues['tokens']> {
  const [values, latents] = topK(b, ranked, k)
  const shape = b.op('Concat', [batchAndPos, wholes(b, [k])], { axis: 0 })
  return { activations: b.op('Reshape', [activate(values), shape]), latents: b.op('Reshape', [latents, shape]) }
}

function imageCodes(
  b: GraphBuilder,
  ranked: string,
  { k, dSae, batchAndPos, activate }: Selection & { readonly dSae: number },
): NonNullable<CodeValues['images']> {
  const ofImages = b.op('Reshape', [ranked, b.op('Concat', [batchAndPos, wholes(b, [dSae])], { axis: 0 })])
  const [values, latents] = topK(b, b.op('ReduceMax', [ofImages, wholes(b, [1])], { keepdims: 0 }), k)
  // Only of the chosen latents: where in the image each was largest.
  const everywhere = b.op('Expand', [
    b.op('Unsqueeze', [latents, wholes(b, [1])]),
    b.op('Concat', [batchAndPos, wholes(b, [k])], { axis: 0 }),
  ])
  const chosen = b.op('GatherElements', [ofImages, everywhere], { axis: 2 })
  const tokens = b.op('Cast', [b.op('ArgMax', [chosen], { axis: 1, keepdims: 0 })], { to: 'int32' })
  return { activations: activate(values), latents, tokens }
}

function chosenCodes(b: GraphBuilder, latentActs: string, { chosen, batchAndPos }: { chosen: string; batchAndPos: string }): string {
  return b.op('Reshape', [
    b.op('Gather', [latentActs, chosen], { axis: 1 }),
    b.op('Concat', [batchAndPos, b.op('Shape', [chosen])], { axis: 0 }),
  ])
}

/** Values, and int32 indices. */
function topK(b: GraphBuilder, x: string, k: number): [values: string, indices: string] {
  const [values, indices] = b.opMany('TopK', [x, wholes(b, [k])], { nOutputs: 2, attributes: { axis: -1 } })
  return [values!, b.op('Cast', [indices!], { to: 'int32' })]
}
