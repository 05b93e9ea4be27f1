/** A client with one connection that stays open. Node's plain HTTP client: the least that a client can cost the machine it shares. */

import http from 'node:http'

export interface Answer {
  readonly body: Buffer
  readonly headers: http.IncomingHttpHeaders
  /** When the last byte was there, on the clock of `performance.now()`; `body` takes a copy more. */
  readonly receivedAt: number
  /** Milliseconds by name, from `Server-Timing`. */
  readonly timings: Readonly<Record<string, number>>
}

export class Client {
  readonly #origin: string
  readonly #agent = new http.Agent({ keepAlive: true, maxSockets: 1 })

  constructor(origin: string) {
    this.#origin = origin
  }

  get(path: string): Promise<Answer> {
    return this.#send('GET', path, {})
  }

  post(path: string, body: Buffer | object, headers: http.OutgoingHttpHeaders = {}): Promise<Answer> {
    if (Buffer.isBuffer(body)) return this.#send('POST', path, { 'content-type': 'application/octet-stream', ...headers }, body)
    return this.#send('POST', path, { 'content-type': 'application/json', ...headers }, Buffer.from(JSON.stringify(body)))
  }

  close(): void {
    this.#agent.destroy()
  }

  #send(method: string, path: string, headers: http.OutgoingHttpHeaders, body?: Buffer): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const length = body && { 'content-length': body.byteLength }
      const request = http.request(
        `${this.#origin}${path}`,
        { method, agent: this.#agent, headers: { ...headers, ...length } },
        (response) => {
          const chunks: Buffer[] = []
          response.on('data', (chunk: Buffer) => chunks.push(chunk))
          response.on('error', reject)
          response.on('end', () => {
            const receivedAt = performance.now()
            const answer = Buffer.concat(chunks)
            const status = response.statusCode ?? 0
            if (status >= 400) reject(new Error(`${method} ${path}: ${status} ${answer.toString('utf8', 0, 500)}`))
            else resolve({ body: answer, receivedAt, headers: response.headers, timings: timingsOf(response.headers['server-timing']) })
          })
        },
      )
      request.on('error', reject)
      request.end(body)
    })
  }
}

function timingsOf(header: string | string[] | undefined): Record<string, number> {
  const entries = String(header ?? '').matchAll(/([\w-]+);dur=([\d.]+)/g)
  return Object.fromEntries([...entries].map(([, name, ms]) => [name!, Number(ms)]))
}
