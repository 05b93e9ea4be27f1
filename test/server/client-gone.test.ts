import { EventEmitter } from 'node:events'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { FastifyReply } from 'fastify'
import { expect, test } from 'vitest'
import { clientGone } from '../../src/server/client-gone.js'

function connection(writableFinished: boolean) {
  return Object.assign(new EventEmitter(), { writableFinished })
}

function signalOf(raw: EventEmitter): AbortSignal {
  return clientGone({ raw } as unknown as FastifyReply)
}

test('a connection that closes before the answer is written cancels the request', () => {
  const raw = connection(false)
  const signal = signalOf(raw)
  expect(signal.aborted).toBe(false)
  raw.emit('close')
  expect(signal.reason).toMatchObject({ code: 'CANCELLED' })
})

test('a connection that closes after the answer cancels nothing', () => {
  const raw = connection(true)
  const signal = signalOf(raw)
  raw.emit('close')
  expect(signal.aborted).toBe(false)
})

test('as many pictures as a request may have can listen without a warning', async () => {
  const warnings: Error[] = []
  const onWarning = (warning: Error) => warnings.push(warning)
  process.on('warning', onWarning)
  const signal = signalOf(connection(false))
  for (let picture = 0; picture < 256; picture++) signal.addEventListener('abort', () => undefined)
  await nextTurn()
  process.off('warning', onWarning)
  expect(warnings).toEqual([])
})
