/**
 * How active a feature is in each patch of pictures: one run of the model, read by the SAE, of which only this feature's activations come
 * back.
 */

import { type ModelRecord, modelSource } from '../catalog/catalog.js'
import { saeSource } from '../catalog/sae-source.js'
import { EngineError } from '../engine/errors.js'
import { nPrefixTokens, patchGrid } from '../engine/hook-points.js'
import type { PictureFile } from '../engine/host/host.js'
import type { PatchValues } from '../engine/image/patch-values.js'
import type { VisionConfig } from '../engine/models/model.js'
import type { ResolvedEdits } from './edits/resolve-edits.js'
import type { DownloadedSae } from './feature-facts/find-feature.js'
import type { Call, Context } from './operation.js'

export interface FeatureRun {
  readonly sae: DownloadedSae
  readonly model: ModelRecord
  readonly index: number
  readonly pictures: readonly PictureFile[]
  readonly resolved?: ResolvedEdits
  /** Where the request names `sae` and `feature`; absent: `sae` and `index` at its top. */
  readonly path?: 'of'
}

/** One for each picture. @throws INPUT_INVALID, IMAGE_INVALID, and what a run throws */
export async function featureActivations({ host }: Context, run: FeatureRun, call: Call): Promise<PatchValues[]> {
  const { sae, model, index, pictures, resolved = { edits: [], editSaes: [] } } = run
  const nPrefix = prefixOf(run)
  const started = performance.now()
  const prepared = await Promise.all(pictures.map((picture) => host.preprocess(picture, model.description.preprocessing, call.signal)))
  call.timing('decode', performance.now() - started)
  const { codes, timings } = await host.codes(
    {
      model: modelSource(model),
      inputs: { kind: 'pictures', pictures: prepared },
      ...resolved,
      saes: [{ sae: saeSource(sae), topK: 0, imageTopK: 0, latents: [index] }],
    },
    call.signal,
  )
  for (const name of ['queue', 'load', 'compile', 'run'] as const) call.timing(name, timings[name])

  const { rows, columns } = patchGrid(model.description.vision.config as VisionConfig)
  const { shape, data } = codes[0]!.chosen!
  const length = shape[1]!
  return pictures.map((_, at) => {
    const ofPosition = data.subarray(at * length, (at + 1) * length)
    const cls = nPrefix > 0 && hasCls(model) ? ofPosition[0] : undefined
    return { rows, columns, values: ofPosition.slice(nPrefix), ...(cls !== undefined && { cls }) }
  })
}

const hasCls = ({ description }: ModelRecord) => (description.vision.config as VisionConfig).hasCls

/** Rows before the first patch at the hook point that the SAE reads. @throws INPUT_INVALID where it has none for each patch */
function prefixOf({ sae, model, index, path }: FeatureRun): number {
  const { hookPoint, dSae } = sae.download.description.config
  if (index >= dSae)
    throw new EngineError('INPUT_INVALID', {
      path: path ? `${path}.feature` : 'index',
      problem: `${index} is out of range; ${sae.id} has 0 to ${dSae - 1}`,
    })
  const { vision } = model.description
  const axes = vision.hookPoints.find(({ name }) => name === hookPoint)?.axes ?? []
  if (axes[1] === 'patch') return 0
  if (axes[1] === 'pos') return nPrefixTokens(vision.config as VisionConfig)
  throw new EngineError('INPUT_INVALID', {
    path: path ? `${path}.sae` : 'sae',
    problem: `${sae.id} reads ${hookPoint}, which has nothing for each patch of a picture`,
  })
}
