/**
 * The rows of an image list, from CSV, tab-separated values or JSON Lines: a file, its captions, its label. Rows are read one by one; what is
 * wrong with them is collected, the first few with their lines, the rest counted.
 */

import { createReadStream } from 'node:fs'
import { nearest } from '../nearest.js'
import type { Caption, Facets } from './dataset.js'
import { readSeparated } from './separated-values.js'

export interface ListRow {
  readonly line: number
  readonly file: string
  readonly captions: readonly Caption[]
  /** As it is in the file: a class's name, or its number. */
  readonly label?: string | number
  /** What columns of other names say, where they are kept. */
  readonly facets: Facets
}

export const listFields = ['file', 'caption', 'captions', 'label'] as const
export type ListField = (typeof listFields)[number]

export interface ListFormat {
  /** What the file calls the fields, where it is not by these names: `{ file: 'file_name', caption: 'text' }`. */
  readonly columns: Readonly<Partial<Record<ListField, string>>>
  /** Columns of other names: an error, not looked at, or kept as facets of the picture. */
  readonly otherColumns: 'refuse' | 'ignore' | 'keep'
}

/** Takes a problem with a line; the caller decides how many are enough. */
export type Complain = (line: number, problem: string) => void

const MAX_LINE_CHARACTERS = 1 << 20

/** @throws SyntaxError where the file cannot be read on */
export function readListRows(file: string, format: ListFormat, complain: Complain): AsyncGenerator<ListRow> {
  return /\.jsonl?$|\.ndjson$/i.test(file) ? jsonRows(file, format, complain) : separatedRows(file, format, complain)
}

async function* separatedRows(file: string, format: ListFormat, complain: Complain): AsyncGenerator<ListRow> {
  const records = readSeparated(createReadStream(file, 'utf8') as AsyncIterable<string>, /\.tsv$/i.test(file) ? '\t' : ',')
  let columns: (ListField | undefined)[] | undefined
  let names: readonly string[] = []
  for await (const { values, line } of records) {
    if (columns === undefined) {
      names = namesOfHeader(values)
      columns = fieldsOfHeader(names, format)
      continue
    }
    if (values.length !== columns.length) {
      complain(line, `has ${values.length} values; the first line names ${columns.length} columns`)
      continue
    }
    const row: Record<string, unknown> = {}
    const others: Record<string, unknown> = Object.create(null)
    columns.forEach((field, index) => {
      // an empty cell is an absent value
      if (values[index] === '') return
      if (field !== undefined) row[field] = values[index]
      else if (format.otherColumns === 'keep') others[names[index]!] = values[index]
    })
    if (typeof row.label === 'string' && /^-?(0|[1-9]\d*)$/.test(row.label)) row.label = Number(row.label)
    if (typeof row.captions === 'string') row.captions = row.captions.split('|').map((text) => text.trim())
    const read = rowOf(row, { others, line, complain })
    if (read) yield read
  }
}

function namesOfHeader(header: readonly string[]): string[] {
  return header.map((name, index) => (index === 0 ? name.replace(/^\ufeff/, '') : name).trim())
}

/** @throws SyntaxError when a column is unknown or named twice, or the file's is missing */
function fieldsOfHeader(names: readonly string[], format: ListFormat): (ListField | undefined)[] {
  const fields = names.map((name) => fieldNamed(name, format))
  fields.forEach((field, index) => {
    if (field === undefined && format.otherColumns === 'refuse') throw new SyntaxError(unknownColumn(names[index]!, format))
    if (field !== undefined && fields.indexOf(field) !== index) throw new SyntaxError(`line 1: two columns are "${field}"`)
    if (format.otherColumns === 'keep' && names.indexOf(names[index]!) !== index)
      throw new SyntaxError(`line 1: two columns are "${names[index]!.slice(0, 100)}"`)
  })
  if (!fields.includes('file'))
    throw new SyntaxError(`line 1: no column "${format.columns.file ?? 'file'}"; the first line names the columns`)
  return fields
}

function fieldNamed(name: string, { columns }: ListFormat): ListField | undefined {
  return listFields.find((field) => (columns[field] ?? field) === name)
}

function unknownColumn(name: string, { columns }: ListFormat): string {
  const known = listFields.map((field) => columns[field] ?? field)
  const [near] = nearest(name.slice(0, 100), known)
  const hint = near === undefined ? `the columns are ${known.join(', ')}` : `did you mean "${near}"?`
  return `line 1: unknown column "${name.slice(0, 100)}"; ${hint} (otherColumns: "ignore" leaves others out)`
}

async function* jsonRows(file: string, format: ListFormat, complain: Complain): AsyncGenerator<ListRow> {
  let line = 0
  for await (const text of linesOf(file)) {
    line++
    if (text.trim() === '') continue
    const object = parsedObject(line === 1 ? text.replace(/^\ufeff/, '') : text)
    if (object === undefined) {
      complain(line, 'is not a JSON object')
      continue
    }
    const row: Record<string, unknown> = {}
    const others: Record<string, unknown> = Object.create(null)
    for (const [key, value] of Object.entries(object)) {
      const field = fieldNamed(key, format)
      if (field !== undefined) row[field] = value
      else if (format.otherColumns === 'keep') others[key] = value
      else if (format.otherColumns === 'refuse')
        complain(line, unknownColumn(key, format).replace(/^line 1: unknown column/, 'unknown field'))
    }
    const read = rowOf(row, { others, line, complain })
    if (read) yield read
  }
}

/** @throws SyntaxError on a line that is too long to be one */
async function* linesOf(file: string): AsyncGenerator<string> {
  let pending = ''
  let nLines = 0
  for await (const chunk of createReadStream(file, 'utf8') as AsyncIterable<string>) {
    const lines = (pending + chunk).split('\n')
    pending = lines.pop()!
    nLines += lines.length
    if (pending.length > MAX_LINE_CHARACTERS) throw new SyntaxError(`line ${nLines + 1}: is longer than a million characters`)
    yield* lines
  }
  if (pending !== '') yield pending
}

function parsedObject(text: string): object | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined
  } catch {
    return undefined
  }
}

interface AboutRow {
  /** What its other columns say. */
  readonly others: Readonly<Record<string, unknown>>
  readonly line: number
  readonly complain: Complain
}

function rowOf(row: Readonly<Record<string, unknown>>, { others, line, complain }: AboutRow): ListRow | undefined {
  const { file, caption, captions, label } = row
  if (typeof file !== 'string') {
    complain(line, file === undefined ? 'names no file' : '"file" is not a text')
    return undefined
  }
  if (caption !== undefined && captions !== undefined) complain(line, 'has "caption" and "captions"')
  const texts = captions ?? (caption === undefined ? [] : [caption])
  const read = captionsOf(texts)
  if (read === undefined) complain(line, 'its captions are not texts, or { "text", "weight" } with a weight above 0')
  const isLabel = label === undefined || typeof label === 'string' || (typeof label === 'number' && Number.isFinite(label))
  if (!isLabel) complain(line, '"label" is neither a text nor a number')
  return {
    line,
    file,
    captions: read ?? [],
    facets: facetsOf(others, line, complain),
    ...(isLabel && label !== undefined && { label: label as string | number }),
  }
}

function facetsOf(others: Readonly<Record<string, unknown>>, line: number, complain: Complain): Facets {
  const known = Object.entries(others).filter(([, value]) => value !== null)
  for (const [name, value] of known) {
    if (typeof value === 'string' || (typeof value === 'number' && Number.isFinite(value))) continue
    complain(line, `"${name.slice(0, 100)}" is neither a text nor a number`)
  }
  return Object.fromEntries(known) as Facets
}

function captionsOf(value: unknown): Caption[] | undefined {
  if (!Array.isArray(value)) return undefined
  const captions = value.map((each: unknown): Caption | undefined => {
    if (typeof each === 'string') return each.trim() === '' ? undefined : { text: each, weight: 1 }
    if (typeof each !== 'object' || each === null || Object.keys(each).some((key) => key !== 'text' && key !== 'weight')) return undefined
    const { text, weight = 1 } = each as { text?: unknown; weight?: unknown }
    const isValid = typeof text === 'string' && text.trim() !== '' && typeof weight === 'number' && Number.isFinite(weight) && weight > 0
    return isValid ? { text, weight } : undefined
  })
  return captions.every((caption) => caption !== undefined) ? captions : undefined
}
