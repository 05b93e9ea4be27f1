/**
 * From what a person configures to a data set. Each kind is a row of one table: the fields that it has, and how it is opened. Fields are
 * checked, all of them, before anything is read.
 */

import path from 'node:path'
import type { ImageLimits } from '../image/decode.js'
import { StrictFields } from '../strict-fields.js'
import { templatesOf } from './caption-templates.js'
import { classFolderPlaceholders, listClassFolders } from './class-folders.js'
import type { Dataset } from './dataset.js'
import { emojiCaptions, emojiLabels, emojiPlaceholders, listEmoji } from './emoji.js'
import { type Draft, type ExamineOptions, examined } from './examine.js'
import { listImages } from './image-list.js'
import { type ListField, listFields } from './list-rows.js'
import { concat, type HoldOut, holdOut } from './subsets.js'
import { circle } from './toys/circle.js'
import { induction, polygenicInduction } from './toys/induction.js'
import { shapes } from './toys/shapes.js'

export interface OpenOptions {
  readonly limits: ImageLimits
  /** Against which relative folders are resolved: that of the configuration's file. */
  readonly baseFolder?: string
  readonly onProgress?: (done: number, total: number) => void
  readonly signal?: AbortSignal
  /** Told of every picture that can be read and has a file. */
  readonly onPicture?: ExamineOptions['onPicture']
}

type Open = (options: OpenOptions) => Promise<Dataset>
/** Reads its fields and returns what opens it. */
type Kind = (fields: StrictFields) => Open

const kinds = {
  folder: (fields) => {
    const folder = fields.string('folder')
    const part = fields.has('part') ? { part: fields.string('part') } : {}
    const captions = templatesOf(fields, 'captions', classFolderPlaceholders)
    return fromFiles(fields, (resolve) => listClassFolders({ folder: resolve(folder), ...part, ...(captions && { captions }) }))
  },
  list: (fields) => {
    const file = fields.string('file')
    const columns = columnsOf(fields.section('columns'))
    const otherColumns = fields.choice('otherColumns', ['refuse', 'ignore', 'keep'], 'refuse')
    const classNames = fields.has('classNames') ? { classNames: distinct(fields, 'classNames', fields.strings('classNames')) } : {}
    const nClasses = fields.has('nClasses') ? { nClasses: fields.number('nClasses', { min: 1, max: 1_000_000, integer: true }) } : {}
    if (fields.has('classNames') && fields.has('nClasses')) fields.problem('nClasses', 'classNames say how many there are')
    return fromFiles(fields, (resolve) => listImages({ file: resolve(file), columns, otherColumns, ...classNames, ...nClasses }))
  },
  emoji: (fields) => {
    const folder = fields.string('folder')
    const artists = fields.has('artists') ? { artists: distinct(fields, 'artists', fields.strings('artists')) } : {}
    const exceptArtists = fields.strings('exceptArtists', [])
    const label = fields.choice('label', emojiLabels, 'subcategory')
    const captions = templatesOf(fields, 'captions', emojiPlaceholders) ?? emojiCaptions
    const variants = fields.boolean('variants', false)
    return fromFiles(fields, (resolve) => listEmoji({ folder: resolve(folder), ...artists, exceptArtists, label, captions, variants }))
  },
  shapes: (fields) => {
    const sample = fields.has('sample') ? { sample: fields.number('sample', { min: 1, max: 737_280, integer: true }) } : {}
    const seed = seedOf(fields)
    return async () => shapes({ ...sample, seed })
  },
  induction: (fields) => {
    const seed = seedOf(fields)
    return async () => induction({ seed })
  },
  'polygenic-induction': (fields) => {
    const seed = seedOf(fields)
    return async () => polygenicInduction({ seed })
  },
  circle: () => async () => circle(),
  concat: (fields) => {
    const parts = (fields.sections('parts') ?? missing(fields, 'parts')).map(readDataset)
    return async (options) => {
      const opened: Dataset[] = []
      for (const open of parts) opened.push(await open(options))
      return concat(opened, opened.map(({ name }) => name).join(' and '))
    }
  },
} as const satisfies Record<string, Kind>

export const datasetKinds = Object.keys(kinds) as (keyof typeof kinds)[]

/**
 * @param config  `{ kind: 'folder', folder: 'pictures' }`; see docs/training-data.md
 * @throws CONFIG_INVALID with every problem of the configuration; DATASET_INVALID, FILE_INVALID; what `signal` says
 */
export async function openDataset(config: unknown, options: OpenOptions, configPath = 'data'): Promise<Dataset> {
  const fields = new StrictFields(config, configPath)
  const open = readDataset(fields)
  fields.check()
  return open(options)
}

/** Reads the configuration of a data set as part of a larger one, whose `check` reports the problems; opens nothing yet. */
export function readDataset(fields: StrictFields): Open {
  const kind: Kind = kinds[fields.choice('kind', datasetKinds)]
  const open = kind(fields)
  const held = holdOutOf(fields.section('holdOut'))
  if (held === undefined) return open
  return async (options) => holdOut(await open(options), held)[held.take]
}

function holdOutOf(section: StrictFields | undefined): (HoldOut & { readonly take: 'rest' | 'heldOut' }) | undefined {
  if (section === undefined) return undefined
  return {
    fraction: section.number('fraction', { min: 0.000001, max: 0.999999 }),
    seed: seedOf(section),
    take: section.choice('take', ['rest', 'heldOut']),
    ...(section.has('by') && { by: section.string('by') }),
  }
}

function fromFiles(fields: StrictFields, list: (resolve: (name: string) => string) => Promise<Draft>): Open {
  const unreadable = fields.choice('unreadable', ['fail', 'skip'], 'fail')
  const check = fields.choice('check', ['decode', 'header'], 'decode')
  return async ({ baseFolder, ...options }) => {
    const examine: ExamineOptions = { ...options, unreadable, check }
    return examined(await list((name) => path.resolve(baseFolder ?? '.', name)), examine)
  }
}

function columnsOf(section: StrictFields | undefined): Partial<Record<ListField, string>> {
  if (section === undefined) return {}
  return Object.fromEntries(listFields.flatMap((field) => (section.has(field) ? [[field, section.string(field)]] : [])))
}

function seedOf(fields: StrictFields): number {
  return fields.number('seed', { min: 0, max: 2 ** 32 - 1, integer: true, fallback: 0 })
}

function distinct(fields: StrictFields, key: string, values: readonly string[]): readonly string[] {
  const repeated = values.find((value, index) => values.indexOf(value) !== index)
  if (repeated !== undefined) fields.problem(key, `"${repeated}" is there twice`)
  return values
}

function missing(fields: StrictFields, key: string): readonly StrictFields[] {
  fields.problem(key, 'is missing; expected a list of data sets')
  return []
}
