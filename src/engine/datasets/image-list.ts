/**
 * A list of pictures with captions, labels or both. Files are relative to the list's folder and stay inside it. Rows of one file are one
 * picture with several captions; a row that says the same again, or another label, is an error.
 */

import { realpath, stat } from 'node:fs/promises'
import path from 'node:path'
import { EngineError } from '../errors.js'
import { nearest } from '../nearest.js'
import { type Caption, type DatasetItem, type Facets, nothingFound } from './dataset.js'
import type { Draft } from './examine.js'
import { type Complain, type ListFormat, type ListRow, readListRows } from './list-rows.js'
import { byCodeUnit, isInside, whyOutside } from './picture-files.js'

export interface ImageList extends ListFormat {
  /** `.csv`, `.tsv` or `.jsonl`. */
  readonly file: string
  /** The classes in the order of their labels. Without it: the labels that occur, sorted; or, where they are numbers, up to the largest. */
  readonly classNames?: readonly string[]
  /** Of numbered classes without names. */
  readonly nClasses?: number
}

const MAX_PROBLEMS_SHOWN = 10
const MAX_CLASSES = 1_000_000
const AT_A_TIME = 256
/** The list is held in memory: its pictures are not. */
const MAX_LIST_BYTES = 4 * 2 ** 30

/** @throws DATASET_INVALID with the first problems and the number of the others; FILE_INVALID when the list cannot be read */
export async function listImages(list: ImageList): Promise<Draft> {
  const name = path.basename(list.file)
  const problems: string[] = []
  let nProblems = 0
  const complain = (line: number, problem: string) => {
    nProblems++
    if (problems.length < MAX_PROBLEMS_SHOWN) problems.push(`line ${line}: ${problem}`)
  }
  await requireFile(list.file)
  const folder = path.dirname(path.resolve(list.file))
  const pictures = new Map<string, Picture>()
  try {
    for await (const row of readListRows(list.file, list, complain)) {
      const why = whyOutside(row.file)
      if (why !== undefined) complain(row.line, `the file ${JSON.stringify(row.file.slice(0, 200))} ${why}`)
      else addRow(pictures, row, complain)
    }
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    throw new EngineError('FILE_INVALID', { file: name, problem: `${error.message}.` })
  }
  await requireInside(pictures, folder, complain)
  const classes = classesOf(pictures, list, complain)
  const items = [...pictures.values()].map((picture) => itemOf(picture, folder, classes))
  if (nProblems > 0) {
    const more = nProblems > problems.length ? `; and ${nProblems - problems.length} more` : ''
    throw new EngineError('DATASET_INVALID', { dataset: name, problem: `${problems.join('; ')}${more}.` })
  }
  if (items.length === 0) throw new EngineError('DATASET_INVALID', { dataset: name, problem: 'the list is empty.' })
  return {
    name,
    items,
    ignored: nothingFound,
    ...(classes && { nClasses: classes.n, ...(classes.names && { classNames: classes.names }) }),
  }
}

async function requireFile(file: string): Promise<void> {
  const found = await stat(file).catch(() => undefined)
  const fail = (problem: string) => new EngineError('FILE_INVALID', { file: path.basename(file), problem })
  if (found === undefined) throw fail('is not there.')
  if (!found.isFile()) throw fail('is not a file.')
  if (found.size > MAX_LIST_BYTES) throw fail(`has ${found.size} bytes; lists of up to ${MAX_LIST_BYTES} are read.`)
  if (!/\.(csv|tsv|jsonl?|ndjson)$/i.test(file)) throw fail('is not .csv, .tsv or .jsonl.')
}

interface Picture {
  readonly file: string
  readonly line: number
  readonly label: string | number | undefined
  readonly captions: Caption[]
  readonly facets: Facets
}

function addRow(pictures: Map<string, Picture>, { file, line, label, captions, facets }: ListRow, complain: Complain): void {
  const earlier = pictures.get(file)
  if (earlier === undefined) {
    pictures.set(file, { file, line, label, captions: [...captions], facets })
    return
  }
  if (earlier.label !== label) {
    complain(
      line,
      `"${file}" has the label ${JSON.stringify(label) ?? 'none'}; line ${earlier.line} says ${JSON.stringify(earlier.label) ?? 'none'}`,
    )
  }
  const other = Object.keys({ ...earlier.facets, ...facets }).find((name) => earlier.facets[name] !== facets[name])
  if (other !== undefined) complain(line, `"${file}" has another "${other.slice(0, 100)}" than line ${earlier.line} says`)
  const isNew = (caption: Caption) => !earlier.captions.some(({ text }) => text === caption.text)
  const fresh = captions.filter(isNew)
  if (fresh.length < Math.max(1, captions.length)) complain(line, `says again what line ${earlier.line} said of "${file}"`)
  earlier.captions.push(...fresh)
}

/** Links are resolved many at a time: a list may have a million files. */
async function requireInside(pictures: ReadonlyMap<string, Picture>, folder: string, complain: Complain): Promise<void> {
  const realFolder = await realpath(folder)
  const all = [...pictures.values()]
  for (let start = 0; start < all.length; start += AT_A_TIME) {
    const some = all.slice(start, start + AT_A_TIME)
    const inside = await Promise.all(some.map(({ file }) => isInside(realFolder, path.join(folder, file))))
    some.forEach(({ file, line }, index) => {
      if (!inside[index]) complain(line, `"${file}" is a link out of the folder`)
    })
  }
}

interface Classes {
  readonly n: number
  readonly names?: readonly string[]
  /** Of a label as it is in the file. */
  readonly numberOf: (label: string | number) => number
}

/** Undefined where no picture has a label. */
function classesOf(pictures: ReadonlyMap<string, Picture>, list: ImageList, complain: Complain): Classes | undefined {
  const { classNames } = list
  const labels = new Set<string | number>()
  for (const { label } of pictures.values()) if (label !== undefined) labels.add(label)
  if (labels.size === 0 && classNames === undefined && list.nClasses === undefined) return undefined
  const isNumbered = [...labels].every((label) => typeof label === 'number')
  if (classNames === undefined && isNumbered) {
    const n = list.nClasses ?? largest(labels) + 1
    requireLabels(pictures, complain, (label) => whyNotBelow(label, n))
    return { n, numberOf: Number }
  }
  const names = classNames ?? [...labels].map(String).sort(byCodeUnit)
  const numbers = new Map(names.map((className, index) => [className, index]))
  requireLabels(pictures, complain, (label) => {
    if (classNames !== undefined && typeof label === 'number' && !numbers.has(String(label))) return whyNotBelow(label, names.length)
    if (numbers.has(String(label))) return undefined
    const [near] = nearest(String(label).slice(0, 100), names)
    return `the label ${JSON.stringify(label).slice(0, 100)} is none of the ${names.length} classes${near === undefined ? '' : `; did you mean "${near}"?`}`
  })
  return { n: names.length, names, numberOf: (label) => numbers.get(String(label)) ?? Number(label) }
}

function largest(labels: ReadonlySet<string | number>): number {
  let found = -1
  for (const label of labels) found = Math.max(found, Number(label))
  return found
}

function whyNotBelow(label: string | number, n: number): string | undefined {
  const number = Number(label)
  if (!Number.isInteger(number) || number < 0) return `the label ${label} is not a whole number from 0`
  if (number >= MAX_CLASSES) return `the label ${label} is more than ${MAX_CLASSES - 1}`
  return number < n ? undefined : `the label ${label} is outside 0 to ${n - 1}`
}

function requireLabels(
  pictures: ReadonlyMap<string, Picture>,
  complain: Complain,
  why: (label: string | number) => string | undefined,
): void {
  for (const { label, line, file } of pictures.values()) {
    const problem = label === undefined ? `"${file}" has no label, and others do` : why(label)
    if (problem !== undefined) complain(line, problem)
  }
}

function itemOf({ file, label, captions, facets }: Picture, folder: string, classes: Classes | undefined): DatasetItem {
  const number = label === undefined || classes === undefined ? undefined : classes.numberOf(label)
  return {
    name: file,
    picture: { kind: 'file', path: path.join(folder, file) },
    facets: label === undefined ? facets : { class: classes?.names?.[number!] ?? label, ...facets },
    ...(number !== undefined && { label: number }),
    ...(captions.length > 0 && { captions }),
  }
}
