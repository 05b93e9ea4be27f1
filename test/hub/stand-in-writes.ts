/**
 * What the stand-in hub does when it is written to: repositories and branches are made, large files are uploaded whole or in parts, and a
 * commit is taken in one request, only if everything that it names is there. The token `hf_granted` may write to `org`, `hf_reader` may not.
 */

import { createHash } from 'node:crypto'
import type http from 'node:http'
import { type Fault, isLarge, type Repo, sha256 } from './stand-in.js'

export interface Writes {
  readonly repos: Repo[]
  readonly faults: Map<string, Fault[]>
  readonly store: Map<string, Buffer>
  /** Uploaded parts by sha256 of the whole. */
  readonly parts: Map<string, Map<number, Buffer>>
  readonly partBytes: number
}

interface Asked {
  readonly path: readonly string[]
  readonly body: Buffer
  readonly base: string
}

type Given = { readonly status: number; readonly body?: unknown; readonly headers?: Readonly<Record<string, string>> }
type Handler = (writes: Writes, asked: Asked) => Given

const routes: readonly (readonly [method: string, pattern: RegExp, fault: string, handle: Handler])[] = [
  ['POST', /^\/api\/repos\/create$/, 'create', createRepo],
  ['POST', /^\/api\/models\/([^/]+\/[^/]+)\/branch\/(.+)$/, 'branch', createBranch],
  ['POST', /^\/api\/models\/([^/]+\/[^/]+)\/preupload\/(.+)$/, 'preupload', preupload],
  ['POST', /^\/([^/]+\/[^/]+)\.git\/info\/lfs\/objects\/batch$/, 'batch', lfsBatch],
  ['PUT', /^\/lfs\/([0-9a-f]{64})(?:\/(\d+))?$/, 'upload', uploadPart],
  ['POST', /^\/lfs\/([0-9a-f]{64})\/complete$/, 'complete', completeParts],
  ['POST', /^\/api\/models\/([^/]+\/[^/]+)\/commit\/(.+)$/, 'commit', commit],
]

/** False for a request that writes nothing. */
export function takeWrites(writes: Writes, request: http.IncomingMessage, response: http.ServerResponse): boolean {
  const url = new URL(request.url ?? '/', `http://${request.headers.host}`)
  const route = routes.find(([method, pattern]) => method === request.method && pattern.test(url.pathname))
  if (route === undefined) return false
  const [, pattern, faultName, handle] = route
  const fault = writes.faults.get(faultName)?.shift()
  const chunks: Buffer[] = []
  let arrived = 0
  let isCut = false
  request.on('data', (chunk: Buffer) => {
    chunks.push(chunk)
    arrived += chunk.length
    isCut = fault?.kind === 'cut' && arrived > fault.after
    if (isCut) request.socket.destroy()
  })
  request.on('end', () => {
    if (isCut) return // what came last was in the same packet
    const path = (pattern.exec(url.pathname) ?? []).slice(1).map((part) => decodeURIComponent(part ?? ''))
    const asked = { path, body: Buffer.concat(chunks), base: url.origin }
    const given: Given =
      fault?.kind === 'status'
        ? { status: fault.status, body: { error: 'not now' } }
        : (refusal(request, faultName) ?? handle(writes, asked))
    response.writeHead(given.status, { 'content-type': 'application/json', ...given.headers })
    response.end(JSON.stringify(given.body ?? {}))
  })
  return true
}

function refusal({ headers }: http.IncomingMessage, what: string): Given | undefined {
  // Large files go to a store that knows its own signed addresses, and is sent no token; it wants to know the length.
  if (what === 'upload' || what === 'complete') {
    if (headers.authorization !== undefined) return { status: 400, body: { error: 'only one auth mechanism allowed' } }
    return headers['content-length'] === undefined ? { status: 411 } : undefined
  }
  if (headers.authorization === 'Bearer hf_granted') return undefined
  if (headers.authorization === 'Bearer hf_reader') return { status: 403, body: { error: 'You need a token with write access.' } }
  return { status: 401, body: { error: 'Invalid username or password.' } }
}

const json = (body: Buffer) => JSON.parse(body.toString()) as Record<string, never>
const repoOf = ({ repos }: Writes, { path: [id] }: Asked) => repos.find((repo) => repo.id === id && !repo.isDataset)

let counter = 0
/** A commit that no other has. */
const newCommit = () => createHash('sha1').update(`commit ${counter++}`).digest('hex')

function createRepo(writes: Writes, { body, base }: Asked): Given {
  const { name, organization, visibility } = json(body) as unknown as { name: string; organization: string; visibility?: string }
  const id = `${organization}/${name}`
  if (organization !== 'org') return { status: 403, body: { error: `You don't have the rights to create a model under ${organization}` } }
  if (writes.repos.some((repo) => repo.id === id)) return { status: 409, body: { error: 'You already created this repo' } }
  const first = newCommit()
  const files = { '.gitattributes': Buffer.from('*.safetensors filter=lfs\n') }
  writes.repos.push({ id, branches: { main: first }, commits: { [first]: files }, private: visibility === 'private' })
  return { status: 200, body: { url: `${base}/${id}`, id: '1' } }
}

function createBranch(writes: Writes, asked: Asked): Given {
  const repo = repoOf(writes, asked)
  if (!repo) return { status: 404, headers: { 'x-error-code': 'RepoNotFound' } }
  repo.branches[asked.path[1]!] = repo.branches.main!
  return { status: 200 }
}

function preupload(writes: Writes, asked: Asked): Given {
  if (!repoOf(writes, asked)) return { status: 404, headers: { 'x-error-code': 'RepoNotFound' } }
  const { files } = json(asked.body) as unknown as { files: { path: string }[] }
  return { status: 200, body: { files: files.map(({ path }) => ({ path, uploadMode: isLarge(path) ? 'lfs' : 'regular' })) } }
}

function lfsBatch({ store, partBytes }: Writes, { body, base }: Asked): Given {
  const { objects } = json(body) as unknown as { objects: { oid: string; size: number }[] }
  const answers = objects.map(({ oid, size }) => {
    if (store.has(oid)) return { oid, size }
    if (size <= partBytes) return { oid, size, actions: { upload: { href: `${base}/lfs/${oid}` } } }
    const parts = Array.from({ length: Math.ceil(size / partBytes) }, (_, index) => [
      String(index + 1).padStart(5, '0'),
      `${base}/lfs/${oid}/${index + 1}`,
    ])
    return {
      oid,
      size,
      actions: { upload: { href: `${base}/lfs/${oid}/complete`, header: { chunk_size: String(partBytes), ...Object.fromEntries(parts) } } },
    }
  })
  return { status: 200, body: { transfer: 'basic', objects: answers } }
}

function uploadPart({ store, parts }: Writes, { path: [oid = '', part], body }: Asked): Given {
  if (part) {
    const known = parts.get(oid) ?? new Map<number, Buffer>()
    parts.set(oid, known.set(Number(part), body))
    return { status: 200, headers: { etag: `"${sha256(body)}"` } }
  }
  return stored(store, oid, body)
}

function completeParts({ store, parts }: Writes, { path: [oid = ''], body }: Asked): Given {
  const named = (json(body) as unknown as { parts: { partNumber: number; etag: string }[] }).parts
  const known = parts.get(oid)
  const chunks = named.map(({ partNumber, etag }) => {
    const chunk = known?.get(partNumber)
    return chunk && etag === `"${sha256(chunk)}"` ? chunk : undefined
  })
  if (chunks.some((chunk) => chunk === undefined)) return { status: 400, body: { error: 'a part is missing' } }
  return stored(store, oid, Buffer.concat(chunks as Buffer[]))
}

function stored(store: Map<string, Buffer>, oid: string, bytes: Buffer): Given {
  if (sha256(bytes) !== oid) return { status: 400, body: { error: 'the bytes have another sha256' } }
  store.set(oid, bytes)
  return { status: 200 }
}

type CommitLine =
  | { readonly key: 'header'; readonly value: { readonly summary: string; readonly parentCommit?: string } }
  | { readonly key: 'file'; readonly value: { readonly path: string; readonly content: string; readonly encoding: 'base64' } }
  | { readonly key: 'lfsFile'; readonly value: { readonly path: string; readonly oid: string; readonly size: number } }

function commit(writes: Writes, asked: Asked): Given {
  const repo = repoOf(writes, asked)
  const branch = asked.path[1]!
  const parent = repo?.branches[branch]
  if (!repo || parent === undefined) return { status: 404, headers: { 'x-error-code': 'RepoNotFound' } }
  const files: Record<string, Buffer> = { ...repo.commits[parent] }
  for (const line of asked.body.toString().trim().split('\n')) {
    const { key, value } = JSON.parse(line) as CommitLine
    if (key === 'header') {
      const isLate = value.parentCommit !== undefined && value.parentCommit !== parent
      if (isLate) return { status: 412, body: { error: 'A commit has happened since. Please refresh and try again.' } }
    } else if (key === 'file') files[value.path] = Buffer.from(value.content, value.encoding)
    else {
      const bytes = writes.store.get(value.oid)
      if (bytes?.length !== value.size) return { status: 400, body: { error: `${value.path} was not uploaded` } }
      files[value.path] = bytes
    }
  }
  const oid = newCommit()
  repo.commits[oid] = files
  repo.branches[branch] = oid
  return { status: 200, body: { success: true, commitOid: oid, commitUrl: `${asked.base}/${repo.id}/commit/${oid}`, hookOutput: '' } }
}
