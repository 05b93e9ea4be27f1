/**
 * A hub on this machine for tests: the endpoints that an import calls, over real HTTP, with the faults that real networks have.
 */

import { createHash } from 'node:crypto'
import http from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Repo {
  readonly id: string
  /** Commit by branch or tag; a commit is also found by itself. */
  readonly branches: Record<string, string>
  readonly commits: Readonly<Record<string, Readonly<Record<string, Buffer>>>>
  readonly license?: string
  /** Everything is listed, nothing is given without the token `hf_granted`. */
  readonly gated?: boolean
  /** Not even its existence is told without the token `hf_granted`. */
  readonly private?: boolean
}

/** What happens once to the next answer with bytes of a file. */
export type Fault =
  | { readonly kind: 'hang'; readonly after: number }
  | { readonly kind: 'damage' }
  | { readonly kind: 'no-range' }
  | { readonly kind: 'longer' }
  | { readonly kind: 'status'; readonly status: number }

export interface Hub {
  readonly url: string
  /** `<method> <path> [<range>]`, in order. */
  readonly requests: string[]
  /** By file name, each used once, in order. */
  readonly faults: Map<string, Fault[]>
  /** Breaks every connection, as a network does. */
  drop(): void
  /** Requests for a file's bytes. */
  downloads(file: string): string[]
  close(): Promise<void>
}

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
const gitHash = (bytes: Buffer) => createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex')
const isLarge = (file: string) => /\.(safetensors|bin|pt)$/.test(file)

export const COMMIT_A = 'a'.repeat(40)
export const COMMIT_B = 'b'.repeat(40)

export async function startHub(repos: readonly Repo[]): Promise<Hub> {
  const requests: string[] = []
  const faults = new Map<string, Fault[]>()
  const server = http.createServer((request, response) => {
    const range = request.headers.range
    requests.push(`${request.method} ${request.url}${range ? ` [${range}]` : ''}`)
    answer(repos, faults, request, response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    faults,
    drop: () => server.closeAllConnections(),
    downloads: (file) => requests.filter((line) => line.includes('/resolve/') && line.split(' ')[1]?.endsWith(`/${file}`)),
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections()
        server.close(() => resolve())
      }),
  }
}

function answer(repos: readonly Repo[], faults: Map<string, Fault[]>, request: http.IncomingMessage, response: http.ServerResponse): void {
  const refuse = (status: number, code?: string) => {
    response.writeHead(status, { 'content-type': 'application/json', ...(code && { 'x-error-code': code }) })
    response.end(JSON.stringify({ error: code ?? `status ${status}` }))
  }
  const json = (body: unknown) => {
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(JSON.stringify(body))
  }
  const path = decodeURIComponent(new URL(request.url ?? '/', 'http://hub').pathname)
  const granted = request.headers.authorization === 'Bearer hf_granted'
  if (request.headers.authorization && !granted) return refuse(401)

  const [, id, kind, rest = ''] = /^(?:\/api\/models)?\/([^/]+\/[^/]+)\/(revision|tree|resolve)\/(.+)$/.exec(path) ?? []
  const repo = repos.find((candidate) => candidate.id === id)
  if (repo === undefined || (repo.private && !granted)) return refuse(granted ? 404 : 401, 'RepoNotFound')
  const [revision, file] = kind === 'resolve' ? [rest.slice(0, rest.indexOf('/')), rest.slice(rest.indexOf('/') + 1)] : [rest, '']
  const commit = repo.branches[revision] ?? revision
  const files = repo.commits[commit]
  if (files === undefined) return refuse(404, 'RevisionNotFound')

  if (kind === 'revision') {
    const fields = {
      private: repo.private ?? false,
      gated: repo.gated ? 'auto' : false,
      downloads: 0,
      likes: 0,
      lastModified: '2026-01-01T00:00:00Z',
    }
    return json({ _id: '1', id, sha: commit, ...fields, ...(repo.license && { cardData: { license: repo.license } }) })
  }
  if (kind === 'tree') {
    return json(
      Object.entries(files).map(([name, bytes]) => ({
        type: 'file',
        path: name,
        size: bytes.length,
        oid: gitHash(bytes),
        ...(isLarge(name) && { lfs: { oid: sha256(bytes), size: bytes.length, pointerSize: 130 } }),
      })),
    )
  }
  if (repo.gated && !granted) return refuse(granted ? 403 : 401, 'GatedRepo')
  const bytes = files[file]
  if (bytes === undefined) return refuse(404, 'EntryNotFound')
  return send(file, bytes, faults.get(file)?.shift(), request, response)
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
