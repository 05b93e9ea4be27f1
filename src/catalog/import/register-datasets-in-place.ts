/**
 * Data sets that come with the repository, as zip files, are registered under their file's name at the first start, and again when the file
 * has become another. The database remembers which file it was, so that later starts only compare hashes.
 */

import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import fs from 'node:fs/promises'
import path from 'node:path'
import { pipeline } from 'node:stream/promises'
import type { ImageLimits } from '../../engine/image/decode.js'
import type { Catalog } from '../catalog.js'
import type { DatasetRecord } from '../datasets.js'
import { isModelSlug } from '../models.js'
import { importDataset } from './import-dataset.js'

interface Options {
  readonly catalog: Pick<Catalog, 'datasets' | 'images' | 'jobs' | 'prisma'>
  readonly dataDir: string
  readonly limits: ImageLimits
  readonly signal?: AbortSignal
}

/**
 * Registers each `<datasets>/<id>.zip` that is not registered as it is now. An id that is a user's own data set stays the user's.
 * @returns what was registered now
 */
export async function registerDatasetsInPlace(datasets: string, options: Options): Promise<DatasetRecord[]> {
  const names = await fs.readdir(datasets).catch(() => [])
  const registered: DatasetRecord[] = []
  for (const name of names.filter((each) => each.endsWith('.zip')).sort()) {
    options.signal?.throwIfAborted()
    const id = name.slice(0, -'.zip'.length)
    const dataset = isModelSlug(id) ? await registerOne(id, path.join(datasets, name), options) : undefined
    if (dataset) registered.push(dataset)
  }
  return registered
}

async function registerOne(id: string, file: string, { catalog, ...options }: Options): Promise<DatasetRecord | undefined> {
  const hash = await sha256Of(file)
  const seed = { name: `datasets/${id}` }
  const before = await catalog.prisma.seed.findUnique({ where: seed })
  // also when it was removed since: whoever removed it did not want it
  if (before?.hash === hash) return undefined
  const existing = await catalog.datasets.get(id)
  if (existing && before === null) return undefined
  // a job reads the one that is there: the next start will do
  if ((await catalog.jobs.using(`dataset:${id}`)).length > 0) return undefined
  if (existing) await catalog.datasets.remove(id)
  // the archive's checksums say that the pictures are as they were packed: they need not be decoded
  const source = { kind: 'found', file, unreadable: 'fail', check: 'header' } as const
  const { dataset, isNew } = await importDataset({ ...options, catalog, source, about: { id } })
  await catalog.prisma.seed.upsert({ where: seed, create: { ...seed, hash }, update: { hash } })
  return isNew ? dataset : undefined
}

async function sha256Of(file: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(file), hash)
  return hash.digest('hex')
}
