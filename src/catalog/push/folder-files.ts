/**
 * The files of a folder that is pushed: everything in it but what is hidden, and nothing from outside.
 */

import fs from 'node:fs/promises'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { EngineError } from '../../engine/errors.js'

export interface FolderFile {
  /** Within the folder, with forward slashes. */
  readonly path: string
  readonly bytes: number
  readonly url: URL
}

const MAX_DEPTH = 8
const MAX_FILES = 10_000

/**
 * In order of name. Names that begin with a dot are left out: they are settings, secrets and what was being written.
 * @throws INPUT_INVALID when there is no such folder or nothing in it, FILE_UNSAFE for a link that leads out of it, FILE_INVALID for what
 *   is neither file nor folder
 */
export async function filesIn(folder: string): Promise<FolderFile[]> {
  const root = await fs.realpath(folder).catch(() => undefined)
  if (root === undefined || !(await fs.stat(root)).isDirectory()) {
    throw new EngineError('INPUT_INVALID', { path: 'folder', problem: `"${folder}" is not a folder.` })
  }
  const files: FolderFile[] = []
  await walk(root, '', files)
  if (files.length === 0) throw new EngineError('INPUT_INVALID', { path: 'folder', problem: `"${folder}" holds no files.` })
  return files
}

async function walk(root: string, within: string, files: FolderFile[]): Promise<void> {
  if (within.split('/').length > MAX_DEPTH) throw tooMuch(root, `folders more than ${MAX_DEPTH} deep`)
  const entries = await fs.readdir(path.join(root, within), { withFileTypes: true })
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (entry.name.startsWith('.')) continue
    const name = within === '' ? entry.name : `${within}/${entry.name}`
    const file = path.join(root, name)
    if (entry.isDirectory()) {
      await walk(root, name, files)
      continue
    }
    if (entry.isSymbolicLink()) await requireInside(root, file)
    const stats = await fs.stat(file)
    if (!stats.isFile()) throw new EngineError('FILE_INVALID', { file, problem: 'is neither a file nor a folder of its own.' })
    files.push({ path: name, bytes: stats.size, url: pathToFileURL(file) })
    if (files.length > MAX_FILES) throw tooMuch(root, `more than ${MAX_FILES} files`)
  }
}

async function requireInside(root: string, file: string): Promise<void> {
  const real = await fs.realpath(file).catch(() => undefined)
  if (real?.startsWith(root + path.sep)) return
  const problem = real === undefined ? 'it is a link to nothing' : 'it is a link out of the folder'
  throw new EngineError('FILE_UNSAFE', { file, problem, instead: 'Put the file itself there.' })
}

function tooMuch(root: string, what: string): EngineError {
  return new EngineError('INPUT_INVALID', { path: 'folder', problem: `"${root}" holds ${what}. Push what belongs together.` })
}
