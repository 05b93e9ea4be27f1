/** A catalog with a tiny CLIP, SAEs of it and a data set of pictures in the blob store; and jobs done in this process, a shard at a time. */

import fs from 'node:fs/promises'
import path from 'node:path'
import sharp from 'sharp'
import type { Catalog } from '../../../src/catalog/catalog.js'
import { importSae } from '../../../src/catalog/import/import-sae.js'
import { type Config, readConfig } from '../../../src/config.js'
import { describeModel } from '../../../src/engine/models/load.js'
import { createRandom } from '../../../src/engine/random.js'
import { describeSae } from '../../../src/engine/saes/load-sae.js'
import type { JobContext, JobKind, Json, Parts } from '../../../src/operations/jobs/job-kind.js'
import { onnxruntime } from '../../engine/each-backend.js'
import { folderOf } from '../../engine/models/fixtures.js'
import { featureFolder } from '../../engine/saes/feature-goldens.js'

export const model = 'hf-clip'
export const saes = [`${model}.1-resid-post.relu`, `${model}.0-mlp-out.topk`] as const
export const N_PICTURES = 22

export async function addStudy(catalog: Catalog, dataDir: string): Promise<{ pictures: string; config: Config }> {
  await addModel(catalog, model)
  const hub = { hubEndpoint: '', hubToken: '', hubHome: '', hubCache: '' }
  for (const id of saes) {
    await importSae({
      ...{ source: path.join(featureFolder, id.split('.').at(-1)!), id, model, catalog, config: { dataDir, ...hub } },
      inspectSae: (sae) => describeSae(sae.folder, { overrides: sae.overrides }),
    })
  }
  const pictures = path.join(dataDir, 'pictures')
  const items = []
  for (let index = 0; index < N_PICTURES; index++) {
    const bytes = await picture(index)
    const label = index % 2
    const name = `${classNames[label]}/${String(index).padStart(2, '0')}.png`
    await fs.mkdir(path.join(pictures, classNames[label]!), { recursive: true })
    await fs.writeFile(path.join(pictures, name), bytes)
    const imageId = `sha256:${await catalog.blobs.put(bytes)}`
    items.push({ name, imageId, label, facets: { animal: classNames[label]!, third: index % 3 } })
  }
  await catalog.datasets.register({
    ...{ id: 'animals', name: 'Animals', hash: 'a'.repeat(64), classNames, description: null, license: null, items },
  })
  return { pictures, config: { ...readConfig({}), dataDir } }
}

export const classNames = ['cat', 'dog']

export async function addModel(catalog: Catalog, id: string, fixture = id): Promise<void> {
  const folder = folderOf(fixture)
  await catalog.models.register({
    ...{ id, name: id, description: await describeModel(folder), provenance: { kind: 'folder', name: id }, license: null },
    files: [{ path: 'config.json', bytes: 1, sha256: 'c'.repeat(64) }],
    ...{ weightsSha256: Buffer.from(fixture).toString('hex').padEnd(64, '0').slice(0, 64), weightBytes: 1000, folder, processing: [] },
  })
}

/** Noise around a colour; the same for the same number. */
function picture(seed: number): Promise<Buffer> {
  const random = createRandom(seed)
  const side = 16
  const tone = [random.below(200), random.below(200), random.below(200)]
  const data = Uint8Array.from({ length: side * side * 3 }, (_, at) => tone[at % 3]! + random.below(56))
  return sharp(data, { raw: { width: side, height: side, channels: 3 } })
    .png()
    .toBuffer()
}

/** What a worker does, without one: no leases, no other processes. */
export async function driver(kind: JobKind, input: Json, { catalog, config }: { catalog: Catalog; config: Config }) {
  const all: Map<string, Promise<unknown>>[] = []
  const context = (): JobContext => {
    const kept = new Map<string, Promise<unknown>>()
    all.push(kept)
    return {
      ...{ job: { id: '0', kind: kind.name }, catalog, blobs: catalog.blobs, config, folder: '', signal: new AbortController().signal },
      ...{ progress: () => {}, log: () => {}, backend: () => onnxruntime.create() },
      keep: <T>(name: string, make: () => Promise<T>) => {
        if (!kept.has(name)) kept.set(name, make())
        return kept.get(name) as Promise<T>
      },
    }
  }
  const shards = await kind.plan(input as never, context())
  const process = context()
  return {
    shards,
    /** In the process that has done all others. */
    run: (shard: Json) => kind.run(shard as never, input as never, process) as Promise<Uint8Array>,
    /** In one that has done nothing yet. */
    runApart: (shard: Json) => kind.run(shard as never, input as never, context()) as Promise<Uint8Array>,
    finish: (bytes: readonly Uint8Array[]) => kind.finish(partsOf(bytes) as never, input as never, context()),
    /** What a process that ends would take with it. */
    async closeAll() {
      for (const made of all.flatMap((kept) => [...kept.values()])) await ((await made) as { close?(): Promise<void> }).close?.()
    },
  }
}

function partsOf(bytes: readonly Uint8Array[]): Parts<Uint8Array> {
  return {
    count: bytes.length,
    async *inOrder() {
      yield* bytes
    },
    merged: () => Promise.reject(new Error('these kinds merge what they decoded')),
  }
}
