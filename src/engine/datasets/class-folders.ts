/**
 * A folder of class folders, as ImageNet and torchvision's ImageFolder: `<class>/<picture>`, at any depth within the class, optionally
 * below `train/`, `val/` and the like. Classes are numbered in the order of their names.
 */

import type { Dirent } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import path from 'node:path'
import { EngineError } from '../errors.js'
import { type CaptionTemplate, captionsFrom } from './caption-templates.js'
import { type DatasetItem, FindingCounter, named } from './dataset.js'
import type { Draft } from './examine.js'
import { byCodeUnit, isHidden, isPictureName } from './picture-files.js'

export interface ClassFolders {
  readonly folder: string
  /** A folder inside it that holds the class folders: `train`. Its classes are those of `train`, where that is there. */
  readonly part?: string
  /** Over `{class}`. */
  readonly captions?: readonly CaptionTemplate[]
}

export const classFolderPlaceholders = ['class'] as const

/** Names of folders that hold a part of the pictures and not a class. */
const partNames = ['train', 'val', 'validation', 'test']
/** Folders within a class; also what ends a circle of links. */
const MAX_DEPTH = 16

/** @throws DATASET_INVALID when the folder is empty, has pictures outside a class, or a class without any */
export async function listClassFolders({ folder, part, captions }: ClassFolders): Promise<Draft> {
  const name = part === undefined ? path.basename(path.resolve(folder)) : `${path.basename(path.resolve(folder))}/${part}`
  const fail = (problem: string) => new EngineError('DATASET_INVALID', { dataset: name, problem })
  const ignored = new FindingCounter()
  const outer = await listed(folder, fail)
  const parts = outer.folders.filter((each) => partNames.includes(each))
  if (part === undefined && parts.length > 0 && parts.length === outer.folders.length) {
    throw fail(`it holds ${parts.map((each) => `"${each}"`).join(' and ')}, not classes. Say which with part.`)
  }
  if (part !== undefined && !outer.folders.includes(part)) {
    throw fail(`it has no folder "${part}"${outer.folders.length > 0 ? `; there is ${outer.folders.slice(0, 10).join(', ')}` : ''}.`)
  }
  const root = part === undefined ? folder : path.join(folder, part)
  const { files, folders } = part === undefined ? outer : await listed(root, fail)
  const strays = files.filter(isPictureName)
  if (strays.length > 0) {
    throw fail(`${named({ count: strays.length, first: strays.slice(0, 5) })} is in no class folder; each picture is at <class>/<picture>.`)
  }
  for (const file of files) ignored.add(file)
  const classNames =
    part !== undefined && outer.folders.includes('train') ? (await listed(path.join(folder, 'train'), fail)).folders : folders
  if (folders.length === 0) throw fail('it is empty; each picture is expected at <class>/<picture>.')
  const unknown = folders.filter((each) => !classNames.includes(each))
  if (unknown.length > 0) throw fail(`${named({ count: unknown.length, first: unknown.slice(0, 5) })} is no class of "train".`)

  const items: DatasetItem[] = []
  const empty: string[] = []
  for (const className of folders) {
    const pictures = await picturesIn(root, className, ignored, fail)
    if (pictures.length === 0) empty.push(className)
    const label = classNames.indexOf(className)
    const shared = {
      label,
      facets: { class: className },
      ...(captions && { captions: captionsFrom(captions, { class: [spoken(className)] }) }),
    }
    for (const picture of pictures) items.push({ name: picture, picture: { kind: 'file', path: path.join(root, picture) }, ...shared })
  }
  if (empty.length > 0) throw fail(`there are no pictures in the class ${named({ count: empty.length, first: empty.slice(0, 10) })}.`)
  return { name, items, classNames, nClasses: classNames.length, ignored: ignored.finding }
}

/** `red_panda` as one says it. */
function spoken(className: string): string {
  return className.replaceAll('_', ' ').trim()
}

/** Pictures at any depth, named relative to `root` with forward slashes, in the order of their names. */
async function picturesIn(root: string, start: string, ignored: FindingCounter, fail: (problem: string) => Error): Promise<string[]> {
  const pictures: string[] = []
  const visit = async (folder: string, depth: number): Promise<void> => {
    if (depth > MAX_DEPTH) throw fail(`"${folder.slice(0, 200)}" is nested more than ${MAX_DEPTH} folders deep.`)
    const { files, folders } = await listed(path.join(root, folder), fail)
    for (const file of files) {
      if (isPictureName(file)) pictures.push(`${folder}/${file}`)
      else ignored.add(`${folder}/${file}`)
    }
    for (const inner of folders) await visit(`${folder}/${inner}`, depth + 1)
  }
  await visit(start, 1)
  return pictures.sort(byCodeUnit)
}

/** What is in a folder, links followed, hidden names left out, sorted. */
async function listed(folder: string, fail: (problem: string) => Error): Promise<{ files: string[]; folders: string[] }> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    throw fail(error.code === 'ENOENT' ? `the folder ${folder} is not there.` : `the folder ${folder} cannot be listed (${error.code}).`)
  })
  const files: string[] = []
  const folders: string[] = []
  for (const entry of entries) {
    if (isHidden(entry.name)) continue
    if (await isFolder(folder, entry)) folders.push(entry.name)
    else files.push(entry.name)
  }
  return { files: files.sort(byCodeUnit), folders: folders.sort(byCodeUnit) }
}

async function isFolder(parent: string, entry: Dirent): Promise<boolean> {
  if (!entry.isSymbolicLink()) return entry.isDirectory()
  // a link to nothing counts as a file: it is reported as a picture that is not there
  return (await stat(path.join(parent, entry.name)).catch(() => undefined))?.isDirectory() ?? false
}
