/** What an SAE's decoder looks like, and what of the model it is aligned with. */

import type { Static } from 'typebox'
import { modelSource } from '../catalog/catalog.js'
import { saeSource } from '../catalog/sae-source.js'
import { blockOf, writtenBy } from '../engine/analyses/residual-path.js'
import type { DecoderGeometryOutput } from '../engine/analyses/weights/decoder-geometry.js'
import { EngineError } from '../engine/errors.js'
import type { VisionConfig } from '../engine/models/model.js'
import type { SaeConfig } from '../engine/saes/sae.js'
import type { Tensor } from '../engine/tensor.js'
import { requireFull } from './compare/require-full.js'
import { RequestError } from './errors.js'
import { findRunnableSae } from './feature-facts/find-feature.js'
import { fixedLimits } from './limits.js'
import { type Call, defineOperation } from './operation.js'
import { SaeGeometryInputShape, SaeGeometryShape } from './schemas/weights.js'
import { shareAbove, spreadOfValues } from './weights/spread.js'

type Geometry = Static<typeof SaeGeometryShape>

const NEAR = 0.9

export const saeGeometry = defineOperation({
  name: 'saeGeometry',
  kind: 'query',
  scope: 'run',
  summary: "An SAE's decoder: lengths, neighbours, dimensions, and what it is aligned with",
  input: SaeGeometryInputShape,
  output: SaeGeometryShape,
  example: { sae: 'emoji-clip.4-mlp-out.topk-16-x8-all' },

  async run(context, input, call) {
    const { sae, model } = await findRunnableSae(context.catalog, input.sae)
    const config = sae.download.description.config
    const vision = model.description.vision.config as VisionConfig
    const mlpLayer = layerOf(config, { vision, asked: input.mlpLayer })
    checkSize(config, { full: input.full, call })
    const started = performance.now()
    const { dSae, dOut } = config
    const found = await context.host.analyse(
      'decoderGeometry',
      {
        model: modelSource(model),
        saes: [saeSource(sae)],
        input: { ...(mlpLayer !== undefined && { mlpLayer }), dSae, dOut, dAnswer: vision.head.dOut, dMlp: vision.dMlp ?? 0 },
      },
      call.signal,
    )
    call.timing('run', performance.now() - started)
    return {
      ...{ sae: sae.id, model: model.id, hookPoint: writtenBy(config), width: dSae },
      ...summary(found, vision.dModel),
      ...(input.full ? tensorsOf(found) : noTensors),
    }
  },
})

/** The block whose neurons are looked at; undefined: none. @throws INPUT_INVALID */
function layerOf(
  config: SaeConfig,
  { vision, asked }: { readonly vision: VisionConfig; readonly asked: number | undefined },
): number | undefined {
  const written = writtenBy(config)
  const own = /^blocks\.\d+\.hook_mlp_out$/.test(written) ? blockOf(written) : undefined
  if (asked === undefined) return own
  const refuse = (problem: string) => new EngineError('INPUT_INVALID', { path: 'mlpLayer', problem })
  if (vision.dMlp === undefined) throw refuse('this model has no MLPs')
  if (asked >= vision.nLayers) throw refuse(`${asked} is out of range; the model has blocks 0 to ${vision.nLayers - 1}`)
  if (config.dOut !== vision.dModel) throw refuse(`neurons write to the residual stream, and the SAE to ${written}`)
  return asked
}

/** @throws LIMIT_EXCEEDED */
function checkSize({ dSae }: SaeConfig, { full, call }: { readonly full: boolean | undefined; readonly call: Call }): void {
  const maximum = fixedLimits.decoderCosines
  if (dSae * dSae > maximum) {
    const instead = 'There is no way to ask for less.'
    throw new RequestError('LIMIT_EXCEEDED', { limit: 'decoderCosines', given: dSae * dSae, maximum, what: 'cosines of features', instead })
  }
  const given = full ? 8 * dSae : 0
  if (!call.maxNumbers || given <= call.maxNumbers.value) return
  const instead = 'Leave out "full", or ask for "encoding": "base64"; over REST, Accept: application/x-npz has room for more.'
  const { limit, value } = call.maxNumbers
  throw new RequestError('LIMIT_EXCEEDED', { limit, given, maximum: value, what: 'numbers in the answer', instead })
}

function summary({ norms, nearest, effectiveDimension, answer, neurons }: DecoderGeometryOutput, dModel: number) {
  return {
    norms: spreadOfValues(norms),
    nearest: spreadOfValues(nearest.cosines),
    above90: shareAbove(nearest.cosines, NEAR),
    effectiveDimension,
    answer: answer && {
      rank: answer.rank,
      share: answer.shares && spreadOfValues(answer.shares),
      expected: answer.shares && answer.rank / dModel,
      classCosine: answer.classes && spreadOfValues(answer.classes.cosines),
    },
    neurons: neurons && neuronSummary(neurons),
  }
}

function neuronSummary({ layer, best, expected }: NonNullable<DecoderGeometryOutput['neurons']>) {
  const sizes = best.cosines.map(Math.abs)
  return { layer, cosine: spreadOfValues(sizes), above90: shareAbove(sizes, NEAR), expected }
}

type TensorName =
  | 'rowNorms'
  | 'nearestLatents'
  | 'nearestCosines'
  | 'answerShares'
  | 'classIndices'
  | 'classCosines'
  | 'neuronIndices'
  | 'neuronCosines'

function tensorsOf({ norms, nearest, answer, neurons }: DecoderGeometryOutput): Pick<Geometry, TensorName> {
  return {
    rowNorms: floats(norms),
    nearestLatents: int32(nearest.latents),
    nearestCosines: floats(nearest.cosines),
    answerShares: answer?.shares ? floats(answer.shares) : null,
    classIndices: answer?.classes ? int32(answer.classes.latents) : null,
    classCosines: answer?.classes ? floats(answer.classes.cosines) : null,
    neuronIndices: neurons && int32(neurons.best.latents),
    neuronCosines: neurons && floats(neurons.best.cosines),
  }
}

const noTensors: Readonly<Record<TensorName, null>> = {
  rowNorms: null,
  nearestLatents: null,
  nearestCosines: null,
  answerShares: null,
  classIndices: null,
  classCosines: null,
  neuronIndices: null,
  neuronCosines: null,
}

const int32 = (data: Int32Array): Tensor => ({ dtype: 'int32', shape: [data.length], data })
const floats = (data: Float32Array): Tensor => ({ dtype: 'float32', shape: [data.length], data })

/** What the binary forms hold. @throws INPUT_INVALID where nothing was asked for that they could */
export function geometryTensors(output: Geometry, { full }: Static<typeof SaeGeometryInputShape>): Record<string, Tensor> {
  requireFull(full)
  return Object.fromEntries(
    Object.keys(noTensors).flatMap((name) => (output[name as TensorName] ? [[name, output[name as TensorName]!]] : [])),
  )
}
