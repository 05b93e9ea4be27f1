/**
 * One model: architecture, preprocessing, provenance, status.
 */

import { Type } from 'typebox'
import { type ModelRecord, modelSource } from '../catalog/catalog.js'
import type { EngineHost } from '../engine/host/host.js'
import type { Preprocessing } from '../engine/image/preprocessing.js'
import type { TextConfig, TowerDescription, VisionConfig } from '../engine/models/model.js'
import { findModel } from './find-model.js'
import { defineOperation } from './operation.js'
import { type ModelAnswer, ModelId, ModelShape } from './schemas/model.js'

export const model = defineOperation({
  name: 'model',
  kind: 'query',
  scope: 'read',
  summary: 'A model: architecture, preprocessing, provenance, status',
  input: Type.Object({ id: ModelId }, { title: 'ModelInput', additionalProperties: false }),
  output: ModelShape,
  example: { id: 'emoji-clip' },

  async run({ catalog, host }, { id }) {
    return describeModel(await findModel(catalog, id), host)
  },
})

/** A catalogued model as clients see it. */
export function describeModel(record: ModelRecord, host: EngineHost): ModelAnswer {
  const { description, provenance } = record
  const { key } = modelSource(record)
  return {
    id: record.id,
    name: record.name,
    layout: description.layout,
    status: host.status().models.some((loaded) => loaded.key === key) ? 'loaded' : 'available',
    vision: { config: visionConfig(description.vision.config as VisionConfig), ...describeTower(description.vision) },
    text: description.text ? { config: textConfig(description.text.config as TextConfig), ...describeTower(description.text) } : null,
    preprocessing: describePreprocessing(description.preprocessing),
    logitScale: description.logitScale ?? null,
    logitBias: description.logitBias ?? null,
    classLabels: description.classLabels ? [...description.classLabels] : null,
    processing: [...record.processing],
    provenance:
      provenance.kind === 'folder'
        ? { kind: 'folder', name: provenance.name }
        : {
            kind: 'hub',
            repo: provenance.repo,
            revision: provenance.revision,
            requestedRevision: provenance.requestedRevision,
            endpoint: provenance.endpoint,
          },
    license: record.license,
    weightsSha256: record.weightsSha256,
    weightBytes: record.weightBytes,
    files: record.files.map(({ path, bytes, sha256 }) => ({ path, bytes, sha256 })),
    createdAt: record.createdAt.toISOString(),
  }
}

function describePreprocessing({
  resize,
  resample,
  crop,
  rescale,
  mean,
  std,
  mode,
  conversion,
}: Preprocessing): ModelAnswer['preprocessing'] {
  return {
    resize: resize && ('fill' in resize ? { ...resize, fill: [resize.fill].flat() } : { ...resize }),
    resample,
    crop: crop && size(crop),
    rescale,
    mean: [...mean],
    std: [...std],
    mode,
    conversion: conversion ?? 'dropAlpha',
  }
}

function describeTower({ output, hookPoints, nParameters }: TowerDescription) {
  return {
    output: { axes: [...output.axes], shape: [...output.shape] },
    nHookPoints: hookPoints.length,
    nParameters,
  }
}

function transformerConfig(config: VisionConfig | TextConfig) {
  const { nLayers, dModel, nHeads, dHead, dMlp, activation, normalization, normEps, biases, scaleAttention, layerScale, normalizeOutput } =
    config
  return {
    nLayers,
    dModel,
    nHeads,
    dHead,
    ...(dMlp !== undefined && { dMlp }),
    activation,
    normalization,
    normEps,
    biases: { qkv: biases.qkv, attnOut: biases.attnOut, mlp: biases.mlp },
    scaleAttention,
    layerScale,
    normalizeOutput,
  }
}

const head = ({ kind, dOut, bias }: (VisionConfig | TextConfig)['head']) => ({ kind, dOut, bias })
const size = ({ height, width }: { height: number; width: number }) => ({ height, width })

function visionConfig(config: VisionConfig): ModelAnswer['vision']['config'] {
  const { nChannels, patchBias, hasCls, nRegisters, lnPre, finalNorm, pooling } = config
  return {
    ...transformerConfig(config),
    imageSize: size(config.imageSize),
    patchSize: size(config.patchSize),
    nChannels,
    patchBias,
    hasCls,
    nRegisters,
    lnPre,
    finalNorm,
    pooling,
    head: head(config.head),
  }
}

function textConfig(config: TextConfig): NonNullable<ModelAnswer['text']>['config'] {
  const { contextLength, vocabSize, causal, pooling } = config
  return { ...transformerConfig(config), contextLength, vocabSize, causal, pooling: { ...pooling }, head: head(config.head) }
}
