/**
 * API keys: `rfr_<prefix>_<secret>`. Only the sha256 of a key is stored; that is enough, because the secret is 256 random bits and not
 * a password somebody thought of.
 */

import { createHash, randomBytes } from 'node:crypto'
import type { ApiKey, PrismaClient } from '../generated/prisma/client.js'
import { type ApiKeyRecord, type ApiKeyScope, apiKeyScopes, type Catalog } from './catalog.js'

const KEY = /^rfr_[0-9a-f]{8}_[A-Za-z0-9_-]{43}$/
/** `lastUsedAt` is kept to the minute: a busy key is not a busy row. */
const LAST_USED_MS = 60_000

const hashOf = (key: string) => createHash('sha256').update(key).digest('hex')

export function apiKeyCatalog(prisma: PrismaClient): Catalog['apiKeys'] {
  return {
    async create({ label, scopes }) {
      const prefix = `rfr_${randomBytes(4).toString('hex')}`
      const key = `${prefix}_${randomBytes(32).toString('base64url')}`
      const row = await prisma.apiKey.create({ data: { prefix, hash: hashOf(key), label, scopes: [...new Set(scopes)] } })
      return { ...recordOf(row), key }
    },

    async list() {
      const rows = await prisma.apiKey.findMany({ orderBy: [{ createdAt: 'asc' }, { id: 'asc' }] })
      return rows.map(recordOf)
    },

    async revoke(idOrPrefix) {
      const { count } = await prisma.apiKey.updateMany({
        where: { revokedAt: null, OR: [{ id: idOrPrefix }, { prefix: idOrPrefix }] },
        data: { revokedAt: new Date() },
      })
      return count > 0
    },

    async verify(secret) {
      if (!KEY.test(secret)) return undefined
      const row = await prisma.apiKey.findUnique({ where: { hash: hashOf(secret) } })
      if (row === null || row.revokedAt !== null) return undefined
      const now = new Date()
      if (row.lastUsedAt === null || now.getTime() - row.lastUsedAt.getTime() > LAST_USED_MS) {
        await prisma.apiKey.update({ where: { id: row.id }, data: { lastUsedAt: now } })
      }
      return recordOf(row)
    },

    countActive: () => prisma.apiKey.count({ where: { revokedAt: null } }),
  }
}

function recordOf({ id, prefix, label, scopes, createdAt, lastUsedAt, revokedAt }: ApiKey): ApiKeyRecord {
  const isScope = (scope: string): scope is ApiKeyScope => apiKeyScopes.some((known) => known === scope)
  return { id, prefix, label, scopes: scopes.filter(isScope), createdAt, lastUsedAt, revokedAt }
}
