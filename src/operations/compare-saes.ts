/**
 * SAEs of one model, each with each: which features are the same by what they write, and by when they are active.
 */

import type { Static } from 'typebox'
import { type ModelRecord, modelSource } from '../catalog/catalog.js'
import { saeSource } from '../catalog/sae-source.js'
import { agreementOf, stabilityOf } from '../engine/analyses/compare/decoder-agreement.js'
import type { MatchDecodersOutput } from '../engine/analyses/compare/match-decoders.js'
import type { Pooling, SparseRows } from '../engine/analyses/compare/sparse-rows.js'
import { EngineError } from '../engine/errors.js'
import type { Tensor } from '../engine/tensor.js'
import { findCompared, planReads } from './compare/find-compared.js'
import { imagesOfSet } from './compare/image-sets.js'
import { placed, pooledRows } from './compare/pooled-rows.js'
import { requireFull } from './compare/require-full.js'
import { Problems, RequestError } from './errors.js'
import type { DownloadedSae } from './feature-facts/find-feature.js'
import { fixedLimits } from './limits.js'
import { type Call, type Context, defineOperation } from './operation.js'
import { CompareSaesInputShape, CompareSaesShape, type SaePair } from './schemas/compare.js'

type Input = Static<typeof CompareSaesInputShape>

const DEFAULT_TOP_K = 20

export const compareSaes = defineOperation({
  name: 'compareSaes',
  kind: 'query',
  scope: 'run',
  summary: 'SAEs of one model by their decoders: matched features, and how stable they are',
  input: CompareSaesInputShape,
  output: CompareSaesShape,
  example: { saes: ['emoji-clip.4-resid-post.topk-16-x8-all', 'emoji-clip.4-resid-post.vanilla-x8-all'], topK: 10 },

  async run(context, input, call) {
    const { model, saes } = await findCompared(context, input.saes)
    checkWidths(saes)
    checkSize(saes, { input, call })
    const images = input.images && placedIn(input.images, await imagesOfSet(context, input.images, 'images'))
    const started = performance.now()
    const rows = images && (await pooledRows(context, { model, images, reads: planReads({ model, saes }, undefined) }, call))
    const pairs: SaePair[] = []
    const cosines = saes.map((): Float32Array[] => [])
    for (const [first, a] of saes.entries()) {
      for (const [second, b] of saes.entries()) {
        if (second <= first) continue
        const found = await context.host.analyse(
          'matchDecoders',
          { model: modelSource(model), saes: [saeSource(a), saeSource(b)], input: { width: widthOf(b) } },
          call.signal,
        )
        cosines[first]!.push(found.forth.cosines)
        cosines[second]!.push(found.back.cosines)
        const correlations =
          rows && (await correlate(context, { model, a, b, found, rows: [rows[first]!, rows[second]!], pooling: input.pooling }, call))
        pairs.push(pairAnswer(found, { a, b, input, correlations, nImages: images?.length ?? 0 }))
      }
    }
    call.timing('run', performance.now() - started)
    return { model: model.id, pairs, stability: saes.map(({ id }, index) => stability(id, cosines[index]!)) }
  },
})

const widthOf = ({ download }: DownloadedSae) => download.description.config.dSae

const placedIn = (set: NonNullable<Input['images']>, images: Parameters<typeof placed>[0]) =>
  placed(images, (index) => ('images' in set ? `images.images[${index}]` : 'images'))

/** @throws INPUT_INVALID, all at once */
function checkWidths(saes: readonly DownloadedSae[]): void {
  const problems = new Problems()
  const dOut = (sae: DownloadedSae) => sae.download.description.config.dOut
  const [first] = saes as [DownloadedSae]
  for (const [index, sae] of saes.entries()) {
    if (dOut(sae) === dOut(first)) continue
    const path = `saes[${index}]`
    const problem = `${sae.id} writes ${dOut(sae)} numbers, and ${first.id} ${dOut(first)}; decoders of one width can be compared`
    problems.add(path, new EngineError('INPUT_INVALID', { path, problem }))
  }
  problems.throwIfAny()
}

/** @throws LIMIT_EXCEEDED */
function checkSize(saes: readonly DownloadedSae[], { input, call }: { readonly input: Input; readonly call: Call }): void {
  const widths = saes.map(widthOf)
  const ofPairs = (count: (a: number, b: number) => number) =>
    widths.reduce((sum, a, first) => sum + widths.slice(first + 1).reduce((inner, b) => inner + count(a, b), 0), 0)
  const given = ofPairs((a, b) => a * b)
  const maximum = fixedLimits.decoderCosines
  if (given > maximum) {
    throw new RequestError('LIMIT_EXCEEDED', {
      limit: 'decoderCosines',
      given,
      maximum,
      what: 'cosines of features',
      instead: 'Compare fewer SAEs at a time.',
    })
  }
  const numbers = input.full ? ofPairs((a, b) => 4 * a + 2 * b) : 0
  if (call.maxNumbers && numbers > call.maxNumbers.value) {
    const instead =
      'Leave out "full", compare fewer SAEs, or ask for "encoding": "base64"; over REST, Accept: application/x-npz has room for more.'
    throw new RequestError('LIMIT_EXCEEDED', {
      ...{ limit: call.maxNumbers.limit, given: numbers, maximum: call.maxNumbers.value },
      ...{ what: 'numbers in the answer', instead },
    })
  }
}

interface ToCorrelate {
  readonly model: ModelRecord
  readonly a: DownloadedSae
  readonly b: DownloadedSae
  readonly found: MatchDecodersOutput
  readonly rows: readonly [SparseRows, SparseRows]
  readonly pooling: Pooling | undefined
}

function correlate(context: Context, { model, a, b, found, rows, pooling = 'max' }: ToCorrelate, call: Call): Promise<Float64Array> {
  const nLatents = { a: widthOf(a), b: widthOf(b) }
  return context.host.analyse(
    'correlateFeatures',
    { model: modelSource(model), saes: [], input: { a: rows[0], b: rows[1], nLatents, pooling, partners: found.pairs.latents } },
    call.signal,
  )
}

interface About {
  readonly a: DownloadedSae
  readonly b: DownloadedSae
  readonly input: Input
  readonly correlations: Float64Array | undefined
  readonly nImages: number
}

function pairAnswer({ forth, back, pairs }: MatchDecodersOutput, { a, b, input, correlations, nImages }: About): SaePair {
  const matched = [...pairs.latents.entries()].filter(([, partner]) => partner >= 0)
  const sign = input.order === 'worst' ? -1 : 1
  const listed = matched
    .map(([latent, partner]) => ({ a: latent, b: partner, cosine: pairs.cosines[latent]!, correlation: finite(correlations?.[latent]) }))
    .sort((x, y) => sign * (y.cosine - x.cosine) || x.a - y.a)
    .slice(0, input.topK ?? DEFAULT_TOP_K)
  const ofMatched = Float32Array.from({ length: Math.min(pairs.cosines.length, back.cosines.length) }, (_, at) => {
    const latent = matched[at]?.[0]
    return latent === undefined ? 0 : pairs.cosines[latent]!
  })
  const written = ({ download }: DownloadedSae) =>
    download.description.config.transcoder?.hookPointOut ?? download.description.config.hookPoint
  return {
    ...{ a: a.id, b: b.id, sameHookPoint: written(a) === written(b), nMatched: matched.length },
    ...{ forth: agreementOf(forth.cosines), back: agreementOf(back.cosines), matched: agreementOf(ofMatched) },
    correlation: correlations ? correlationOf(correlations, nImages) : null,
    matches: listed,
    forthLatents: input.full ? int32(forth.latents) : null,
    forthCosines: input.full ? floats(forth.cosines) : null,
    backLatents: input.full ? int32(back.latents) : null,
    backCosines: input.full ? floats(back.cosines) : null,
    matchedLatents: input.full ? int32(pairs.latents) : null,
    matchedCosines: input.full ? floats(pairs.cosines) : null,
  }
}

const finite = (value = Number.NaN) => (Number.isFinite(value) ? value : null)
const int32 = (data: Int32Array): Tensor => ({ dtype: 'int32', shape: [data.length], data })
const floats = (data: Float32Array): Tensor => ({ dtype: 'float32', shape: [data.length], data })

function correlationOf(correlations: Float64Array, nImages: number): NonNullable<SaePair['correlation']> {
  const known = correlations.filter(Number.isFinite).sort()
  const n = known.length
  const median = n === 0 ? 0 : (known[Math.floor((n - 1) / 2)]! + known[Math.ceil((n - 1) / 2)]!) / 2
  return { nImages, nPairs: n, mean: n === 0 ? 0 : known.reduce((sum, value) => sum + value, 0) / n, median }
}

const SAME = 0.7

function stability(sae: string, others: readonly Float32Array[]) {
  const means = stabilityOf(others)
  const share = (keep: (latent: number) => boolean) => means.filter((_, latent) => keep(latent)).length / means.length
  return {
    sae,
    mean: means.reduce((sum, value) => sum + value, 0) / means.length,
    inAll: share((latent) => others.every((cosines) => cosines[latent]! > SAME)),
    inNone: share((latent) => others.every((cosines) => cosines[latent]! <= SAME)),
  }
}

/** What the binary forms hold. @throws INPUT_INVALID where nothing was asked for that they could */
export function saeComparisonTensors({ pairs }: Static<typeof CompareSaesShape>, { full }: Input): Record<string, Tensor> {
  requireFull(full)
  const names = ['forthLatents', 'forthCosines', 'backLatents', 'backCosines', 'matchedLatents', 'matchedCosines'] as const
  return Object.fromEntries(
    pairs.flatMap((pair) => names.flatMap((name) => (pair[name] === null ? [] : [[`${pair.a}/${pair.b}/${name}`, pair[name]] as const]))),
  )
}
