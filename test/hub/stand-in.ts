/**
 * A hub on this machine for tests: the endpoints that imports and pushes call, over real HTTP, with the faults that real networks have.
 */

import { createHash } from 'node:crypto'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { takeWrites, type Writes } from './stand-in-writes.js'

export interface Repo {
  readonly id: string
  /** Commit by branch or tag; a commit is also found by itself. */
  readonly branches: Record<string, string>
  readonly commits: Record<string, Readonly<Record<string, Buffer>>>
  readonly license?: string
  /** Everything is listed, nothing is given without the token `hf_granted`. */
  readonly gated?: boolean
  /** Not even its existence is told without the token `hf_granted`. */
  readonly private?: boolean
  /** Of another kind than models: its name is taken, and that is all. */
  readonly isDataset?: boolean
}

/** What happens once to the next answer with bytes of a file, or to the next request for writing. */
export type Fault =
  | { readonly kind: 'hang'; readonly after: number }
  | { readonly kind: 'damage' }
  | { readonly kind: 'no-range' }
  | { readonly kind: 'longer' }
  | { readonly kind: 'status'; readonly status: number }
  /** The connection breaks when so many bytes of a request have arrived. */
  | { readonly kind: 'cut'; readonly after: number }

export interface Hub {
  readonly url: string
  /** `<method> <path> [<range>]`, in order. */
  readonly requests: string[]
  readonly repos: Repo[]
  /** Large files by sha256. */
  readonly store: ReadonlyMap<string, Buffer>
  /** By file name (or `create`, `upload`, `commit`), each used once, in order. */
  readonly faults: Map<string, Fault[]>
  /** Breaks every connection, as a network does. */
  drop(): void
  /** Requests for a file's bytes. */
  downloads(file: string): string[]
  close(): Promise<void>
}

export const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
const gitHash = (bytes: Buffer) => createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex')
export const isLarge = (file: string) => /\.(safetensors|bin|pt)$/.test(file)

export const COMMIT_A = 'a'.repeat(40)
export const COMMIT_B = 'b'.repeat(40)

/** @param partBytes  larger files are uploaded in parts of so many bytes */
export async function startHub(given: readonly Repo[], { partBytes }: { readonly partBytes?: number } = {}): Promise<Hub> {
  const requests: string[] = []
  const repos = [...given]
  const faults = new Map<string, Fault[]>()
  const writes: Writes = { repos, faults, store: new Map(), parts: new Map(), partBytes: partBytes ?? Number.POSITIVE_INFINITY }
  const server = http.createServer((request, response) => {
    const range = request.headers.range
    requests.push(`${request.method} ${request.url}${range ? ` [${range}]` : ''}`)
    if (!takeWrites(writes, request, response)) answer(repos, faults, request, response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    faults,
    repos,
    store: writes.store,
    drop: () => server.closeAllConnections(),
    downloads: (file) => requests.filter((line) => line.includes('/resolve/') && line.split(' ')[1]?.endsWith(`/${file}`)),
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections()
        server.close(() => resolve())
      }),
  }
}

type Answer =
  | { readonly kind: 'json'; readonly body: unknown }
  | { readonly kind: 'refuse'; readonly status: number; readonly code?: string }
  | { readonly kind: 'file'; readonly name: string; readonly bytes: Buffer }

function answer(repos: readonly Repo[], faults: Map<string, Fault[]>, request: http.IncomingMessage, response: http.ServerResponse): void {
  const found = find(repos, request)
  if (found.kind === 'file') {
    send(found.name, found.bytes, faults.get(found.name)?.shift(), request, response)
    return
  }
  const code = found.kind === 'refuse' ? found.code : undefined
  response.writeHead(found.kind === 'refuse' ? found.status : 200, {
    'content-type': 'application/json',
    ...(code && { 'x-error-code': code }),
  })
  response.end(JSON.stringify(found.kind === 'refuse' ? { error: code ?? `status ${found.status}` } : found.body))
}

function find(repos: readonly Repo[], { url = '/', headers: { authorization } }: http.IncomingMessage): Answer {
  const refuse = (status: number, code?: string): Answer => ({ kind: 'refuse', status, ...(code && { code }) })
  const path = decodeURIComponent(new URL(url, 'http://hub').pathname)
  const granted = authorization === 'Bearer hf_granted'
  if (authorization && !granted && authorization !== 'Bearer hf_reader') return refuse(401)

  const [, id, kind, rest = ''] = /^(?:\/api\/models)?\/([^/]+\/[^/]+)\/(revision|tree|resolve)\/(.+)$/.exec(path) ?? []
  const repo = repos.find((candidate) => candidate.id === id && !candidate.isDataset)
  if (repo === undefined || (repo.private && !granted)) return refuse(granted ? 404 : 401, 'RepoNotFound')
  const [revision, name] = kind === 'resolve' ? [rest.slice(0, rest.indexOf('/')), rest.slice(rest.indexOf('/') + 1)] : [rest, '']
  const commit = repo.branches[revision] ?? revision
  const files = repo.commits[commit]
  if (files === undefined) return refuse(404, 'RevisionNotFound')

  if (kind === 'revision') {
    const access = { private: repo.private ?? false, gated: repo.gated ? 'auto' : false }
    const counts = { downloads: 0, likes: 0, lastModified: '2026-01-01T00:00:00Z' }
    return {
      kind: 'json',
      body: { _id: '1', id, sha: commit, ...access, ...counts, ...(repo.license && { cardData: { license: repo.license } }) },
    }
  }
  if (kind === 'tree') return { kind: 'json', body: Object.entries(files).map(([file, bytes]) => listed(file, bytes)) }
  if (repo.gated && !granted) return refuse(401, 'GatedRepo')
  const bytes = files[name]
  return bytes === undefined ? refuse(404, 'EntryNotFound') : { kind: 'file', name, bytes }
}

function listed(path: string, bytes: Buffer): object {
  const lfs = { oid: sha256(bytes), size: bytes.length, pointerSize: 130 }
  return { type: 'file', path, size: bytes.length, oid: gitHash(bytes), ...(isLarge(path) && { lfs }) }
}

function send(file: string, whole: Buffer, fault: Fault | undefined, request: http.IncomingMessage, response: http.ServerResponse): void {
  if (fault?.kind === 'status') {
    response.writeHead(fault.status).end()
    return
  }
  const bytes =
    fault?.kind === 'damage' ? Buffer.from(whole.map((byte) => byte ^ 1)) : fault?.kind === 'longer' ? Buffer.concat([whole, whole]) : whole
  const from = fault?.kind === 'no-range' ? 0 : Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0)
  const part = bytes.subarray(from)
  response.writeHead(from > 0 ? 206 : 200, {
    'content-length': part.length,
    etag: `"${isLarge(file) ? sha256(whole) : gitHash(whole)}"`,
    ...(from > 0 && { 'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` }),
  })
  if (fault?.kind === 'hang') response.write(part.subarray(0, fault.after))
  else response.end(part)
}
