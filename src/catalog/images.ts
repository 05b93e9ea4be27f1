/**
 * Pictures: a row that says what it is, bytes in the blob store under the same hash.
 */

import type { PrismaClient } from '../generated/prisma/client.js'
import type { BlobStore } from './blob-store.js'
import type { Catalog } from './catalog.js'
import { decodeTimeCursor, olderThan, pageOf, timeKey } from './cursors.js'

const LIST = 'images'
const IMAGE_ID = /^sha256:[0-9a-f]{64}$/
const hashOf = (id: string) => id.slice('sha256:'.length)

/** Newest first. */
export function imageCatalog(prisma: PrismaClient, blobs: BlobStore): Catalog['images'] {
  const get: Catalog['images']['get'] = async (id) => {
    if (!IMAGE_ID.test(id)) return undefined
    return (await prisma.image.findUnique({ where: { id } })) ?? undefined
  }

  return {
    get,

    async put(bytes, { format, width, height }) {
      // Bytes first: a row whose bytes are missing cannot be, bytes without a row cost only space.
      const id = `sha256:${await blobs.put(bytes)}`
      // Of two that store the same picture at once, one makes the row and both read it.
      await prisma.image.createMany({ data: [{ id, format, width, height, bytes: bytes.byteLength }], skipDuplicates: true })
      return prisma.image.findUniqueOrThrow({ where: { id } })
    },

    async putAll(pictures) {
      const hashes = await blobs.putAll(pictures.map(({ bytes }) => bytes))
      const data = pictures.map(({ bytes, format, width, height }, index) => ({
        ...{ id: `sha256:${hashes[index]!}`, format, width, height, bytes: bytes.byteLength },
      }))
      await prisma.image.createMany({ data, skipDuplicates: true })
      return data.map(({ id }) => id)
    },

    async list({ limit, cursor }) {
      const [rows, totalCount] = await Promise.all([
        prisma.image.findMany({
          ...(cursor !== undefined && { where: olderThan(decodeTimeCursor(LIST, cursor)) }),
          orderBy: [{ createdAt: 'desc' }, { id: 'desc' }],
          take: limit + 1,
        }),
        prisma.image.count(),
      ])
      return pageOf(rows, {
        limit,
        totalCount,
        list: LIST,
        key: timeKey,
        item: (image) => image,
      })
    },

    async read(id) {
      return (await get(id)) === undefined ? undefined : blobs.get(hashOf(id))
    },
  }
}
