/** What a catalog's entry says of an SAE, from what its files say. */

import type { SaeDescription } from '../../engine/saes/load-sae.js'
import { layerOf } from '../sae-id.js'
import type { SaeFacts } from '../saes.js'

export function saeFacts(
  { config, training, files }: SaeDescription,
  { source, ...known }: Pick<SaeFacts, 'modelId' | 'provenance' | 'license'> & { readonly source: string },
): Omit<SaeFacts, 'id'> {
  return {
    ...known,
    release: source,
    suite: source,
    architecture: config.architecture,
    hookPointIn: config.hookPoint,
    hookPointOut: config.transcoder?.hookPointOut ?? config.hookPoint,
    layer: layerOf(config.hookPoint),
    positions: training.positions ?? null,
    trainedOn: training.datasetName ?? null,
    width: config.dSae,
    dIn: config.dIn,
    dOut: config.dOut,
    k: config.k ?? null,
    l1Coefficient: training.l1Coefficient ?? null,
    file: files.weights,
    note: null,
  }
}
