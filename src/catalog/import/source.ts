/**
 * What `refract import <source>` names: a folder on this machine, or a repository of the hub with a revision.
 */

import fs from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { EngineError } from '../../engine/errors.js'

export type ImportSource =
  | { readonly kind: 'folder'; readonly folder: string }
  | { readonly kind: 'hub'; readonly repo: string; readonly requestedRevision: string }

const DEFAULT_REVISION = 'main'
/** `org/name`, and the few old repositories that have no organisation. */
const REPO = /^(?!.*(\.\.|--))[A-Za-z0-9][\w.-]{0,95}(\/[A-Za-z0-9][\w.-]{0,95})?$/
/** A branch, a tag, `refs/pr/3` or a commit, as git allows them, less what would leave a folder. */
const REVISION = /^(?!.*\.\.)[A-Za-z0-9][\w./+-]{0,199}$/
/** As open_clip and ViT-Prisma write a repository. */
const PREFIX = /^(hf-hub:|open-clip:|hf:)/

/**
 * A folder that exists is a folder. Anything else is `org/name[@revision]`, or the address of a repository's page.
 *
 * @param revision  wins over one that is part of `source`
 * @throws INPUT_INVALID when it is neither
 */
export async function parseSource(source: string, revision?: string): Promise<ImportSource> {
  const folder = path.resolve(source.replace(/^~(?=$|[\\/])/, os.homedir()))
  const stats = source === '' ? undefined : await fs.stat(folder).catch(() => undefined)
  if (stats?.isDirectory()) {
    if (revision !== undefined) throw invalid('a folder has no revision.')
    return { kind: 'folder', folder }
  }
  if (stats?.isFile()) throw invalid(`"${source}" is a file. Name the folder that holds it, with its configuration beside it.`)
  const { repo, at } = splitRevision(source)
  if (!REPO.test(repo)) {
    throw invalid(`"${source}" is neither a folder that exists nor a repository of the hub such as openai/clip-vit-base-patch32.`)
  }
  const requestedRevision = revision ?? at ?? DEFAULT_REVISION
  if (!REVISION.test(requestedRevision)) throw invalid(`"${requestedRevision}" cannot be a revision (a branch, a tag or a commit).`)
  return { kind: 'hub', repo, requestedRevision }
}

/** Where something is pushed to: `owner/name[@branch]`, or the address of a repository's page. @throws INPUT_INVALID */
export function parseTarget(target: string): { readonly repo: string; readonly branch: string } {
  const { repo, at: branch = DEFAULT_REVISION } = splitRevision(target)
  const refused = (problem: string) => new EngineError('INPUT_INVALID', { path: 'target', problem })
  if (!REPO.test(repo) || !repo.includes('/')) throw refused(`"${target}" is not a repository such as owner/name or owner/name@branch.`)
  if (!REVISION.test(branch) || /^[0-9a-f]{40}$/.test(branch)) throw refused(`"${branch}" cannot be a branch.`)
  return { repo, branch }
}

/** The repository that a library's name of a model stands for: `open-clip:laion/CLIP-...`; undefined where it names none. */
export function repositoryNamed(modelName: string): string | undefined {
  const repo = modelName.replace(PREFIX, '')
  return REPO.test(repo) && repo.includes('/') ? repo : undefined
}

function splitRevision(source: string): { repo: string; at: string | undefined } {
  if (/^https?:\/\//.test(source) && URL.canParse(source)) {
    const [, organisation, name, word, ...revision] = new URL(source).pathname.split('/')
    const isTree = (word === 'tree' || word === 'commit') && revision.length > 0
    return { repo: `${organisation}/${name}`, at: isTree ? decodeURIComponent(revision.join('/')) : undefined }
  }
  const name = source.replace(PREFIX, '')
  const separator = name.indexOf('@')
  return separator < 0 ? { repo: name, at: undefined } : { repo: name.slice(0, separator), at: name.slice(separator + 1) }
}

const invalid = (problem: string) => new EngineError('INPUT_INVALID', { path: 'source', problem })
