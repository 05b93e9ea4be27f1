/**
 * What keeps web pages out of a server on localhost that asks for no key. A page from anywhere can make a browser send requests to
 * localhost: by a "simple" cross-site request (a form, an image), by a WebSocket, or by DNS rebinding, where the page's own host name
 * comes to mean 127.0.0.1. The Origin and Host headers tell.
 * @see https://owasp.org/www-community/attacks/csrf, https://datatracker.ietf.org/doc/html/rfc6454
 */

import { isIP } from 'node:net'
import type { FastifyRequest } from 'fastify'
import { HttpError } from './http-errors.js'

const LOCAL_NAMES = new Set(['localhost', '127.0.0.1', '[::1]'])

/** True for an address that only this machine can reach. */
export function isLoopback(host: string): boolean {
  const name = host.replace(/^\[|\]$/g, '').toLowerCase()
  if (name === 'localhost' || name.endsWith('.localhost')) return true
  return isIP(name) === 4 ? name.startsWith('127.') : name === '::1' || name === '::ffff:127.0.0.1'
}

/** `localhost:8080` -> `localhost`; undefined when it is no authority at all. */
function hostName(authority: string): string | undefined {
  return /^(\[[0-9a-fA-F:.]+\]|[^:/\s]+)(:\d{1,5})?$/.exec(authority)?.[1]?.toLowerCase()
}

/** @throws HOST_REFUSED unless the request was sent to localhost by name, or to `listeningOn` */
export function checkHost(request: FastifyRequest, listeningOn: string): void {
  const host = request.headers.host ?? ''
  const name = hostName(host)
  if (name !== undefined && (LOCAL_NAMES.has(name) || isLoopback(name) || name === listeningOn.toLowerCase())) return
  throw new HttpError('HOST_REFUSED', { host })
}

/** @throws ORIGIN_REFUSED when a page that is not on localhost sent something that does more than read, or opens a WebSocket */
export function checkOrigin(request: FastifyRequest): void {
  const isRead = (request.method === 'GET' || request.method === 'HEAD' || request.method === 'OPTIONS') && !request.headers.upgrade
  if (isRead) return
  const { origin } = request.headers
  if (origin !== undefined) {
    if (!isLocalOrigin(origin)) throw new HttpError('ORIGIN_REFUSED', { origin })
  } else if (request.headers['sec-fetch-site'] === 'cross-site') {
    throw new HttpError('ORIGIN_REFUSED', { origin: 'another site' })
  }
}

export function isLocalOrigin(origin: string): boolean {
  return URL.canParse(origin) && isLoopback(new URL(origin).hostname)
}
