/**
 * The refusals that are about a request and not about the engine: an unknown id, a limit, a missing right. Same shape as
 * `engine/errors.ts`: code -> message made from typed details.
 */

import type { ErrorCode as EngineErrorCode, Problem } from '../engine/errors.js'
import { EngineError } from '../engine/errors.js'
import { nearest } from '../engine/nearest.js'
import type { LimitName } from './limits.js'
import type { Scope } from './operation.js'

const didYouMean = (given: string, known: readonly string[]) => {
  const near = nearest(given.slice(0, 200), known)
  return near.length > 0 ? ` Did you mean ${near.map((name) => `"${name}"`).join(' or ')}?` : ''
}
const shorten = (text: string) => (text.length > 100 ? `${text.slice(0, 100)}...` : text)

const messages = {
  MODEL_NOT_DOWNLOADED: (d: { model: string; repo: string }) =>
    `The model "${d.model}" is known and not here. Import it first: refract import ${d.repo}`,
  MODEL_UNKNOWN: (d: { model: string; known: readonly string[] }) =>
    `There is no model "${shorten(d.model)}".${didYouMean(d.model, d.known) || ' GET /v1/models lists the models.'}`,
  IMAGE_UNKNOWN: (d: { image: string }) =>
    `There is no image "${shorten(d.image)}". Upload it first (POST /v1/images, uploadImage); ids look like "sha256:" and 64 hex digits.`,
  JOB_UNKNOWN: (d: { job: string }) => `There is no job "${shorten(d.job)}". GET /v1/jobs lists the jobs.`,
  JOB_CONFLICT: (d: { job: string; problem: string; instead: string }) => `Job ${d.job}: ${d.problem}. ${d.instead}`,
  ARTIFACT_UNKNOWN: (d: { job: string; artifact: string; known: readonly string[] }) =>
    `Job ${d.job} left no file "${shorten(d.artifact)}".${didYouMean(d.artifact, d.known) || (d.known.length > 0 ? ` It left ${d.known.join(', ')}.` : '')}`,
  SAE_UNKNOWN: (d: { sae: string; known: readonly string[] }) =>
    `There is no SAE "${shorten(d.sae)}".${didYouMean(d.sae, d.known) || ' GET /v1/saes lists the SAEs.'}`,
  SAE_NOT_DOWNLOADED: (d: { sae: string; from: string }) =>
    `The SAE "${d.sae}" is published and not here. Import it first: refract import ${d.from}`,
  FEATURE_UNKNOWN: (d: { sae: string; index: number; width: number }) =>
    `${d.sae} has no feature ${d.index}; its features are 0 to ${d.width - 1}.`,
  FEATURES_UNKNOWN: (d: { sae: string; dataset?: string; known: readonly string[] }) =>
    `The features of ${d.sae} are not indexed${d.dataset === undefined ? '' : ` on "${shorten(d.dataset)}"`}.${
      d.known.length > 0 ? ` They are on ${d.known.map((id) => `"${id}"`).join(', ')}.` : ' Index it on a data set first.'
    }`,
  EXPLANATION_UNKNOWN: (d: { explanation: string }) =>
    `There is no explanation "${shorten(d.explanation)}". GET /v1/explanations lists the explanations.`,
  VECTOR_UNKNOWN: (d: { vector: string; known: readonly string[] }) =>
    `There is no vector "${shorten(d.vector)}".${didYouMean(d.vector, d.known) || ' GET /v1/vectors lists the vectors.'}`,
  RUN_UNKNOWN: (d: { run: string }) => `There is no saved run "${shorten(d.run)}". Ids look like "run-" and 32 hex digits.`,
  RUN_OUTDATED: (d: { run: string; problem: string }) =>
    `The saved run "${d.run}" cannot be computed again: ${d.problem}. GET /v1/runs/${d.run} has the request and the hashes of the weights that it was saved with.`,
  DATASET_UNKNOWN: (d: { dataset: string; known: readonly string[] }) =>
    `There is no data set "${shorten(d.dataset)}".${didYouMean(d.dataset, d.known) || ' GET /v1/datasets lists the data sets.'}`,
  CACHE_UNKNOWN: (d: { cache: string }) =>
    `There is no cache "${shorten(d.cache)}". Caches are kept while memory allows; run the request again to get a new one.`,
  ACTIVATION_UNKNOWN: (d: { hookPoint: string; cache: string; known: readonly string[] }) =>
    `Cache "${d.cache}" does not hold "${shorten(d.hookPoint)}".${didYouMean(d.hookPoint, d.known) || ` It holds ${d.known.length} other hook points.`}`,
  LIMIT_EXCEEDED: (d: { limit: LimitName; given: number; maximum: number; what: string; instead: string }) =>
    `${d.what}: ${d.given} is more than the limit "${d.limit}" of ${d.maximum}. ${d.instead}`,
  UNAUTHENTICATED: (d: { why: string }) => `${d.why} Send "Authorization: Bearer <key>" or "x-api-key: <key>".`,
  FORBIDDEN: (d: { needed: Scope; scopes: readonly string[] }) =>
    `This needs a key with the scope "${d.needed}"; yours has ${d.scopes.length > 0 ? d.scopes.map((scope) => `"${scope}"`).join(', ') : 'none'}.`,
  IDEMPOTENCY_KEY_INVALID: (d: { problem: string }) => `The Idempotency-Key cannot be used: ${d.problem}.`,
} as const

export type RequestErrorCode = keyof typeof messages
type Details<C extends RequestErrorCode> = Parameters<(typeof messages)[C]>[0]

/** A refusal of a request: a stable code, its details, and a message for people. */
export class RequestError<C extends RequestErrorCode = RequestErrorCode> extends Error {
  readonly code: C
  readonly details: Details<C>
  readonly problems: readonly Problem[]

  constructor(code: C, details: Details<C>, problems: readonly Problem[] = []) {
    super((messages[code] as (details: Details<C>) => string)(details))
    this.name = 'RequestError'
    this.code = code
    this.details = details
    this.problems = problems
  }
}

/** Any refusal that has a code, a message and perhaps several problems. */
export type Refusal = EngineError | RequestError

export type RefusalCode = EngineErrorCode | RequestErrorCode

export function isRefusal(error: unknown): error is Refusal {
  return error instanceof EngineError || error instanceof RequestError
}

const MAX_PROBLEMS = 20

/**
 * Collects everything that is wrong with a request, so that one answer names it all. With a single kind of problem its own code is
 * thrown; with several kinds, INPUT_INVALID.
 */
export class Problems {
  readonly #found: { readonly path: string; readonly message: string; readonly refusal: Refusal }[] = []

  add(path: string, refusal: Refusal, message = withoutPath(path, refusal.message)): void {
    if (!this.full) this.#found.push({ path, message, refusal })
  }

  /** The value, or undefined when it was refused: then `problems` of the refusal count, or it itself at `path`. */
  collect<T>(path: string, attempt: () => T): T | undefined {
    try {
      return attempt()
    } catch (error) {
      if (!isRefusal(error)) throw error
      if (error.problems.length === 0) this.add(path, error)
      for (const problem of error.problems) this.add(problem.path, error, problem.message)
      return undefined
    }
  }

  /** True once more problems would help nobody. */
  get full(): boolean {
    return this.#found.length >= MAX_PROBLEMS
  }

  get any(): boolean {
    return this.#found.length > 0
  }

  throwIfAny(): void {
    const [first, ...others] = this.#found
    if (first === undefined) return
    const problems = this.#found.map(({ path, message }) => ({ path, message }))
    if (others.length === 0 || others.every(({ refusal }) => refusal.code === first.refusal.code)) {
      const { code, details } = first.refusal
      throw first.refusal instanceof EngineError
        ? new EngineError(code as EngineErrorCode, details as never, problems)
        : new RequestError(code as RequestErrorCode, details as never, problems)
    }
    const more = others.length === 1 ? 'and one more problem' : `and ${others.length} more problems`
    throw new EngineError('INPUT_INVALID', { path: first.path, problem: `${problems[0]!.message} (${more})` }, problems)
  }
}

/** Some messages begin with their path, which a problem already has beside it. */
function withoutPath(path: string, message: string): string {
  return path !== '' && message.startsWith(`${path}: `) ? message.slice(path.length + 2) : message
}
