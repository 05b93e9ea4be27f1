/** The OV and QK circuits of heads, and how heads read one another, by weights alone. */

import type { Static } from 'typebox'
import { modelSource } from '../catalog/catalog.js'
import type { VisionConfig } from '../engine/models/model.js'
import { Problems, RequestError } from './errors.js'
import { findModel } from './find-model.js'
import { fixedLimits } from './limits.js'
import { type Call, defineOperation } from './operation.js'
import { HeadCompositionInputShape, HeadCompositionShape, WeightCircuitsInputShape, WeightCircuitsShape } from './schemas/weights.js'
import { chosenOf, headSizes } from './weights/chosen-layers.js'

export const weightCircuits = defineOperation({
  name: 'weightCircuits',
  kind: 'query',
  scope: 'run',
  summary: 'Spectra of the OV and QK circuits of heads, and whether they copy',
  input: WeightCircuitsInputShape,
  output: WeightCircuitsShape,
  example: { model: 'emoji-clip', layer: [0, 1] },

  async run(context, input, call) {
    const model = await findModel(context.catalog, input.model)
    const config = model.description.vision.config as VisionConfig
    const problems = new Problems()
    const layers = chosenOf(input.layer, { count: config.nLayers, what: 'blocks', path: 'layer', problems })
    const heads = chosenOf(input.head, { count: config.nHeads, what: 'heads', path: 'head', problems })
    problems.throwIfAny()
    const given = layers.length * heads.length
    if (given > fixedLimits.circuits) {
      const about = {
        limit: 'circuits',
        given,
        maximum: fixedLimits.circuits,
        what: 'heads',
        instead: 'Ask for fewer of "layer" or "head" at a time.',
      } as const
      throw new RequestError('LIMIT_EXCEEDED', about)
    }
    const started = performance.now()
    const found = await context.host.analyse(
      'weightCircuits',
      { model: modelSource(model), input: { layers: layers.map((layer) => ({ layer, heads })), ...headSizes(config) } },
      call.signal,
    )
    call.timing('run', performance.now() - started)
    const plain = ({ singularValues, ...numbers }: (typeof found)[number]['ov']) => ({
      singularValues: Array.from(singularValues),
      ...numbers,
    })
    return { model: model.id, heads: found.map(({ layer, head, ov, qk }) => ({ layer, head, ov: plain(ov), qk: plain(qk) })) }
  },
})

type Composition = Static<typeof HeadCompositionShape>

const DEFAULT_PAIRS = 20

export const headComposition = defineOperation({
  name: 'headComposition',
  kind: 'query',
  scope: 'run',
  summary: 'How much of what one head writes another reads: Q-, K- and V-composition',
  input: HeadCompositionInputShape,
  output: HeadCompositionShape,
  example: { model: 'emoji-clip', from: [0], to: [1, 2] },

  async run(context, input, call) {
    const model = await findModel(context.catalog, input.model)
    const config = model.description.vision.config as VisionConfig
    const problems = new Problems()
    const from = chosenOf(input.from, { count: config.nLayers, what: 'blocks', path: 'from', problems })
    const to = chosenOf(input.to, { count: config.nLayers, what: 'blocks', path: 'to', problems })
    problems.throwIfAny()
    checkSize({ given: 3 * from.length * to.length * config.nHeads ** 2, call })
    const started = performance.now()
    const found = await context.host.analyse(
      'headComposition',
      { model: modelSource(model), input: { from, to, ...headSizes(config) } },
      call.signal,
    )
    call.timing('run', performance.now() - started)
    const { q, k, v, baseline } = found
    return { model: model.id, from, to, baseline, strongest: strongest(found, { from, to, topK: input.topK ?? DEFAULT_PAIRS }), q, k, v }
  },
})

/** @throws LIMIT_EXCEEDED */
function checkSize({ given, call }: { readonly given: number; readonly call: Call }): void {
  if (!call.maxNumbers || given <= call.maxNumbers.value) return
  const { limit, value: maximum } = call.maxNumbers
  const instead = 'Ask for fewer layers, or for "encoding": "base64"; over REST, Accept: application/x-npz has room for more.'
  throw new RequestError('LIMIT_EXCEEDED', { limit, given, maximum, what: 'numbers in the answer', instead })
}

function strongest(
  { q, k, v, baseline }: Pick<Composition, 'q' | 'k' | 'v' | 'baseline'>,
  { from, to, topK }: { readonly from: readonly number[]; readonly to: readonly number[]; readonly topK: number },
): Composition['strongest'] {
  const nHeads = q.shape[1]!
  const pairs = (['q', 'k', 'v'] as const).flatMap((kind) =>
    Array.from({ q, k, v }[kind].data as Float32Array, (score, at) => ({ kind, score, at })).filter(({ score }) => !Number.isNaN(score)),
  )
  return pairs
    .sort((a, b) => b.score - a.score || a.at - b.at)
    .slice(0, topK)
    .map(({ kind, score, at }) => ({
      from: { layer: from[Math.floor(at / nHeads) % from.length]!, head: at % nHeads },
      to: { layer: to[Math.floor(at / (nHeads * from.length * nHeads))]!, head: Math.floor(at / (nHeads * from.length)) % nHeads },
      ...{ kind, score, ratio: score / baseline },
    }))
}
