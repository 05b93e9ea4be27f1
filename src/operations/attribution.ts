/**
 * What each part of a model writes straight to a score: direct logit attribution.
 */

import type { Static } from 'typebox'
import { modelSource } from '../catalog/catalog.js'
import { saeSource } from '../catalog/sae-source.js'
import {
  type DirectAttribution,
  type Finer,
  type LargestParts,
  numbersOfImage,
  type SaeParts,
} from '../engine/analyses/attribution/direct-logit-attribution.js'
import { nPositions } from '../engine/hook-points.js'
import type { RunInputs } from '../engine/host/host.js'
import type { VisionConfig } from '../engine/models/model.js'
import { elementCount, type Tensor } from '../engine/tensor.js'
import { stackPictures } from './drawn/stack-pictures.js'
import { Problems, RequestError } from './errors.js'
import type { DownloadedSae } from './feature-facts/find-feature.js'
import { findModel } from './find-model.js'
import { checkSaesFit, findDownloadedSaes } from './find-saes.js'
import { fixedLimits } from './limits.js'
import { loadInputs } from './load-inputs.js'
import { type Call, type Context, defineOperation } from './operation.js'
import { checkTargets, resolveTargets } from './resolve-targets.js'
import { AttributionInputShape, AttributionShape } from './schemas/attribution.js'

type AttributionInput = Static<typeof AttributionInputShape>
type Attribution = Static<typeof AttributionShape>

const DEFAULT_TOP_K = 10

export const attribution = defineOperation({
  name: 'attribution',
  kind: 'query',
  scope: 'run',
  summary: 'What each part of a model writes to a score: by component, head, source token, neuron and SAE feature',
  input: AttributionInputShape,
  output: AttributionShape,
  example: {
    model: 'emoji-clip',
    inputs: [{ image: `sha256:${'0'.repeat(64)}` }],
    targets: [{ text: 'a red apple' }, { difference: [{ text: 'a cat' }, { text: 'a dog' }] }],
    by: ['head', 'source'],
  },

  async run(context, input, call) {
    const model = await findModel(context.catalog, input.model)
    const saes = await findDownloadedSaes(context, input.saes ?? [])
    const problems = new Problems()
    const checked = checkTargets(input.targets, { model }, problems)
    checkSaesFit(saes, model, problems)
    problems.throwIfAny()
    const config = model.description.vision.config as VisionConfig
    checkSize(context, { input, config, saes, call })

    const targets = await resolveTargets(context, checked, call)
    const about = { inputs: input.inputs, preprocessing: model.description.preprocessing }
    const { pictures } = (await loadInputs(context, about, call)) as Extract<RunInputs, { kind: 'pictures' }>
    const by = finerOf(input)
    const numbers = numbersOfImage(config, { nTargets: targets.length, by, saes: saes.map(({ download }) => download.description.config) })
    const started = performance.now()
    const found = await context.host.analyse(
      'directLogitAttribution',
      {
        model: modelSource(model),
        saes: saes.map(saeSource),
        input: { pixels: stackPictures(pictures), targets, by, topK: input.topK ?? DEFAULT_TOP_K, numbers },
      },
      call.signal,
    )
    call.timing('run', performance.now() - started)
    return answer(found, { model: model.id, targets: targets.map(({ label }) => label), saes })
  },
})

/** What the binary forms hold. */
export function attributionTensors(output: Attribution): Record<string, Tensor> {
  const { score, components, remainder, heads, sources, tokens, saes } = output
  const ofSaes = (saes ?? []).flatMap(({ sae, sum, bias, error }) => {
    return Object.entries({ sum, bias, error }).map(([name, value]) => [`${sae}.${name}`, value] as const)
  })
  return {
    score,
    components,
    remainder,
    ...(heads && { heads }),
    ...(sources && { sources }),
    ...(tokens && { tokens }),
    ...Object.fromEntries(ofSaes),
  }
}

function finerOf({ by = [], saes = [] }: AttributionInput): Finer {
  return {
    heads: by.includes('head'),
    sources: by.includes('source'),
    tokens: by.includes('token'),
    neurons: by.includes('neuron'),
    features: saes.length > 0,
  }
}

/** @throws LIMIT_EXCEEDED */
function checkSize(
  context: Context,
  { input, config, saes, call }: { input: AttributionInput; config: VisionConfig; saes: readonly DownloadedSae[]; call: Call },
): void {
  const nInputs = input.inputs.length
  const maximum = context.config.maxInputsPerRequest
  if (nInputs > maximum) {
    const instead = 'Send several smaller requests.'
    throw new RequestError('LIMIT_EXCEEDED', { limit: 'inputs', given: nInputs, maximum, what: 'inputs', instead })
  }
  const by = finerOf(input)
  const topK = input.topK ?? DEFAULT_TOP_K
  const length = nPositions(config)
  const nParts = 4 * config.nLayers + 7
  const perTarget =
    nParts * (by.tokens ? length + 1 : 1) +
    (by.heads ? config.nLayers * config.nHeads : 0) +
    (by.sources ? config.nLayers * config.nHeads * length : 0) +
    (by.neurons ? 4 * config.nLayers * Math.min(topK, config.dMlp ?? 0) : 0) +
    saes.reduce((sum, { download }) => sum + 3 * Math.min(topK, download.description.config.dSae) + 3, 0)
  const given = nInputs * input.targets.length * perTarget
  const fewer = 'Send fewer inputs or targets at a time, or ask for less in "by"'
  const most = fixedLimits.readBytes
  if (4 * given > most) {
    throw new RequestError('LIMIT_EXCEEDED', {
      limit: 'readBytes',
      given: 4 * given,
      maximum: most,
      what: 'bytes of the answer',
      instead: `${fewer}.`,
    })
  }
  if (call.maxNumbers && given > call.maxNumbers.value) {
    const instead = `${fewer}; over REST, Accept: application/x-npz has room for more.`
    const { limit, value } = call.maxNumbers
    throw new RequestError('LIMIT_EXCEEDED', { limit, given, maximum: value, what: 'numbers in the answer', instead })
  }
}

function answer(
  { score, parts, components, remainder, heads, sources, tokens, neurons, features }: DirectAttribution,
  { model, targets, saes }: { model: string; targets: readonly string[]; saes: readonly DownloadedSae[] },
): Attribution {
  return {
    model,
    targets: [...targets],
    score,
    parts: parts.map(({ name, kind, layer = null }) => ({ name, kind, layer })),
    components,
    remainder,
    heads: heads ?? null,
    sources: sources ?? null,
    tokens: tokens ?? null,
    neurons: neurons
      ? listed(neurons).map((ofTargets) => {
          return ofTargets.map((layers) =>
            layers.flatMap((row, layer) => row.map(({ index, ...amount }) => ({ layer, neuron: index, ...amount }))),
          )
        })
      : null,
    saes: features ? features.map((parts, index) => saeAnswer(parts, saes[index]!)) : null,
  }
}

function saeAnswer(parts: SaeParts, { id, download }: DownloadedSae): NonNullable<Attribution['saes']>[number] {
  const { hookPoint, transcoder } = download.description.config
  const { features: sum, bias, error } = parts
  return {
    sae: id,
    hookPoint: transcoder?.hookPointOut ?? hookPoint,
    features: listed(parts).map((ofTargets) => ofTargets.map((rows) => rows.flat())),
    sum,
    bias,
    error,
  }
}

interface Listed {
  readonly index: number
  readonly value: number
  readonly activation: number
}

/** By input, target and row: of `[input, target, k]` a single row, of `[input, target, layer, k]` one a layer. */
function listed({ values, indices, activations }: LargestParts): Listed[][][][] {
  const { shape } = values
  const [nInputs, nTargets, k] = [shape[0]!, shape[1]!, shape.at(-1)!]
  const nRows = elementCount(shape.slice(2, -1))
  const count = (length: number) => Array.from({ length }, (_, at) => at)
  return count(nInputs).map((input) =>
    count(nTargets).map((target) =>
      count(nRows).map((row) => {
        const from = ((input * nTargets + target) * nRows + row) * k
        return count(k).map((at) => ({
          index: indices.data[from + at]!,
          value: values.data[from + at]!,
          activation: activations.data[from + at]!,
        }))
      }),
    ),
  )
}
