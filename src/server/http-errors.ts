/**
 * The refusals that only HTTP can cause. Same shape as `engine/errors.ts`: code -> message made from typed details.
 */

const shorten = (text: string) => (text.length > 200 ? `${text.slice(0, 200)}...` : text)

const messages = {
  URL_INVALID: (d: { url: string; problem: string }) => `"${shorten(d.url)}" is not a valid URL path: ${d.problem}.`,
  ROUTE_UNKNOWN: (d: { method: string; url: string }) =>
    `There is nothing at ${d.method} ${shorten(d.url)}. The routes are listed at /docs and /openapi.json.`,
  METHOD_NOT_ALLOWED: (d: { method: string; url: string; allowed: readonly string[] }) =>
    `${shorten(d.url)} does not take ${d.method}; it takes ${d.allowed.join(', ')}.`,
  NOT_ACCEPTABLE: (d: { accept: string; offered: readonly string[] }) =>
    `Nothing in Accept: ${shorten(d.accept)} can be answered here. Offered: ${d.offered.join(', ')}.`,
  BODY_MALFORMED: (d: { problem: string }) => `The request body cannot be read: ${d.problem}`,
  BODY_TOO_LARGE: (d: { maximum: number }) =>
    `The request body is larger than the limit "bodyBytes" of ${d.maximum} bytes. Upload images one by one and refer to them by id, or raise REFRACT_MAX_BODY_MB.`,
  MEDIA_TYPE_UNSUPPORTED: (d: { given: string; accepted: readonly string[] }) =>
    `Content-Type ${d.given === '' ? 'is missing' : `"${shorten(d.given)}" is not read here`}. Accepted: ${d.accepted.join(', ')}.`,
  RATE_LIMITED: (d: { maximum: number; retryAfterSeconds: number }) =>
    `More than the limit "requestsPerMinute" of ${d.maximum}. Try again in ${d.retryAfterSeconds} s.`,
  HOST_REFUSED: (d: { host: string }) =>
    `The Host header "${shorten(d.host)}" is not an address of this server. Without an API key only requests to localhost are answered, so that web pages cannot reach it by DNS rebinding.`,
  ORIGIN_REFUSED: (d: { origin: string }) =>
    `The web page at "${shorten(d.origin)}" may not call this server. Only pages served from localhost may, unless an API key is used.`,
  GRAPHQL_INVALID: (d: { problem: string }) => d.problem,
  REQUEST_MALFORMED: (d: { problem: string }) => `The request is not valid HTTP: ${d.problem}.`,
  INTERNAL: (d: { requestId: string }) => `Something went wrong on the server. Its log has the details under request ${d.requestId}.`,
} as const

export type HttpErrorCode = keyof typeof messages
type Details<C extends HttpErrorCode> = Parameters<(typeof messages)[C]>[0]

export class HttpError<C extends HttpErrorCode = HttpErrorCode> extends Error {
  readonly code: C
  readonly details: Details<C>

  constructor(code: C, details: Details<C>) {
    super((messages[code] as (details: Details<C>) => string)(details))
    this.name = 'HttpError'
    this.code = code
    this.details = details
  }
}
