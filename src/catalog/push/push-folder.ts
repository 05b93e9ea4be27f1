/**
 * `refract push`: a folder (a model, an SAE, a run) as one commit of a repository of the hub. Large files go up first, each under its sha256;
 * the commit that names them comes last and is one request, so that what breaks off leaves the repository as it was, and the next push
 * sends only what is not there yet.
 */

import path from 'node:path'
import { type CommitOutput, type CommitProgressEvent, commitIter, createBranch, createRepo, listFiles, modelInfo } from '@huggingface/hub'
import { EngineError } from '../../engine/errors.js'
import { cardFile, cardText } from '../../engine/io/model-card.js'
import type { HubConfig } from '../import/hub-client.js'
import { selectFiles } from '../import/select-files.js'
import { type FolderFile, filesIn } from './folder-files.js'
import { HubRefusal, type HubWriter, hubWriter, meaningOf } from './hub-writer.js'

export interface PushRequest {
  readonly folder: string
  /** `owner/name` of a model repository; made where it is not there. */
  readonly repo: string
  /** Made from the main branch where it is not there. Default `main`. */
  readonly branch?: string
  /** Make the repository private; refused for one that is there and public. Default: as its owner's repositories are. */
  readonly private?: boolean
  /** First line of the commit. */
  readonly title?: string
  readonly config: HubConfig
  readonly onProgress?: (progress: PushProgress) => void
  readonly retryDelayMs?: number
  readonly signal?: AbortSignal
}

export interface PushProgress {
  readonly step: 'prepare' | 'hash' | 'upload' | 'commit'
  readonly what: string
  readonly doneBytes: number
  /** 0 where a step has no bytes to count. */
  readonly totalBytes: number
}

export interface Pushed {
  readonly repo: string
  readonly branch: string
  /** 40 hex digits. */
  readonly commit: string
  readonly isNewRepo: boolean
  readonly files: readonly string[]
  readonly bytes: number
  /** A page to look at. */
  readonly url: string
}

/**
 * Files of the repository that the folder does not have stay, but for one case: weights there that would be read in the place of those
 * pushed are refused. A folder without a README.md gets a card that names it.
 *
 * @throws INPUT_INVALID, FILE_UNSAFE, FILE_INVALID for the folder; HUB_REFUSED, HUB_UNAVAILABLE
 */
export async function pushFolder(request: PushRequest): Promise<Pushed> {
  const { folder, repo, branch = 'main', config, signal } = request
  const files = await filesIn(folder)
  const progress = progressOf(files, request.onProgress ?? (() => {}))
  progress.step('prepare', `${repo}@${branch}`)
  const writer = await hubWriter(config, {
    repo,
    onBytes: progress.sent,
    ...(request.retryDelayMs !== undefined && { retryDelayMs: request.retryDelayMs }),
    ...(signal && { signal }),
  })
  const place = { writer, repo, branch, isPrivate: request.private ?? false }
  const meant = (doing: string) => (error: unknown) => {
    throw signal?.aborted ? signal.reason : meaningOf(error, doing, { endpoint: writer.endpoint, repo })
  }
  const { parent, isNewRepo } = await prepared(place).catch(meant(`to make ${repo}@${branch} ready`))
  await refuseShadowed(place, parent, files).catch(meant(`to list ${repo}@${branch}`))
  const { commit } = await committed(place, { request, files, parent, progress }).catch(meant(`to take ${repo}@${branch}`))
  return {
    repo,
    branch,
    commit: commit.oid,
    isNewRepo,
    files: files.map((file) => file.path),
    bytes: files.reduce((sum, file) => sum + file.bytes, 0),
    url: `${writer.endpoint}/${repo}/tree/${encodeURIComponent(branch)}`,
  }
}

interface Place {
  readonly writer: HubWriter
  readonly repo: string
  readonly branch: string
  readonly isPrivate: boolean
}

type Found = { readonly kind: 'branch'; readonly commit: string; readonly isPrivate: boolean } | { readonly kind: 'no-branch' | 'no-repo' }

async function lookedUp({ writer, repo, branch }: Place): Promise<Found> {
  try {
    const info = await modelInfo({ name: repo, revision: branch, additionalFields: ['sha'], ...writer.access })
    return { kind: 'branch', commit: info.sha, isPrivate: info.private }
  } catch (error) {
    if (!(error instanceof HubRefusal)) throw error
    if (error.code === 'RevisionNotFound') return { kind: 'no-branch' }
    if (error.code === 'RepoNotFound' || error.status === 404) return { kind: 'no-repo' }
    throw error
  }
}

/** The branch that is pushed to, made where it is not there, and its last commit. */
async function prepared(place: Place): Promise<{ parent: string; isNewRepo: boolean }> {
  let found = await lookedUp(place)
  const isNewRepo = found.kind === 'no-repo' && (await created(place))
  if (found.kind === 'no-repo') found = await lookedUp(place)
  if (found.kind === 'no-repo') {
    throw refused(
      place,
      'the name is taken by what is no repository of models, or by one that the token may not see',
      'Choose another name.',
    )
  }
  if (found.kind === 'no-branch') {
    await createBranch({ repo: repoOf(place), branch: place.branch, ...place.writer.access })
    found = await lookedUp(place)
  }
  if (found.kind !== 'branch') throw refused(place, 'the branch is not there though it was made', 'Push again.')
  if (place.isPrivate && !found.isPrivate) {
    throw refused(place, 'it is public', 'Make it private in its settings, or push without --private.')
  }
  return { parent: found.commit, isNewRepo }
}

/** False when the name is taken. */
async function created(place: Place): Promise<boolean> {
  try {
    await createRepo({ repo: repoOf(place), ...(place.isPrivate && { visibility: 'private' as const }), ...place.writer.access })
    return true
  } catch (error) {
    if (error instanceof HubRefusal && error.status === 409) return false
    throw meaningOf(error, `to create ${place.repo}`, { endpoint: place.writer.endpoint, repo: place.repo })
  }
}

const repoOf = ({ repo }: Place) => ({ type: 'model', name: repo }) as const

function refused({ repo }: Place, problem: string, instead: string): EngineError {
  return new EngineError('HUB_REFUSED', { what: `to take ${repo}`, problem, instead })
}

/** A loader that finds both takes the better known name, which need not be what is pushed. */
async function refuseShadowed(place: Place, parent: string, files: readonly FolderFile[]): Promise<void> {
  const names = files.map((file) => file.path).filter((name) => !name.includes('/'))
  const weightsIn = (all: readonly string[]) => {
    try {
      return selectFiles(all, place.repo).weights
    } catch {
      return undefined // no weights, or none that a loader would choose
    }
  }
  const pushed = weightsIn(names)
  if (pushed === undefined) return
  const there: string[] = []
  for await (const entry of listFiles({ repo: repoOf(place), revision: parent, ...place.writer.access })) {
    if (entry.type === 'file') there.push(entry.path)
  }
  const read = weightsIn([...new Set([...there, ...names])])
  if (read === undefined || read === pushed) return
  throw refused(
    place,
    `it holds ${read}, which would be read in the place of ${pushed}`,
    `Remove ${read} there, or push to another branch.`,
  )
}

async function committed(
  { writer, repo, branch }: Place,
  { request, files, parent, progress }: { request: PushRequest; files: readonly FolderFile[]; parent: string; progress: Progress },
): Promise<CommitOutput> {
  const name = repo.split('/')[1] ?? repo
  const card = files.some((file) => file.path === cardFile)
    ? []
    : [{ path: cardFile, content: new Blob([cardText({ body: `# ${name}` })]) }]
  const commits = commitIter({
    repo: { type: 'model', name: repo },
    branch,
    parentCommit: parent,
    title: request.title ?? `Push ${path.basename(path.resolve(request.folder))}`,
    operations: [...files.map((file) => ({ path: file.path, content: file.url })), ...card].map((file) => ({
      operation: 'addOrUpdate' as const,
      ...file,
    })),
    // Its other protocol wants a store that not every hub has.
    useXet: false,
    ...(request.signal && { abortSignal: request.signal }),
    ...writer.access,
  })
  for (;;) {
    const { value, done } = await commits.next()
    if (!done) progress.event(value)
    else if (value?.commit.oid) return value
    else throw new Error('its answer to the commit is not a hub\u2019s')
  }
}

interface Progress {
  step(name: PushProgress['step'], what: string): void
  event(event: CommitProgressEvent): void
  sent(file: string, part: number, bytes: number): void
}

/** Bytes done, out of what the library tells of files and what our uploads count. */
function progressOf(files: readonly FolderFile[], report: (progress: PushProgress) => void): Progress {
  const sizes = new Map(files.map((file) => [file.path, file.bytes]))
  const hashed = new Map<string, number>()
  const sent = new Map<string, Map<number, number>>()
  const sum = (values: Iterable<number>) => [...values].reduce((total, value) => total + value, 0)
  /** Only large files are hashed and uploaded by themselves; which they are, the hub decides. */
  const total = () => sum([...hashed.keys()].map((file) => sizes.get(file) ?? 0))
  const step = (name: PushProgress['step'], what: string) => report({ step: name, what, doneBytes: 0, totalBytes: 0 })
  const uploaded = (file: string) => {
    const doneBytes = sum([...sent.values()].flatMap((parts) => [...parts.values()]))
    report({ step: 'upload', what: file, doneBytes, totalBytes: total() })
  }
  return {
    step,
    event(event) {
      if (event.event === 'phase') {
        if (event.phase === 'committing') step('commit', '')
        return
      }
      const { path: file, progress, state } = event
      const size = sizes.get(file) ?? 0
      if (state === 'hashing') {
        hashed.set(file, Math.round(progress * size))
        report({ step: 'hash', what: file, doneBytes: sum(hashed.values()), totalBytes: total() })
      } else if (state === 'uploading' && hashed.has(file) && progress === 1) {
        sent.set(file, new Map([[0, size]]))
        uploaded(file)
      }
    },
    sent(file, part, bytes) {
      const parts = sent.get(file) ?? new Map<number, number>()
      sent.set(file, parts.set(part, bytes))
      uploaded(file)
    },
  }
}
