/**
 * Emoji, drawn by several artists: a folder prepared by `demo/pictures.mjs` (`index.json`, `<artist>/<code points>.png`). An item is one
 * artist's drawing of one emoji; its skin tones are variants of it.
 */

import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { EngineError } from '../errors.js'
import { nearest } from '../nearest.js'
import { type CaptionTemplate, type CaptionValues, captionsFrom } from './caption-templates.js'
import { type DatasetItem, nothingFound } from './dataset.js'
import type { Draft } from './examine.js'
import { byCodeUnit, whyOutside } from './picture-files.js'

export interface Emoji {
  readonly folder: string
  /** All of them by default. */
  readonly artists?: readonly string[]
  readonly exceptArtists?: readonly string[]
  readonly label: EmojiLabel
  readonly captions: readonly CaptionTemplate[]
  /** Whether skin tones count as variants; without, there is only the emoji itself. */
  readonly variants: boolean
}

export const emojiLabels = ['category', 'subcategory', 'emoji'] as const
export type EmojiLabel = (typeof emojiLabels)[number]

/** `name`, each of `short` names and of `keyword`s, all `keywords` with commas, category and subcategory in words, the artist. */
export const emojiPlaceholders = ['name', 'short', 'keyword', 'keywords', 'category', 'subcategory', 'artist'] as const

export const emojiCaptions: readonly CaptionTemplate[] = [
  { text: '{name}', weight: 2 },
  { text: '{short}', weight: 1 },
  { text: '{keyword}', weight: 1 },
  { text: '{name}, {keywords}', weight: 1 },
]

interface Entry {
  readonly code: string
  readonly name: string
  readonly short: readonly string[]
  readonly keywords?: readonly string[]
  readonly category: string
  readonly subcategory: string
  readonly pictures: Readonly<Record<string, readonly string[]>>
}

/** @throws DATASET_INVALID, FILE_INVALID when the index is not what the script writes */
export async function listEmoji({ folder, artists, exceptArtists = [], label, captions, variants }: Emoji): Promise<Draft> {
  const entries = await readIndex(folder)
  const known = [...new Set(entries.flatMap(({ pictures }) => Object.keys(pictures)))].sort(byCodeUnit)
  for (const artist of [...(artists ?? []), ...exceptArtists]) requireArtist(artist, known)
  const chosen = (artists ?? known).filter((artist) => !exceptArtists.includes(artist))
  if (chosen.length === 0) throw invalid('no artist is left.')
  const classOf = (entry: Entry) => (label === 'emoji' ? entry.code : entry[label])
  // of all emoji, so that every choice of artists has the same classes
  const classNames = label === 'emoji' ? entries.map(classOf) : [...new Set(entries.map(classOf))].sort(byCodeUnit)
  const numbers = new Map(classNames.map((name, index) => [name, index]))
  const items: DatasetItem[] = []
  for (const artist of chosen) {
    for (const entry of entries) {
      const [own, ...others] = entry.pictures[artist] ?? []
      if (own === undefined) continue
      const { code, name, category, subcategory } = entry
      items.push({
        name: own,
        picture: source(folder, own),
        ...(variants && { variants: others.map((file) => source(folder, file)) }),
        label: numbers.get(classOf(entry))!,
        captions: captionsFrom(captions, valuesOf(entry, artist)),
        facets: { artist, code, name: name.toLowerCase(), category, subcategory },
      })
    }
  }
  if (items.length === 0) throw invalid('no picture is left.')
  const name = `emoji by ${chosen.join(', ')}`
  return { name, items, nClasses: classNames.length, classNames: label === 'emoji' ? namesOf(entries) : classNames, ignored: nothingFound }
}

const invalid = (problem: string) => new EngineError('DATASET_INVALID', { dataset: 'emoji', problem })
const source = (folder: string, file: string) => ({ kind: 'file', path: path.join(folder, file) }) as const

/** Names, with the code where two emoji have the same. */
function namesOf(entries: readonly Entry[]): string[] {
  const names = entries.map(({ name }) => name.toLowerCase())
  const seen = new Map<string, number>()
  for (const name of names) seen.set(name, (seen.get(name) ?? 0) + 1)
  return names.map((name, index) => (seen.get(name) === 1 ? name : `${name} (${entries[index]!.code})`))
}

function valuesOf({ name, short, keywords = [], category, subcategory }: Entry, artist: string): CaptionValues {
  return {
    name: [name.toLowerCase()],
    short: short.map(inWords),
    keyword: keywords,
    keywords: keywords.length > 0 ? [keywords.join(', ')] : [],
    category: [category.toLowerCase()],
    subcategory: [inWords(subcategory)],
    artist: [inWords(artist)],
  }
}

function inWords(id: string): string {
  return id.replaceAll(/[-_]+/g, ' ').trim().toLowerCase()
}

function requireArtist(artist: string, known: readonly string[]): void {
  if (known.includes(artist)) return
  const [near] = nearest(artist, known)
  throw invalid(`there is no artist "${artist}"; ${near === undefined ? `there is ${known.join(', ')}` : `did you mean "${near}"?`}`)
}

async function readIndex(folder: string): Promise<Entry[]> {
  const fail = (problem: string) => new EngineError('FILE_INVALID', { file: 'index.json', problem })
  const text = await readFile(path.join(folder, 'index.json'), 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw fail(error.code === 'ENOENT' ? `is not in ${folder}; demo/pictures.mjs writes it.` : `cannot be read (${error.code}).`)
  })
  let entries: unknown
  try {
    entries = JSON.parse(text)
  } catch {
    throw fail('is not JSON.')
  }
  if (!Array.isArray(entries)) throw fail('is not a list.')
  entries.forEach((entry: unknown, index) => {
    const problem = problemOf(entry)
    if (problem !== undefined) throw fail(`entry ${index} ${problem}.`)
  })
  return entries as Entry[]
}

function problemOf(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null) return 'is not an object'
  const entry = value as Record<string, unknown>
  const text = (['code', 'name', 'category', 'subcategory'] as const).find((key) => typeof entry[key] !== 'string' || entry[key] === '')
  if (text !== undefined) return `has no ${text}`
  if (!isTexts(entry.short)) return 'has no short names'
  if (entry.keywords !== undefined && !isTexts(entry.keywords)) return 'has keywords that are no texts'
  if (typeof entry.pictures !== 'object' || entry.pictures === null) return 'has no pictures'
  for (const files of Object.values(entry.pictures)) {
    if (!isTexts(files)) return 'has pictures that are no names of files'
    const outside = files.map(whyOutside).find((why) => why !== undefined)
    if (outside !== undefined) return `names a file that ${outside}`
  }
  return undefined
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((each) => typeof each === 'string')
}
