/**
 * An SAE beside its model, as evaluation and indexing see it: which tokens it is for, of which kinds they are, and how their vectors are taken
 * from a hook point's value and put back.
 */

import { EngineError } from '../errors.js'
import type { GraphBuilder } from '../graph/builder.js'
import { wholes } from '../graph/expressions.js'
import { hookPointsOf, nPrefixTokens } from '../hook-points.js'
import type { HookPointInfo, VisionConfig } from '../models/model.js'
import { fitProblems } from '../saes/fit-model.js'
import { checkSaeConfig, type SaeConfig } from '../saes/sae.js'
import type { Tensor } from '../tensor.js'
import type { TokenKind } from './feature-record.js'

/** The tokens that an SAE is for: all, CLS alone, or the patches alone (neither CLS nor registers). */
export type Positions = 'all' | 'cls' | 'patches'

export interface StudiedSae {
  readonly id: string
  readonly config: SaeConfig
  /** By the names of `saeParameters`. */
  readonly weights: Readonly<Record<string, Tensor>>
  readonly positions: Positions
}

/** Tokens of one kind, along the token axis of a hook point. */
export interface TokenRange {
  readonly kind: TokenKind
  readonly from: number
  readonly to: number
}

/** The tokens of a hook point that an SAE is for: one stretch of its token axis. */
export interface StudiedTokens {
  readonly hookPoint: HookPointInfo
  readonly from: number
  readonly to: number
  /** Length of the token axis. */
  readonly length: number
  /** Within the stretch, counted from its beginning; a kind that there is none of is not listed. */
  readonly kinds: readonly TokenRange[]
  /** Index along `pos` of the stretch's first token: a hook point that has patches only begins after CLS and registers. */
  readonly firstPosition: number
}

export const nTokens = ({ from, to }: { readonly from: number; readonly to: number }): number => to - from

/**
 * @throws INPUT_INVALID for a configuration that contradicts itself, or tokens that there are none of; SAE_MISFIT when the SAE is of another
 *         model
 */
export function studiedTokens(
  { id, config, positions }: Pick<StudiedSae, 'id' | 'config' | 'positions'>,
  model: VisionConfig,
  hookPointName: string = config.hookPoint,
): StudiedTokens {
  checkSaeConfig(config, id)
  const wanted = new Set([config.hookPoint, config.transcoder?.hookPointOut ?? config.hookPoint])
  const hookPoints = hookPointsOf(model, wanted)
  const problems = fitProblems(config, hookPoints)
  if (problems.length > 0) throw new EngineError('SAE_MISFIT', { sae: id, model: 'this model', problems })
  const hookPoint = hookPoints.find(({ name }) => name === hookPointName)!
  const isPooled = hookPoint.axes.length === 2
  const isPatches = hookPoint.axes[1] === 'patch'
  const length = isPooled ? 1 : (hookPoint.shape[1] as number)
  const prefix = isPatches ? 0 : nPrefixTokens(model)
  // What was pooled of a picture is one vector, and counts as its CLS token.
  const all: TokenRange[] = isPooled
    ? [{ kind: 'cls', from: 0, to: 1 }]
    : [
        { kind: 'cls', from: 0, to: !isPatches && model.hasCls ? 1 : 0 },
        { kind: 'register', from: !isPatches && model.hasCls ? 1 : 0, to: prefix },
        { kind: 'patch', from: prefix, to: length },
      ]
  const chosen = all.filter(
    (range) => nTokens(range) > 0 && (positions === 'all' || range.kind === (positions === 'cls' ? 'cls' : 'patch')),
  )
  const [first, last] = [chosen[0], chosen.at(-1)]
  if (!first || !last) {
    throw new EngineError('INPUT_INVALID', { path: `${id}.positions`, problem: `"${hookPointName}" has no ${positions} tokens.` })
  }
  return {
    hookPoint,
    from: first.from,
    to: last.to,
    length,
    kinds: chosen.map(({ kind, from, to }) => ({ kind, from: from - first.from, to: to - first.from })),
    firstPosition: first.from + (isPatches ? nPrefixTokens(model) : 0),
  }
}

/** How vectors lie in a hook point's value. */
export type VectorPlace = Pick<SaeConfig, 'headIndex' | 'flattensHeads'>

/** Of a hook point's value the vectors of some tokens, `[batch, token, width]`. */
export function takeVectors(
  b: GraphBuilder,
  value: string,
  { tokens, place, width }: { tokens: StudiedTokens; place: VectorPlace; width: number },
): string {
  const isPooled = tokens.hookPoint.axes.length === 2
  const withTokens = isPooled ? b.op('Unsqueeze', [value, wholes(b, [1])]) : value
  const chosen = sliceOf(b, withTokens, 1, tokens, tokens.length)
  if (place.headIndex !== undefined) {
    return b.op('Squeeze', [b.op('Gather', [chosen, wholes(b, [place.headIndex])], { axis: 2 }), wholes(b, [2])])
  }
  return place.flattensHeads ? b.op('Reshape', [chosen, wholes(b, [0, 0, width])]) : chosen
}

/** The hook point's value with other vectors in the place of those that `takeVectors` takes. */
export function putVectors(
  b: GraphBuilder,
  value: string,
  vectors: string,
  { tokens, place }: { tokens: StudiedTokens; place: VectorPlace },
): string {
  if (tokens.hookPoint.axes.length === 2) return b.op('Squeeze', [vectors, wholes(b, [1])])
  const shape = tokens.hookPoint.shape as readonly number[]
  const chosen = sliceOf(b, value, 1, tokens, tokens.length)
  return around(b, value, inPlace(), { axis: 1, ...tokens })

  function inPlace(): string {
    if (place.flattensHeads) return b.op('Reshape', [vectors, wholes(b, [-1, nTokens(tokens), shape[2]!, shape[3]!])])
    if (place.headIndex === undefined) return vectors
    const [from, to] = [place.headIndex, place.headIndex + 1]
    return around(b, chosen, b.op('Unsqueeze', [vectors, wholes(b, [2])]), { axis: 2, from, to, length: shape[2]! })
  }
}

/** `[from, to)` of an axis; all of it is the value itself. */
export function sliceOf(
  b: GraphBuilder,
  x: string,
  axis: number,
  range: { readonly from: number; readonly to: number },
  length: number,
): string {
  if (range.from === 0 && range.to === length) return x
  return b.op('Slice', [x, wholes(b, [range.from]), wholes(b, [range.to]), wholes(b, [axis])])
}

/** `value` with `middle` in the place of `[from, to)` of an axis. */
function around(
  b: GraphBuilder,
  value: string,
  middle: string,
  { axis, from, to, length }: { axis: number; from: number; to: number; length: number },
): string {
  const before = from > 0 ? [sliceOf(b, value, axis, { from: 0, to: from }, length)] : []
  const after = to < length ? [sliceOf(b, value, axis, { from: to, to: length }, length)] : []
  const parts = [...before, middle, ...after]
  return parts.length === 1 ? middle : b.op('Concat', parts, { axis })
}
