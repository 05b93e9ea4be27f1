/**
 * A job as server-sent events. The id of an event is the number of the last line of the log that was sent, so a client that was cut off
 * (and sends it as Last-Event-ID, as browsers do) gets every line once, and the job as it is now.
 * @see https://html.spec.whatwg.org/multipage/server-sent-events.html
 */

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { EngineError } from '../engine/errors.js'
import { jobEvents } from '../operations/job.js'
import type { JobEventAnswer } from '../operations/schemas/job.js'
import type { Doors } from './doors.js'
import { negotiate } from './negotiate.js'

export const EVENT_STREAM = 'text/event-stream'

/** Proxies close what is silent. */
const ALIVE_MS = 15_000
/** What a client waits before it comes again. */
const RETRY_MS = 2000

export function jobEventRoutes(app: FastifyInstance, doors: Doors): void {
  const open = new Set<AbortController>()
  // a stream would keep the server from closing for as long as its job runs
  app.addHook('preClose', async () => {
    for (const stream of open) stream.abort()
  })
  app.get('/v1/jobs/:id/events', { config: { scope: 'read' } }, async (request, reply) => {
    negotiate(request, reply, [EVENT_STREAM])
    const { id } = request.params as { id: string }
    const after = afterOf(request)
    const stop = new AbortController()
    const events = jobEvents(doors.context, { id, after }, { signal: stop.signal })
    // what is wrong with the request is an answer of its own
    const first = await events.next()
    open.add(stop)
    try {
      await send(first, events, { reply, stop, after })
    } finally {
      open.delete(stop)
      stop.abort()
      await events.return(undefined)
    }
    return reply
  })
}

interface Stream {
  readonly reply: FastifyReply
  readonly stop: AbortController
  readonly after: number
}

async function send(first: IteratorResult<JobEventAnswer>, events: AsyncGenerator<JobEventAnswer>, { reply, stop, after }: Stream) {
  const { raw } = reply
  for (const [name, value] of Object.entries(reply.getHeaders())) if (value !== undefined) raw.setHeader(name, value)
  reply.hijack()
  raw.on('close', () => stop.abort())
  raw.on('error', () => stop.abort())
  raw.writeHead(200, { 'content-type': `${EVENT_STREAM}; charset=utf-8`, 'cache-control': 'no-store', 'x-accel-buffering': 'no' })
  raw.write(`retry: ${RETRY_MS}\n\n`)
  const alive = setInterval(() => raw.write(':\n\n'), ALIVE_MS)
  let last = after
  try {
    for (let next = first; !next.done && !stop.signal.aborted; next = await events.next()) {
      const { job, line } = next.value
      if (line) last = line.number
      const text = `id: ${last}\nevent: ${line ? 'line' : 'job'}\ndata: ${JSON.stringify(line ?? job)}\n\n`
      // a client that does not read is waited for: its lines stay in the database, not in this memory
      if (!raw.write(text)) await drained(raw, stop.signal)
    }
  } catch (error) {
    reply.log.error({ err: error }, 'the events of a job broke off')
  } finally {
    clearInterval(alive)
    raw.end()
  }
}

function drained(raw: NodeJS.WritableStream, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      raw.off('drain', done)
      signal.removeEventListener('abort', done)
      resolve()
    }
    raw.on('drain', done)
    signal.addEventListener('abort', done)
    if (signal.aborted) done()
  })
}

/** @throws INPUT_INVALID */
function afterOf(request: FastifyRequest): number {
  const { after, ...others } = request.query as Record<string, unknown>
  const [unknown] = Object.keys(others)
  if (unknown !== undefined) throw new EngineError('INPUT_INVALID', { path: unknown, problem: 'is no parameter here; there is "after"' })
  // a browser that comes again knows better than the address it was first given
  const header = request.headers['last-event-id']
  const [path, given] = header === undefined ? ['after', after] : ['last-event-id', header]
  if (given === undefined) return 0
  if (typeof given === 'string' && /^\d{1,9}$/.test(given)) return Number(given)
  throw new EngineError('INPUT_INVALID', { path, problem: `"${String(given).slice(0, 40)}" is not the number of a line` })
}
