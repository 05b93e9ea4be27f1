/** A sweep opened in a job's process: its own engine, what the request stands for, and the pictures as they are needed. */

import { createHash } from 'node:crypto'
import type { Static } from 'typebox'
import { Type } from 'typebox'
import { planSweep, type SweepPlan } from '../../../engine/analyses/steering/sweep-plan.js'
import { createEngineHost } from '../../../engine/host/engine-host.js'
import { ClassEmbeddings } from '../../class-embeddings.js'
import { DrawnPictures } from '../../drawn/drawn-pictures.js'
import { findModel } from '../../find-model.js'
import type { Context } from '../../operation.js'
import { sweepFields } from '../../schemas/sweep.js'
import { PictureEmbeddings } from '../../search/picture-embeddings.js'
import { type ResolvedSweep, resolveSweep } from '../../sweep/resolve-sweep.js'
import type { SweepRun } from '../../sweep/run-sweep.js'
import type { JobContext } from '../job-kind.js'
import { pictureFields, pictureIds, storedPicture } from './sweep-pictures.js'

export const SweepJobShape = Type.Object({ ...sweepFields, ...pictureFields }, { title: 'SweepJob', additionalProperties: false })

export type SweepJobInput = Static<typeof SweepJobShape>

export interface OpenSweep extends SweepRun {
  /** What its numbers depend on. */
  readonly identity: string
  readonly imageIds: readonly string[]
  readonly controlIds: readonly string[]
  /** Ends its threads. */
  close(): Promise<void>
}

/** Of the memory; the other half is for pictures, results, and a server beside. */
const MEMORY_SHARE = 1 / 2

/** Kept for the shards that follow in this process, and gone with it. */
export function openSweep(input: SweepJobInput, job: JobContext): Promise<OpenSweep> {
  return job.keep('sweep', async () => {
    const { catalog, config } = job
    const host = await createEngineHost({
      devices: config.devices,
      memoryBytes: config.memoryMb * 2 ** 20 * MEMORY_SHARE,
      deviceBytes: config.deviceBytes,
      precision: config.precision,
      maxImagePixels: config.maxImagePixels,
    })
    const context: Context = {
      ...{ host, catalog, config },
      classEmbeddings: new ClassEmbeddings(),
      drawnPictures: new DrawnPictures(),
      pictureEmbeddings: new PictureEmbeddings(),
    }
    try {
      return { ...(await open(input, { context, job })), close: () => host.close() }
    } catch (error) {
      await host.close()
      throw error
    }
  })
}

async function open(
  { on, control, ...request }: SweepJobInput,
  { context, job }: { context: Context; job: JobContext },
): Promise<Omit<OpenSweep, 'close'>> {
  const { catalog, blobs, signal } = job
  const { seed = 0 } = request
  const model = await findModel(catalog, request.model)
  const imageIds = await pictureIds(catalog, on, { path: 'input.on', seed })
  const controlIds = control ? await pictureIds(catalog, control, { path: 'input.control', seed }) : []
  const sweep = await resolveSweep(context, request, { model, at: 'input.', call: { signal, timing: () => {} } })
  const plan = planSweep({ ...sweep, nImages: imageIds.length, nCollateral: controlIds.length })
  const all = [...imageIds, ...controlIds]
  const { preprocessing } = model.description
  return {
    ...{ context, sweep, plan, signal, imageIds, controlIds },
    identity: identityOf(plan, sweep, all),
    pictureOf: (image) => context.host.preprocess(storedPicture(blobs, all[image]!), preprocessing),
  }
}

function identityOf({ sites, ...plan }: SweepPlan, { model, saes }: ResolvedSweep, pictures: readonly string[]): string {
  const hash = createHash('sha256')
  for (const { directions } of sites)
    for (const { vector } of directions) hash.update(new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength))
  for (const { direction } of plan.targets) hash.update(new Uint8Array(direction.buffer, direction.byteOffset, direction.byteLength))
  hash.update(JSON.stringify([model.weightsSha256, saes.map(({ key }) => key), plan.op, plan.unit, plan.places, plan.strengths, pictures]))
  return hash.digest('hex')
}
