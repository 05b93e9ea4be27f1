/**
 * What is not even HTTP: answered on the bare socket, in the same shape as every other error.
 */

import { randomUUID } from 'node:crypto'
import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { HttpError } from './http-errors.js'
import { describeError } from './problem.js'

const reasons: Readonly<Record<string, readonly [status: number, problem: string]>> = {
  HPE_HEADER_OVERFLOW: [431, 'its headers are too large'],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'it did not arrive in time'],
}

export function malformedHttp(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy()
  const [status, problem] = reasons[error.code ?? ''] ?? [400, 'it cannot be parsed']
  const described = describeError(new HttpError('REQUEST_MALFORMED', { problem }), { id: randomUUID(), url: '' })
  const body = JSON.stringify({ ...described.problem, status })
  const head = `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\ncontent-type: application/problem+json\r\n`
  socket.end(`${head}content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`)
}
