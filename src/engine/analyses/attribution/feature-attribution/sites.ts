/** Where SAEs stand in the graph that is attributed: the value that each stands for is its features, what they leave out, and constants. */

import { EngineError } from '../../../errors.js'
import type { GraphBuilder } from '../../../graph/builder.js'
import type { MakeEdit } from '../../../graph/edit.js'
import { add, multiply, subtract } from '../../../graph/expressions.js'
import type { HookPointInfo } from '../../../models/model.js'
import { saePrefix } from '../../../saes/attach-saes.js'
import { encode, encoderInput, finish, outputBias, type SaeSite, skip } from '../../../saes/encode-decode.js'
import type { NormalizedInput } from '../../../saes/normalization.js'
import type { SaeConfig } from '../../../saes/sae.js'
import { writtenBy } from '../../residual-path.js'

export interface Site {
  /** Of its SAE. */
  readonly index: number
  readonly sae: SaeConfig
  /** The hook point that it stands for. */
  readonly hookPoint: string
}

/** Values that nothing goes back through, as they are found; `norms`: whether what a token is divided by is among them. */
export interface Constants {
  readonly stopAt: string[]
  readonly norms: boolean
}

/** Names of values at an SAE's place. */
export const siteNames = (index: number) => ({
  /** `[batch, pos, dIn]`: what the encoder reads. */
  saeIn: `site[${index}]/hook_sae_in`,
  /** Latents, and those times what the decoder's output is multiplied with; `[batch, pos, dSae]`. */
  acts: `site[${index}]/acts`,
  coefficients: `site[${index}]/coefficients`,
  /** `[batch, pos, dOut]`: all but the features (and a skip); of that the error. */
  rest: `site[${index}]/rest`,
  error: `site[${index}]/error`,
  /** `[batch, pos, dOut]`: features and rest, without a skip. */
  whole: `site[${index}]/whole`,
  /** `[batch, pos, dOut]`: where nothing goes back further. */
  node: `site[${index}]/node`,
})

const tokenAxes = ['batch,pos,dModel', 'batch,pos,dMlp']

/** Tokens themselves are nodes up to here; SAEs stand after it. */
const LAST_EMBEDDING = 'hook_full_embed'

/** In the order of the SAEs. @throws INPUT_INVALID naming every one that cannot stand where it does */
export function sitesOf(saes: readonly SaeConfig[], hookPoints: readonly HookPointInfo[]): Site[] {
  const problems = saes.flatMap((sae, index) => {
    const problem = problemOf(sae, hookPoints) ?? twice(saes, index)
    return problem === undefined ? [] : [{ path: `saes[${index}]`, message: problem }]
  })
  const [first] = problems
  if (first) throw new EngineError('INPUT_INVALID', { path: first.path, problem: first.message }, problems)
  return saes.map((sae, index) => ({ index, sae, hookPoint: writtenBy(sae) }))
}

function problemOf(sae: SaeConfig, hookPoints: readonly HookPointInfo[]): string | undefined {
  const written = writtenBy(sae)
  const placeOf = (hookPoint: string) => hookPoints.findIndex(({ name }) => name === hookPoint)
  const holdsTokens = (hookPoint: string) => tokenAxes.includes(hookPoints[placeOf(hookPoint)]?.axes.join() ?? '')
  const isPlain = sae.headIndex === undefined && !sae.flattensHeads
  if (!isPlain || !holdsTokens(written) || !holdsTokens(sae.hookPoint) || placeOf(written) <= placeOf(LAST_EMBEDDING)) {
    return `writes to ${written}; features are attributed where tokens are vectors, after ${LAST_EMBEDDING}: the residual stream, what attention or an MLP writes`
  }
  if (placeOf(sae.hookPoint) > placeOf(written)) return `reads ${sae.hookPoint}, which comes after ${written}, where it writes`
  return undefined
}

function twice(saes: readonly SaeConfig[], index: number): string | undefined {
  const hookPoint = writtenBy(saes[index]!)
  const other = saes.findIndex((each) => writtenBy(each) === hookPoint)
  return other < index ? `writes to ${hookPoint}, as saes[${other}] does; name one of them` : undefined
}

const saeSite = ({ index }: Site): SaeSite => ({ prefix: saePrefix(index), hooks: `site[${index}]/`, axes: ['batch', 'pos', 'dModel'] })

/**
 * The value as features and a rest that nothing goes back through: what comes before the SAE reaches what comes after it through features alone.
 * @param constants  takes the values that nothing goes back through
 */
export function throughFeatures(site: Site, { stopAt, norms }: Constants): MakeEdit {
  return ({ builder: b, value }) => {
    const { sae, index } = site
    const names = siteNames(index)
    const x = sae.transcoder ? b.op('Identity', [sae.hookPoint]) : value
    const encoded = encode(b, x, sae, saeSite(site))
    if (norms) stopAt.push(...statisticsOf(b, encoded.normalized, sae))
    const { prefix } = saeSite(site)
    const acts = b.named(names.acts, b.op('Identity', [encoded.latentActs]))
    const undone = !sae.transcoder || sae.transcoder.denormalizes ? encoded.normalized.scale : undefined
    b.named(names.coefficients, undone === undefined ? b.op('Identity', [acts]) : multiply(b, acts, undone))

    const product = b.op('MatMul', [acts, b.parameter(`${prefix}W_dec`, [sae.dSae, sae.dOut])])
    const reconstruction = finish(b, add(b, product, outputBias(b, sae, saeSite(site))), encoded, sae, saeSite(site))
    b.named(names.error, subtract(b, value, reconstruction))
    const passed = passedOn(b, x, site, undone)
    b.named(names.whole, passed === undefined ? b.op('Identity', [value]) : subtract(b, value, passed))
    const written = undone === undefined ? product : multiply(b, product, undone)
    const explained = passed === undefined ? written : add(b, written, passed)
    const rest = b.named(names.rest, subtract(b, value, explained))
    stopAt.push(rest)
    return add(b, explained, rest)
  }
}

/** The value as one that nothing goes back through but a skip, and the encoder's input beside it: what reaches a feature directly. */
export function cutOff(site: Site, { stopAt, norms }: Constants): MakeEdit {
  return ({ builder: b, value }) => {
    const { sae, index } = site
    const names = siteNames(index)
    const x = sae.transcoder ? b.op('Identity', [sae.hookPoint]) : value
    const { normalized } = encoderInput(b, x, sae, saeSite(site))
    if (norms) stopAt.push(...statisticsOf(b, normalized, sae))
    const passed = passedOn(b, x, site, sae.transcoder?.denormalizes ? normalized.scale : undefined)
    const rest = b.named(names.rest, passed === undefined ? b.op('Identity', [value]) : subtract(b, value, passed))
    stopAt.push(rest)
    const node = b.named(names.node, b.op('Identity', [rest]))
    return passed === undefined ? b.op('Identity', [node]) : add(b, node, passed)
  }
}

/** What a transcoder's skip adds, in the output's units. */
function passedOn(b: GraphBuilder, x: string, site: Site, undone: string | undefined): string | undefined {
  const passed = skip(b, x, site.sae, saeSite(site))
  return passed === undefined || undone === undefined ? passed : multiply(b, passed, undone)
}

/** Statistics of a token that its SAE's input is divided by: constants, as the scales of LayerNorms are. */
function statisticsOf(b: GraphBuilder, { scale }: NormalizedInput, { normalization }: SaeConfig): string[] {
  if (scale === undefined || normalization === 'expected_average_only_in') return []
  // of a constant norm the scale is the reciprocal of what is multiplied with
  const maker = b.nodes().find(({ outputs }) => outputs.includes(scale))!
  return maker.op === 'Reciprocal' ? [scale, maker.inputs[0]!] : [scale]
}
