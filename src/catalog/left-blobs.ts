/**
 * Blobs that rows named which are gone. Triggers write them down in the transaction in which a row goes; they are removed later, when nobody
 * who has just put the same can be about to name it.
 */

import type { PrismaClient } from '../generated/prisma/client.js'
import { type BlobStore, FRESH_MS } from './blob-store.js'

const AT_ONCE = 100

export interface LeftBlobs {
  /** Of this blob store, those left more than `olderThanMs` ago (an hour unless given) that nothing names. @returns how many were looked at */
  remove(options?: { readonly olderThanMs?: number }): Promise<number>
}

interface Parts {
  readonly prisma: PrismaClient
  readonly blobs: BlobStore
  /** The name of the blob store. */
  readonly place: string
}

export function leftBlobs({ prisma, blobs, place }: Parts): LeftBlobs {
  async function removeSome(olderThanMs: number): Promise<number> {
    const left = await leftInPlace(prisma, { place, olderThanMs })
    for (const { sha256, leftAt, isNamed } of left) {
      // the file first: a row without its file costs another look, a file without its row is lost room
      if (!isNamed) await blobs.remove(sha256)
      await prisma.leftBlob.deleteMany({ where: { sha256, place, leftAt } })
    }
    return left.length
  }

  return {
    async remove({ olderThanMs = FRESH_MS } = {}) {
      let total = 0
      for (;;) {
        const count = await removeSome(olderThanMs)
        total += count
        if (count < AT_ONCE) return total
      }
    },
  }
}

interface LeftBlob {
  readonly sha256: string
  readonly leftAt: Date
  readonly isNamed: boolean
}

/** The oldest, and whether anything else names the same bytes: a set, a picture, a job's file. */
function leftInPlace(
  prisma: PrismaClient,
  { place, olderThanMs }: { readonly place: string; readonly olderThanMs: number },
): Promise<LeftBlob[]> {
  return prisma.$queryRaw<LeftBlob[]>`
    select sha256, left_at as "leftAt",
      exists (select 1 from feature_sets where embeddings_sha256 = sha256)
        or exists (select 1 from images where id = 'sha256:' || sha256)
        or exists (select 1 from jobs where result -> 'artifacts' @> jsonb_build_array(jsonb_build_object('sha256', sha256))) as "isNamed"
    from left_blobs
    where place = ${place} and left_at <= now() - ${olderThanMs / 1000} * interval '1 second'
    order by left_at, sha256
    limit ${AT_ONCE}`
}
