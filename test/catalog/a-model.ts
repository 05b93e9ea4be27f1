/** A model for tests of the catalog: what the engine would say of a tiny ViT, without files behind it. */

import type { NewModel } from '../../src/catalog/catalog.js'
import type { VisionConfig } from '../../src/engine/models/model.js'

const config: VisionConfig = {
  nLayers: 2,
  dModel: 8,
  nHeads: 2,
  dHead: 4,
  dMlp: 16,
  activation: 'gelu',
  normalization: 'layerNorm',
  normEps: 1e-6,
  biases: { qkv: true, attnOut: true, mlp: true },
  scaleAttention: true,
  layerScale: false,
  normalizeOutput: false,
  imageSize: { height: 8, width: 8 },
  patchSize: { height: 4, width: 4 },
  nChannels: 3,
  patchBias: true,
  hasCls: true,
  nRegisters: 0,
  lnPre: false,
  finalNorm: 'tokens',
  pooling: 'cls',
  head: { kind: 'classes', dOut: 3, bias: true },
}

export function aModel(change: Partial<NewModel> & { id: string }): NewModel {
  return {
    name: change.id,
    description: {
      layout: 'hf-vit',
      vision: { config, hookPoints: [], output: { axes: ['batch', 'nClasses'], shape: ['batch', 3] }, nParameters: 1234 },
      preprocessing: {
        resize: { kind: 'exact', height: 8, width: 8 },
        resample: 'bicubic',
        crop: null,
        rescale: 1 / 255,
        mean: [0.5, 0.5, 0.5],
        std: [0.5, 0.5, 0.5],
        mode: 'RGB',
      },
      processing: [],
    },
    provenance: { kind: 'folder', name: change.id },
    license: 'mit',
    files: [{ path: 'config.json', bytes: 2, sha256: 'c'.repeat(64) }],
    weightsSha256: 'a'.repeat(64),
    weightBytes: 4321,
    folder: '/models/x',
    processing: [],
    ...change,
  }
}
