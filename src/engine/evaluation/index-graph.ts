/**
 * Statistics of every latent over a batch, as a graph that hands out numbers of latents and not codes. The latents are taken in pieces of some
 * thousand, each with one output for each kind of token: a runtime that goes through the graph from its outputs has done with a piece's codes
 * before it begins with the next, and they never leave the cache. Encoding 49,152 latents at once writes 10 MB a picture to memory.
 *
 * Top-k latents depend on one another, so they are encoded at once; but what is active of them is little, and is handed out as it is.
 *
 * Inputs: `x`, the value of the hook point; unless the latents are top-k, for each kind the tokens whose codes are handed out whole; where
 * pictures are compared, their embeddings at unit length.
 */

import { GraphBuilder } from '../graph/builder.js'
import { above, literal, square, wholes, zerosLike } from '../graph/expressions.js'
import type { Graph } from '../graph/graph.js'
import { prune } from '../graph/prune.js'
import { activatesInOrder } from '../saes/architectures/activations.js'
import { encoderInput, latentsOfInput } from '../saes/encode-decode.js'
import type { SaeConfig } from '../saes/sae.js'
import {
  ACTIVATIONS,
  codesOutput,
  EMBEDDINGS,
  handsOutActive,
  LATENTS,
  type Piece,
  pieces,
  sampledOutput,
  sampleInput,
  weightedOutput,
} from './index-pieces.js'
import { nTokens, type StudiedTokens, sliceOf, takeVectors } from './studied-sae.js'

interface Parts {
  readonly config: SaeConfig
  readonly tokens: StudiedTokens
  /** `[batch, token, dIn]` */
  readonly vectors: string
  readonly embeddings: string | undefined
}

/** @param dEmbed  length of the pictures' embeddings; 0: they are not compared */
export function indexGraph(config: SaeConfig, tokens: StudiedTokens, dEmbed = 0): Graph {
  const b = new GraphBuilder('feature index')
  const value = b.input('x', 'float32', tokens.hookPoint.shape)
  const vectors = takeVectors(b, value, { tokens, place: config, width: config.dIn })
  const embeddings = dEmbed > 0 ? b.input(EMBEDDINGS, 'float32', ['batch', dEmbed]) : undefined
  const parts = { config, tokens, vectors, embeddings }
  return prune(b.build(handsOutActive(config) ? encodedAtOnce(b, parts) : encodedInPieces(b, parts)))
}

function encodedInPieces(b: GraphBuilder, { config, tokens, vectors, embeddings }: Parts): string[] {
  const kinds = tokens.kinds.map((range) => {
    const own = sliceOf(b, vectors, 1, range, nTokens(tokens))
    const site = { prefix: '', hooks: `${range.kind}.`, axes: ['batch', 'dModel'] } as const
    const input = encoderInput(b, b.op('Reshape', [own, wholes(b, [-1, config.dIn])]), config, site)
    return {
      range,
      sample: b.input(sampleInput(range.kind), 'int64', [`${range.kind}Sampled`]),
      latentsOf: ({ prefix, from, to }: Piece) =>
        latentsOfInput(b, input, { ...config, dSae: to - from }, { ...site, prefix, hooks: site.hooks + prefix }),
    }
  })
  const outputs: string[] = []
  for (const piece of pieces(config)) {
    const maxima = kinds.map(({ range, sample, latentsOf }) => {
      const { pre, latentActs } = latentsOf(piece)
      const byPicture = (x: string) => b.op('Reshape', [x, wholes(b, [-1, nTokens(range), piece.to - piece.from])])
      const largest = extreme(b, byPicture(latentActs), { of: 'largest', among: nTokens(range) })
      const total = (x: string) => b.op('ReduceSum', [x, wholes(b, [0])])
      const rows = [
        ...largest,
        ...extreme(b, byPicture(pre), { of: 'smallest', among: nTokens(range) }),
        total(above(b, latentActs, literal(b, 0))),
        total(latentActs),
        total(square(b, latentActs)),
      ]
      outputs.push(b.named(codesOutput(piece, range.kind), b.op('Concat', rows, { axis: 0 })))
      outputs.push(b.named(sampledOutput(piece, range.kind), b.op('Gather', [latentActs, sample], { axis: 0 })))
      return largest[0]
    })
    if (embeddings === undefined) continue
    const scores = maxima.reduce((left, right) => b.op('Max', [left, right]))
    outputs.push(b.named(weightedOutput(piece), b.op('Gemm', [scores, embeddings], { transA: 1 })))
  }
  return outputs
}

function encodedAtOnce(b: GraphBuilder, { config, tokens, vectors, embeddings }: Parts): string[] {
  const site = { prefix: '', axes: ['batch', 'dModel'] } as const
  const input = encoderInput(b, b.op('Reshape', [vectors, wholes(b, [-1, config.dIn])]), config, site)
  const { pre, latentActs } = latentsOfInput(b, input, config, site)
  const isInOrder = activatesInOrder(config)
  const [values, latents] = b.opMany('TopK', [isInOrder ? pre : latentActs, wholes(b, [config.k!])], {
    nOutputs: 2,
    attributes: { axis: -1 },
  })
  const active = isInOrder ? b.op('Relu', [values!]) : values!
  const byPicture = (x: string) => b.op('Reshape', [x, wholes(b, [-1, nTokens(tokens), config.dSae])])
  const pictures = byPicture(pre)
  const codes =
    embeddings === undefined ? undefined : byPicture(b.op('ScatterElements', [zerosLike(b, pre), latents!, active], { axis: -1 }))
  const outputs = [b.named(ACTIVATIONS, active), b.named(LATENTS, b.op('Cast', [latents!], { to: 'int32' }))]
  for (const piece of pieces(config)) {
    for (const range of tokens.kinds) {
      const places = [wholes(b, [range.from, piece.from]), wholes(b, [range.to, piece.to]), wholes(b, [1, 2])]
      const rows = extreme(b, b.op('Slice', [pictures, ...places]), { of: 'smallest', among: nTokens(range) })
      outputs.push(b.named(codesOutput(piece, range.kind), b.op('Concat', rows, { axis: 0 })))
    }
    if (embeddings === undefined) continue
    const scores = b.op('ReduceMax', [sliceOf(b, codes!, 2, piece, config.dSae), wholes(b, [1])], { keepdims: 0 })
    outputs.push(b.named(weightedOutput(piece), b.op('Gemm', [scores, embeddings], { transA: 1 })))
  }
  return outputs
}

/**
 * Of each picture and latent the largest or the smallest of `[batch, token, latents]`, and, unless there is only one token, where it is, the
 * first of equals: `[batch, latents]` each. Picture by picture, since that is what ONNX Runtime shares out among threads.
 */
function extreme(
  b: GraphBuilder,
  x: string,
  { of, among }: { of: 'largest' | 'smallest'; among: number },
): [value: string] | [value: string, where: string] {
  if (among === 1) return [b.op('Squeeze', [x, wholes(b, [1])])]
  const value = b.op(of === 'largest' ? 'ReduceMax' : 'ReduceMin', [x, wholes(b, [1])], { keepdims: 0 })
  const where = b.op('ArgMax', [of === 'largest' ? x : b.op('Neg', [x])], { axis: 1, keepdims: 0 })
  return [value, b.op('Cast', [where], { to: 'float32' })]
}
