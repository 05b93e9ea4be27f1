/** A repository of the hub at a commit: what is needed of it is downloaded into the cache that Python shares. */

import fs from 'node:fs/promises'
import { EngineError } from '../../engine/errors.js'
import type { FileRecord } from '../catalog.js'
import { download } from './download.js'
import { cachedRepo, writeRef } from './hub-cache.js'
import { type HubFile, hubClient } from './hub-client.js'
import { type ImportOptions, tellStep } from './import-progress.js'
import { kept, type OpenedSource } from './opened-source.js'
import { isIndex, MAX_INDEX_BYTES, shardsOf } from './select-files.js'
import type { ImportSource } from './source.js'

export async function openRepository(source: ImportSource & { kind: 'hub' }, options: ImportOptions): Promise<OpenedSource> {
  const { config, onProgress, retryDelayMs, signal } = options
  const { repo, requestedRevision } = source
  const client = await hubClient(config)
  tellStep(options, 'find', `${repo}@${requestedRevision}`)
  const { commit, license, files: listed } = await client.revision(repo, requestedRevision, signal)
  const cached = cachedRepo(config.hubCache, repo, commit)
  const names = listed.map((file) => file.path)
  const fileNamed = (name: string) => listed.find((file) => file.path === name) as HubFile

  let totalBytes = 0
  const done = new Map<string, number>()
  const fetchOne = async (name: string): Promise<FileRecord> => {
    const file = fileNamed(name)
    const onBytes = (bytes: number) => {
      done.set(name, bytes)
      const doneBytes = [...done.values()].reduce((sum, each) => sum + each, 0)
      onProgress?.({ step: 'download', what: name, doneBytes, totalBytes: Math.max(totalBytes, doneBytes) })
    }
    const more = { ...(retryDelayMs !== undefined && { retryDelayMs }), ...(signal && { signal }) }
    const sha256 = await download({ client, repo, commit, file, cached, onBytes, ...more })
    return { path: name, bytes: file.bytes, sha256 }
  }
  const text = async (name: string) => {
    if (fileNamed(name).bytes > MAX_INDEX_BYTES)
      throw new EngineError('FILE_INVALID', { file: name, problem: 'is too long for a configuration.' })
    await fetchOne(name)
    return fs.readFile(cached.pointer(fileNamed(name)), 'utf8')
  }

  return {
    source,
    where: `${repo}@${commit.slice(0, 12)}`,
    name: repo,
    names,
    text,
    sha256Of(name) {
      const { hash } = fileNamed(name)
      return hash.kind === 'sha256' ? hash.hex : undefined
    },
    check: async () => {},
    async fetch(selected, { beforeWeights }) {
      let weights = [selected.weights]
      const files: FileRecord[] = []
      if (isIndex(selected.weights)) {
        totalBytes = fileNamed(selected.weights).bytes
        files.push(await fetchOne(selected.weights))
        weights = shardsOf(selected.weights, await text(selected.weights), names)
      }
      await beforeWeights?.(weights)
      totalBytes = [...files.map((file) => file.path), ...selected.descriptions, ...weights].reduce(
        (sum, name) => sum + fileNamed(name).bytes,
        0,
      )
      // Small files first: what is wrong with a configuration shows before the weights were downloaded.
      for (const name of [...selected.descriptions, ...weights]) files.push(await fetchOne(name))
      await writeRef(config.hubCache, repo, requestedRevision, commit)
      return {
        folder: cached.snapshot,
        files,
        weights,
        license,
        provenance: { kind: 'hub', repo, revision: commit, requestedRevision, endpoint: client.endpoint },
        settle: async () => kept(cached.snapshot),
        discard: async () => {},
      }
    },
  }
}
