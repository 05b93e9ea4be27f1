/**
 * Every error as a client sees it: one table from code to status, and one shape (RFC 9457).
 */

import type { Problem } from '../engine/errors.js'
import { isRefusal, type Refusal, type RefusalCode } from '../operations/errors.js'
import { HttpError, type HttpErrorCode } from './http-errors.js'

export type Code = RefusalCode | HttpErrorCode

/** The caller's mistake is a 4xx; ours, or a passing condition, is a 5xx. */
export const statuses: Readonly<Record<Code, number>> = {
  // --- requests
  INPUT_INVALID: 400,
  HOOK_POINT_UNKNOWN: 400,
  EDIT_INVALID: 400,
  POSITION_OUT_OF_RANGE: 400,
  SHAPE_MISMATCH: 400,
  IMAGE_INVALID: 400,
  TEXT_INVALID: 400,
  CURSOR_INVALID: 400,
  IDEMPOTENCY_KEY_INVALID: 422,
  MODEL_UNKNOWN: 404,
  IMAGE_UNKNOWN: 404,
  JOB_UNKNOWN: 404,
  ARTIFACT_UNKNOWN: 404,
  SAE_UNKNOWN: 404,
  FEATURE_UNKNOWN: 404,
  FEATURES_UNKNOWN: 404,
  DATASET_UNKNOWN: 404,
  EXPLANATION_UNKNOWN: 404,
  VECTOR_UNKNOWN: 404,
  RUN_UNKNOWN: 404,
  BASE_MODEL_UNKNOWN: 404,
  CACHE_UNKNOWN: 404,
  ACTIVATION_UNKNOWN: 404,
  JOB_CONFLICT: 409,
  RUN_OUTDATED: 409,
  MODEL_CONFLICT: 409,
  MODEL_NOT_DOWNLOADED: 409,
  SAE_CONFLICT: 409,
  SAE_NOT_DOWNLOADED: 409,
  IMAGE_TOO_LARGE: 413,
  LIMIT_EXCEEDED: 422,
  DEVICE_LIMIT_EXCEEDED: 422,
  MODEL_UNSUPPORTED: 422,
  SAE_MISFIT: 422,
  DATASET_INVALID: 422,
  CONFIG_INVALID: 422,
  CHECKPOINT_MISMATCH: 409,
  TRAINING_DIVERGED: 422,
  UNAUTHENTICATED: 401,
  FORBIDDEN: 403,

  // --- HTTP
  URL_INVALID: 400,
  REQUEST_MALFORMED: 400,
  GRAPHQL_INVALID: 400,
  BODY_MALFORMED: 400,
  ROUTE_UNKNOWN: 404,
  METHOD_NOT_ALLOWED: 405,
  NOT_ACCEPTABLE: 406,
  BODY_TOO_LARGE: 413,
  MEDIA_TYPE_UNSUPPORTED: 415,
  RATE_LIMITED: 429,
  HOST_REFUSED: 403,
  ORIGIN_REFUSED: 403,
  /** The client went away: nobody reads this answer. */
  CANCELLED: 499,

  // --- the server's own condition
  QUEUE_FULL: 503,
  MEMORY_EXCEEDED: 503,
  WORKER_DIED: 503,
  DEVICE_UNAVAILABLE: 503,
  DEVICE_OUT_OF_MEMORY: 503,
  DEVICE_LOST: 503,
  ENGINE_UNHEALTHY: 503,
  DATABASE_UNAVAILABLE: 503,
  BLOBS_UNAVAILABLE: 503,
  STORAGE_FULL: 507,
  HUB_UNAVAILABLE: 502,
  HUB_REFUSED: 502,
  DOWNLOAD_INVALID: 502,

  // --- a model's files on this server, or our own mistakes
  FILE_INVALID: 500,
  FILE_UNSAFE: 500,
  WEIGHTS_MISMATCH: 500,
  GRAPH_INVALID: 500,
  VALUE_UNKNOWN: 500,
  FEED_MISSING: 500,
  OPERATOR_UNSUPPORTED: 500,
  BACKEND_FAILED: 500,
  INTERNAL: 500,
}

export interface ProblemDetails {
  /** Where the code is explained: `/errors/INPUT_INVALID`. */
  readonly type: string
  readonly title: string
  readonly status: number
  readonly detail: string
  readonly instance: string
  readonly code: Code
  readonly errors?: readonly Problem[]
  readonly limit?: { readonly name: string; readonly value: number; readonly given?: number }
  readonly requestId?: string
}

export interface Problematic {
  readonly problem: ProblemDetails
  /** Seconds after which the same request may succeed. */
  readonly retryAfterSeconds?: number
  /** True when the log should have the error itself. */
  readonly isOurs: boolean
}

/** Never a stack, never the text of an unexpected error. */
export function describeError(error: unknown, request: { readonly id: string; readonly url: string }): Problematic {
  const known = isRefusal(error) || error instanceof HttpError ? error : new HttpError('INTERNAL', { requestId: request.id })
  const status = statuses[known.code as Code]
  const errors = problemsOf(known)
  const limit = limitOf(known)
  const retryAfterSeconds = retryAfter(known)
  return {
    problem: {
      type: `/errors/${known.code}`,
      title: titleOf(known.code),
      status,
      detail: known.message,
      instance: request.url.slice(0, 500),
      code: known.code,
      ...(errors.length > 0 && { errors: [...errors] }),
      ...(limit && { limit }),
      ...(status >= 500 && { requestId: request.id }),
    },
    ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
    isOurs: status === 500,
  }
}

/** Every problem with its path; a refusal that names a path is one itself. */
function problemsOf(error: Known): readonly Problem[] {
  if ('problems' in error && error.problems.length > 0) return error.problems
  const { code, details, message } = error
  const isInput = code === 'INPUT_INVALID' || code === 'EDIT_INVALID' || code === 'POSITION_OUT_OF_RANGE'
  return isInput && 'path' in details ? [{ path: details.path, message: message.replace(`${details.path}: `, '') }] : []
}

/** `HOOK_POINT_UNKNOWN` -> `Hook point unknown`. */
export function titleOf(code: Code): string {
  const words = code.toLowerCase().replaceAll('_', ' ')
  return words[0]!.toUpperCase() + words.slice(1)
}

type Known = HttpError | Refusal

/** A limit that was passed: its name, as in `capabilities`, and its value. */
function limitOf(error: Known): ProblemDetails['limit'] {
  const details = error.details as Readonly<Record<string, unknown>>
  const numberAt = (key: string) => details[key] as number
  switch (error.code) {
    case 'LIMIT_EXCEEDED':
      return { name: details.limit as string, value: numberAt('maximum'), given: numberAt('given') }
    case 'BODY_TOO_LARGE':
      return { name: 'bodyBytes', value: numberAt('maximum') }
    case 'RATE_LIMITED':
      return { name: 'requestsPerMinute', value: numberAt('maximum') }
    case 'QUEUE_FULL':
      return { name: 'queueLength', value: numberAt('limit') }
    case 'IMAGE_TOO_LARGE':
      return { name: 'imagePixels', value: numberAt('limit'), given: numberAt('width') * numberAt('height') }
    default:
      return undefined
  }
}

function retryAfter(error: Known): number | undefined {
  if ('retryAfterSeconds' in error.details) return error.details.retryAfterSeconds
  // what is larger than the whole budget will be so later, too
  if ('budgetBytes' in error.details && error.details.neededBytes > error.details.budgetBytes) return undefined
  return statuses[error.code as Code] === 503 ? 1 : undefined
}
