/**
 * Values that PostgreSQL cannot hold as they are, and folders that move with DATA_DIR.
 */

import path from 'node:path'
import type { Prisma } from '../generated/prisma/client.js'

/** Plain data as JSON. PostgreSQL stores no NUL and no half of a surrogate pair, which the JSON of a downloaded folder may hold. */
export function storableJson(value: unknown): Prisma.InputJsonValue {
  return JSON.parse(
    JSON.stringify(value).replace(/(?<!\\)((?:\\\\)*)\\u(0000|d[89a-f][0-9a-f]{2})/gi, '$1\\ufffd'),
  ) as Prisma.InputJsonValue
}

/** Text from a file of somebody else's. */
export const storableText = (text: string) => text.replaceAll('\0', '').replace(/\p{Surrogate}/gu, '\ufffd')

/** A text in which LIKE sees no wildcards. */
export const likeLiteral = (text: string) => text.replaceAll('\0', '').replace(/[\\%_]/g, '\\$&')

/** Relative to DATA_DIR where it lies inside, absolute elsewhere. */
export function storedFolder(folder: string, dataDir: string): string {
  const inside = path.relative(dataDir, folder)
  return inside.startsWith('..') || path.isAbsolute(inside) ? folder : inside.split(path.sep).join('/')
}
