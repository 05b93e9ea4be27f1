/**
 * Writing to a hub through `@huggingface/hub`, with our own fetch beneath it: uploads that are counted and tried again, any token (the
 * library wants `hf_` in front), and a clear refusal for each way in which a hub says no.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import type { AccessToken } from '@huggingface/hub'
import { EngineError } from '../../engine/errors.js'
import { type HubConfig, hubToken, reasonOf } from '../import/hub-client.js'

export interface HubWriter {
  readonly endpoint: string
  /** What the library is called with: its requests, to the hub and to where the hub keeps large files, go through `fetch`. */
  readonly access: { readonly hubUrl: string; readonly accessToken: AccessToken; readonly fetch: typeof fetch }
}

export interface HubWriterOptions {
  /** What is named in a refusal: `owner/name`. */
  readonly repo: string
  /** Bytes of a large file that are on their way, parts of it counted by themselves; from 0 again when a part is sent again. */
  readonly onBytes?: (file: string, part: number, bytes: number) => void
  /** Before the first new try of an upload; it doubles with each. */
  readonly retryDelayMs?: number
  readonly signal?: AbortSignal
}

/** The hub answered, and said no. */
export class HubRefusal extends Error {
  override readonly name = 'HubRefusal'
  readonly status: number
  /** `X-Error-Code`, which tells apart what the status does not. */
  readonly code: string | undefined
  /** In its own words, one line, never long. */
  readonly words: string

  constructor(status: number, code: string | undefined, words: string) {
    super(`status ${status}${words && `: ${words}`}`)
    this.status = status
    this.code = code
    this.words = words
  }
}

/** Replaced before it is sent. */
const placeholder: AccessToken = 'hf_placeholder'
const MAX_TRIES = 5
const MAX_DELAY_MS = 10_000

/** @throws HUB_REFUSED when there is no token */
export async function hubWriter(config: HubConfig, options: HubWriterOptions): Promise<HubWriter> {
  const endpoint = config.hubEndpoint
  const token = await hubToken(config)
  if (token === '') {
    const instead = `Set HF_TOKEN to one that may write (${endpoint}/settings/tokens).`
    throw new EngineError('HUB_REFUSED', { what: `to take ${options.repo}`, problem: 'pushing wants a token', instead })
  }
  const send: typeof fetch = async (input, init = {}) => {
    const headers = new Headers(init.headers)
    // The library puts a token on what it asks of the hub itself, and on nothing that goes elsewhere.
    if (headers.has('authorization')) headers.set('authorization', `Bearer ${token}`)
    const signals = [init.signal, options.signal].filter((each) => each != null)
    const request = { ...init, headers, signal: AbortSignal.any(signals) }
    return init.method === 'PUT' && init.body instanceof Blob ? upload(input, request, init.body, options) : answered(input, request)
  }
  return { endpoint, access: { hubUrl: endpoint, accessToken: placeholder, fetch: send } }
}

async function answered(input: string | URL | Request, init: RequestInit): Promise<Response> {
  const response = await fetch(input, init)
  if (response.ok) return response
  throw new HubRefusal(response.status, response.headers.get('x-error-code') ?? undefined, await wordsOf(response))
}

/** The library's hint of what a request uploads. */
interface ProgressHint {
  readonly progressHint?: { readonly path?: string; readonly part?: number }
}

/** One large file, or one part of it: the same bytes again where the network or the store failed. */
async function upload(input: string | URL | Request, init: RequestInit, content: Blob, options: HubWriterOptions): Promise<Response> {
  const { path = '', part = 0 } = (init as ProgressHint).progressHint ?? {}
  for (let tries = 1; ; tries++) {
    let sent = 0
    const count = (bytes: number) => {
      sent += bytes
      options.onBytes?.(path, part, sent)
    }
    try {
      count(0)
      return await answered(input, streamed(init, content, count))
    } catch (error) {
      if (tries === MAX_TRIES || init.signal?.aborted || !mayPass(error)) throw error
    }
    await sleep(
      Math.min((options.retryDelayMs ?? 250) * 2 ** (tries - 1), MAX_DELAY_MS),
      undefined,
      init.signal ? { signal: init.signal } : {},
    )
  }
}

/** Stores of large files want to know the length beforehand, which a stream by itself does not say. */
function streamed(init: RequestInit, content: Blob, onBytes: (bytes: number) => void): RequestInit {
  if (content.size === 0) return init
  const headers = new Headers(init.headers)
  headers.set('content-length', String(content.size))
  const counted = new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) {
      onBytes(chunk.byteLength)
      controller.enqueue(chunk)
    },
  })
  return { ...init, headers, body: content.stream().pipeThrough(counted), duplex: 'half' } as RequestInit
}

/** True for what may be gone at the next try: the network, a busy store. */
function mayPass(error: unknown): boolean {
  return error instanceof HubRefusal ? error.status >= 500 || error.status === 429 || error.status === 408 : true
}

async function wordsOf(response: Response): Promise<string> {
  const text = await response.text().catch(() => '')
  let words = text
  try {
    const { error, message } = JSON.parse(text) as { error?: unknown; message?: unknown }
    words = typeof error === 'string' ? error : typeof message === 'string' ? message : ''
  } catch {
    if (text.trimStart().startsWith('<')) words = '' // a page, or a store's XML
  }
  return words
    .replace(/[\s\p{C}]+/gu, ' ')
    .trim()
    .slice(0, 200)
}

/** What a failed push means, for people. @param doing  what was being asked, after "The hub refuses": `to create a/b` */
export function meaningOf(error: unknown, doing: string, { endpoint, repo }: { endpoint: string; repo: string }): unknown {
  if (error instanceof EngineError) return error
  if (!(error instanceof HubRefusal)) return new EngineError('HUB_UNAVAILABLE', { endpoint, problem: reasonOf(error) })
  const owner = repo.split('/')[0]
  const said = error.words && `; it says: ${error.words.replace(/\.$/, '')}`
  const refused = (problem: string, instead: string) => new EngineError('HUB_REFUSED', { what: doing, problem: problem + said, instead })
  switch (error.status) {
    case 401:
      return refused('the token is not valid', 'Set another HF_TOKEN.')
    case 403:
      return refused(`the token may not write to ${owner}`, `Set HF_TOKEN to one that may write there (${endpoint}/settings/tokens).`)
    case 404:
      return refused('there is no such owner or repository', `Check the spelling of ${repo}.`)
    case 409:
    case 412:
      return refused('somebody else changed the repository meanwhile', 'Look at what they did, and push again.')
    case 413:
      return refused('it is too large', 'Push fewer or smaller files.')
    case 408:
    case 429:
      return new EngineError('HUB_UNAVAILABLE', { endpoint, problem: error.message })
    default:
      return error.status >= 500
        ? new EngineError('HUB_UNAVAILABLE', { endpoint, problem: error.message })
        : refused(`status ${error.status}`, `See ${endpoint}/${repo}.`)
  }
}
