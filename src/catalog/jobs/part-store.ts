/**
 * Where the results of shards are kept until their job has its own. Each job's apart: the same bytes in two jobs are two blobs, so that one
 * job's can be removed whatever others do.
 */

import fs from 'node:fs/promises'
import path from 'node:path'
import { type BlobStore, openBlobStore } from '../blob-store.js'
import { openS3BlobStore, removeS3Blobs, type S3Place } from '../s3-blob-store.js'

export type JobParts = Pick<BlobStore, 'put' | 'get'>

export interface PartStore {
  /** @throws BLOBS_UNAVAILABLE, STORAGE_FULL */
  ofJob(jobId: string): Promise<JobParts>
  /** @param hashes  sha256 of all that the job has. @throws BLOBS_UNAVAILABLE */
  remove(jobId: string, hashes: readonly string[]): Promise<void>
  close(): void
}

/** Below the data folder. */
export function folderPartStore(dataDir: string): PartStore {
  const folderOf = (jobId: string) => path.join(dataDir, 'parts', jobId)
  return {
    ofJob: (jobId) => openBlobStore(folderOf(jobId)),
    remove: (jobId) => fs.rm(folderOf(jobId), { recursive: true, force: true }),
    close() {},
  }
}

/** In the bucket, below the folder of the other blobs. */
export function s3PartStore(place: S3Place): PartStore {
  const placeOf = (jobId: string): S3Place => ({ ...place, url: `${place.url.replace(/\/+$/, '')}/parts/${jobId}` })
  // a process works for one job
  const opened = new Map<string, ReturnType<typeof openS3BlobStore>>()
  return {
    ofJob(jobId) {
      const known = opened.get(jobId)
      if (known) return known
      const store = openS3BlobStore(placeOf(jobId))
      opened.set(jobId, store)
      store.catch(() => opened.delete(jobId))
      return store
    },
    remove: (jobId, hashes) => removeS3Blobs(placeOf(jobId), hashes),
    close() {
      for (const store of opened.values()) void store.then((each) => each.close()).catch(() => {})
    },
  }
}
