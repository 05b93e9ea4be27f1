/** SAEs for tests of the catalog: what the engine would say of a tiny one, without files behind it. */

import type { NewSae, SaeDownload } from '../../src/catalog/saes.js'

export function aDownload({ hookPoint = 'blocks.1.hook_resid_post', sha = 'a', folder = '/saes/x' } = {}): SaeDownload {
  return {
    folder,
    files: [{ path: 'weights.pt', bytes: 123, sha256: sha.repeat(64) }],
    weightsSha256: sha.repeat(64),
    weightBytes: 123,
    description: {
      layout: 'vit-prisma',
      form: 'plain',
      files: { weights: 'weights.pt' },
      config: {
        architecture: 'standard',
        activation: 'relu',
        dIn: 8,
        dOut: 8,
        dSae: 32,
        normalization: 'none',
        subtractsDecoderBias: true,
        hookPoint,
      },
      nParameters: 552,
      training: { datasetName: 'pictures', l1Coefficient: 1e-4 },
      resolvedBy: [{ field: 'activation_fn_str', rule: 'ReLU, as there is no k' }],
      saved: {},
    },
  }
}

export function anSae(change: Partial<NewSae> & Pick<NewSae, 'id' | 'modelId'>): NewSae {
  return {
    ...{ release: 'local', suite: 'tests', architecture: 'standard', hookPointIn: 'blocks.1.hook_resid_post' },
    ...{ hookPointOut: 'blocks.1.hook_resid_post', layer: 1, positions: 'all', trainedOn: null, width: 32, dIn: 8, dOut: 8 },
    ...{ k: null, l1Coefficient: null, provenance: { kind: 'folder', name: 'x' }, file: 'weights.pt', license: null, note: null },
    ...change,
  }
}
