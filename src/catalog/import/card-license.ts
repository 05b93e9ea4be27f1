/** Under which licence something is, by its card: the front matter of README.md, as hubs read it. */

import fs from 'node:fs/promises'
import path from 'node:path'
import { parseDocument } from 'yaml'
import { cardFile } from '../../engine/io/model-card.js'

const MAX_CARD_BYTES = 2 ** 20
const MAX_LICENSE = 200
const FRONT_MATTER = /^\uFEFF?---\r?\n([\s\S]*?)\r?\n---(\r?\n|$)/

/** Null where no card says it, or says it so that it cannot be read. */
export async function licenseOfFolder(folder: string): Promise<string | null> {
  const file = path.join(folder, cardFile)
  const stats = await fs.stat(file).catch(() => undefined)
  if (!stats?.isFile() || stats.size > MAX_CARD_BYTES) return null
  return licenseOfCard(await fs.readFile(file, 'utf8'))
}

export function licenseOfCard(text: string): string | null {
  const [, frontMatter] = FRONT_MATTER.exec(text) ?? []
  if (frontMatter === undefined) return null
  try {
    const document = parseDocument(frontMatter)
    return document.errors.length > 0 ? null : licenseOf(document.toJS())
  } catch {
    // aliases of aliases of aliases
    return null
  }
}

/** Of the fields of a card. */
export function licenseOf(card: unknown): string | null {
  const license = (card as { license?: unknown } | null | undefined)?.license
  return typeof license === 'string' && license !== '' ? license.slice(0, MAX_LICENSE).replaceAll('\0', '') : null
}
