/**
 * The hub's own answers: which commit a revision is, which files it holds, and a clear refusal for each way in which it says no.
 * Through `@huggingface/hub`, with our own fetch beneath it: the token need not start with `hf_` at a private hub.
 */

import fs from 'node:fs/promises'
import path from 'node:path'
import { listFiles, modelInfo } from '@huggingface/hub'
import type { Config } from '../../config.js'
import { EngineError } from '../../engine/errors.js'
import { licenseOf } from './card-license.js'

export type HubConfig = Pick<Config, 'hubEndpoint' | 'hubToken' | 'hubHome' | 'hubCache'>

export interface HubFile {
  readonly path: string
  readonly bytes: number
  /** The name of its blob in the cache: the sha256 of a large file, git's hash of a small one. */
  readonly etag: string
  readonly hash: { readonly kind: 'sha256' | 'git'; readonly hex: string }
}

export interface HubRevision {
  /** 40 hex digits. */
  readonly commit: string
  readonly license: string | null
  /** Directly in the repository's root. */
  readonly files: readonly HubFile[]
}

export interface HubClient {
  readonly endpoint: string
  revision(repo: string, requestedRevision: string, signal?: AbortSignal): Promise<HubRevision>
  /** The bytes of a file from `from` on. @throws HUB_REFUSED, HUB_UNAVAILABLE */
  open(repo: string, commit: string, file: string, from: number, signal?: AbortSignal): Promise<Response>
}

const COMMIT = /^[0-9a-f]{40}$/

export async function hubClient(config: HubConfig): Promise<HubClient> {
  const endpoint = config.hubEndpoint
  const token = await hubToken(config)

  /** Throws where the hub says no or nothing at all; `what` is named in the refusal. */
  const request = async (what: RequestedThing, url: string | URL | Request, init: RequestInit = {}): Promise<Response> => {
    const headers = new Headers(init.headers)
    if (token) headers.set('authorization', `Bearer ${token}`)
    let response: Response
    try {
      response = await fetch(url, { ...init, headers })
    } catch (error) {
      if (init.signal?.aborted) throw error
      throw new EngineError('HUB_UNAVAILABLE', { endpoint, problem: reasonOf(error) })
    }
    if (response.ok) return response
    await response.body?.cancel()
    throw refusal(response, what, { endpoint, hasToken: token !== '' })
  }

  return {
    endpoint,

    async revision(repo, requestedRevision, signal) {
      const asked: typeof fetch = (url, init) =>
        request({ repo, revision: requestedRevision }, url as string, { ...init, ...(signal && { signal }) })
      try {
        const info = await modelInfo({
          name: repo,
          revision: requestedRevision,
          additionalFields: ['sha', 'cardData'],
          hubUrl: endpoint,
          fetch: asked,
        })
        if (!COMMIT.test(info.sha)) throw notAHub(endpoint, 'it did not say which commit the revision is')
        const files: HubFile[] = []
        for await (const entry of listFiles({ repo, revision: info.sha, hubUrl: endpoint, fetch: asked })) {
          if (entry.type === 'file' && isPlainName(entry.path)) files.push(hubFile(endpoint, entry))
        }
        return { commit: info.sha, license: licenseOf(info.cardData), files }
      } catch (error) {
        if (error instanceof EngineError || signal?.aborted) throw error
        throw notAHub(endpoint, (error as Error).message)
      }
    },

    open(repo, commit, file, from, signal) {
      const url = `${endpoint}/${repo}/resolve/${commit}/${file.split('/').map(encodeURIComponent).join('/')}`
      // As it is stored: a compressed answer would have another length and could not be resumed.
      const headers = { 'accept-encoding': 'identity', ...(from > 0 && { range: `bytes=${from}-` }) }
      return request({ repo, revision: commit, file }, url, { headers, ...(signal && { signal }) })
    },
  }
}

/** A hub is not trusted with where files go. */
const isPlainName = (name: string) => !/[\\/\0]/.test(name) && name !== '.' && name !== '..'

interface RequestedThing {
  readonly repo: string
  readonly revision: string
  readonly file?: string
}

/** The setting, or what `huggingface-cli login` left behind; empty where there is none. */
export async function hubToken({ hubToken: given, hubHome }: Pick<HubConfig, 'hubToken' | 'hubHome'>): Promise<string> {
  return given || (await fs.readFile(path.join(hubHome, 'token'), 'utf8').catch(() => '')).trim()
}

function hubFile(endpoint: string, entry: { path: string; size: number; oid?: string; lfs?: { oid: string; size: number } }): HubFile {
  const { path: name, lfs } = entry
  const hash = lfs ? ({ kind: 'sha256', hex: lfs.oid } as const) : ({ kind: 'git', hex: entry.oid ?? '' } as const)
  const bytes = lfs?.size ?? entry.size
  if (!/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(hash.hex) || !Number.isSafeInteger(bytes) || bytes < 0) {
    throw notAHub(endpoint, `it lists ${name} without size and hash`)
  }
  return { path: name, bytes, etag: hash.hex, hash }
}

/** Each no of the hub, and what to do about it. `X-Error-Code` tells apart what the status does not. */
function refusal(
  response: Response,
  { repo, revision, file }: RequestedThing,
  { endpoint, hasToken }: { endpoint: string; hasToken: boolean },
): EngineError {
  const code = response.headers.get('x-error-code')
  const page = `${endpoint}/${repo}`
  const refused = (problem: string, instead: string) =>
    new EngineError('HUB_REFUSED', { what: file ? `${file} of ${repo}@${revision.slice(0, 12)}` : `${repo}@${revision}`, problem, instead })
  const withToken = hasToken ? 'Check that the token (HF_TOKEN) may read it.' : 'If it is private, set HF_TOKEN.'

  if (code === 'GatedRepo') {
    return refused('it is gated', hasToken ? `Ask for access at ${page}.` : `Accept its terms at ${page}, then set HF_TOKEN.`)
  }
  if (code === 'RevisionNotFound') return refused('there is no such revision', `See its branches and tags at ${page}/tree/main.`)
  if (code === 'EntryNotFound') return refused('there is no such file in it', `See its files at ${page}/tree/${revision}.`)
  if (code === 'RepoNotFound') return refused('there is no such repository', `Check the spelling. ${withToken}`)
  switch (response.status) {
    case 401:
      return refused(hasToken ? 'the token is not valid' : 'it wants a token', hasToken ? 'Set another HF_TOKEN.' : 'Set HF_TOKEN.')
    case 403:
      return refused('access is denied', withToken)
    case 404:
      return refused('there is no such repository, revision or file', `Check the spelling. ${withToken}`)
    case 416:
      return refused('it does not have the bytes that were asked for', 'Import it again.')
    default:
      return new EngineError('HUB_UNAVAILABLE', { endpoint, problem: `status ${response.status}${retryAfter(response)}` })
  }
}

const retryAfter = (response: Response) => {
  const seconds = response.headers.get('retry-after')
  return seconds !== null && /^\d+$/.test(seconds) ? `; it asks to wait ${seconds} s` : ''
}

const notAHub = (endpoint: string, problem: string) =>
  new EngineError('HUB_UNAVAILABLE', { endpoint, problem: `its answer is not a hub's (${problem})` })

/** Node's fetch says "fetch failed" and keeps the reason in the cause. */
export function reasonOf(error: unknown): string {
  const { message, cause } = error as { message?: string; cause?: { code?: string; message?: string } }
  return cause?.message || cause?.code || message || String(error)
}
