/**
 * What somebody's pictures are, seen from what lies there: a list, class folders, a plain folder of pictures, emoji. As `open-dataset.ts`
 * would open them had each been described; what can be read in two ways is refused.
 */

import { readdir, readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import { EngineError } from '../errors.js'
import { listClassFolders } from './class-folders.js'
import { type DatasetItem, FindingCounter } from './dataset.js'
import { emojiCaptions, listEmoji } from './emoji.js'
import type { Draft } from './examine.js'
import { listImages } from './image-list.js'
import { byCodeUnit, isHidden, isPictureName } from './picture-files.js'

const LIST = /\.(csv|tsv|jsonl|ndjson)$/i
const EMOJI_INDEX = 'index.json'
/** What one says of the pictures: name, licence. */
export const ABOUT_FILE = 'dataset.json'

export interface Found {
  readonly draft: Draft
  /** Where the pictures are: below the given folder, when that holds one folder and nothing else. */
  readonly folder: string
}

export interface FindOptions {
  /** Of class folders below `train`, `val`, ...: which. */
  readonly part?: string
}

/**
 * @param given  a folder, or a list (`.csv`, `.tsv`, `.jsonl`) beside its pictures
 * @throws DATASET_INVALID, FILE_INVALID
 */
export async function findPictures(given: string, { part }: FindOptions = {}): Promise<Found> {
  const name = path.basename(path.resolve(given))
  const fail = (problem: string) => new EngineError('DATASET_INVALID', { dataset: name, problem })
  const stats = await stat(given).catch(() => undefined)
  if (stats === undefined) throw fail('it is not there.')
  if (stats.isFile()) {
    if (!LIST.test(given)) throw fail('it is neither a folder nor a list of pictures (.csv, .tsv, .jsonl).')
    return { draft: { ...(await listed(given)), name: path.parse(given).name }, folder: path.dirname(given) }
  }
  const { folder, files, folders } = await unwrapped(given)
  const lists = files.filter((file) => LIST.test(file))
  if (lists.length > 1) throw fail(`it holds several lists: ${lists.slice(0, 5).join(', ')}. Name the one that is meant.`)
  if (lists.length === 1) return { draft: { ...(await listed(path.join(folder, lists[0]!))), name }, folder }
  if (files.includes(EMOJI_INDEX) && (await isEmojiIndex(path.join(folder, EMOJI_INDEX)))) {
    return { draft: await listEmoji({ folder, label: 'subcategory', captions: emojiCaptions, variants: false }), folder }
  }
  const isPlain = part === undefined && folders.length === 0 && files.some(isPictureName)
  const draft = isPlain ? plainFolder(folder, files) : await listClassFolders({ folder, ...(part !== undefined && { part }) })
  return { draft: { ...draft, name, ignored: withoutAbout(draft.ignored) }, folder }
}

/** Columns of other names are kept as what is known of each picture. */
function listed(file: string): Promise<Draft> {
  return listImages({ file, columns: {}, otherColumns: 'keep' })
}

/** The folder itself, or the one folder in it: archives often hold a folder that holds everything. */
async function unwrapped(given: string): Promise<{ folder: string; files: string[]; folders: string[] }> {
  let folder = given
  for (;;) {
    const entries = (await readdir(folder, { withFileTypes: true })).filter((entry) => !isHidden(entry.name))
    const names = (of: typeof entries) => of.map((entry) => entry.name).sort(byCodeUnit)
    const folders = names(entries.filter((entry) => entry.isDirectory()))
    const files = names(entries.filter((entry) => !entry.isDirectory()))
    // a part is named, and a class alone tells nothing
    const isWrapping = folders.length === 1 && files.every((file) => !isPictureName(file) && !LIST.test(file) && file !== ABOUT_FILE)
    if (!isWrapping || folders[0] === 'train' || folders[0] === 'val') return { folder, files, folders }
    folder = path.join(folder, folders[0]!)
  }
}

function plainFolder(folder: string, files: readonly string[]): Draft {
  const ignored = new FindingCounter()
  const items: DatasetItem[] = []
  for (const file of files) {
    if (isPictureName(file)) items.push({ name: file, picture: { kind: 'file', path: path.join(folder, file) }, facets: {} })
    else ignored.add(file)
  }
  return { name: path.basename(path.resolve(folder)), items, ignored: ignored.finding }
}

/** As `demo/pictures.mjs` writes it, as far as one sees at first; `emoji.ts` checks the rest. */
async function isEmojiIndex(file: string): Promise<boolean> {
  try {
    const entries: unknown = JSON.parse(await readFile(file, 'utf8'))
    return Array.isArray(entries) && typeof entries[0] === 'object' && entries[0] !== null && 'pictures' in entries[0]
  } catch {
    return false
  }
}

function withoutAbout({ count, first }: Draft['ignored']): Draft['ignored'] {
  return first.includes(ABOUT_FILE) ? { count: count - 1, first: first.filter((file) => file !== ABOUT_FILE) } : { count, first }
}
