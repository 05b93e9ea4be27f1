/**
 * Every way in which the engine refuses, in one table: code -> message made from typed details.
 * The engine knows no HTTP; `server/errors.ts` maps each code to a status, `graphql/errors.ts` to `extensions.code`, and
 * `docs/errors.md` has a heading for each. A message says what was given, what was expected and what to do.
 */

import { nearest } from './nearest.js'

type Shape = readonly (number | string)[]
const list = (values: readonly unknown[]) => values.map((value) => `"${String(value)}"`).join(', ')
const suggest = (given: string, known: readonly string[]) => {
  const near = nearest(given, known)
  return near.length > 0 ? ` Did you mean ${near.map((name) => `"${name}"`).join(' or ')}?` : ''
}
const dims = (shape: Shape) => `[${shape.join(', ')}]`

const messages = {
  // --- tensors and graphs
  SHAPE_MISMATCH: (d: { what: string; expected: Shape; actual: Shape }) =>
    `${d.what} has shape ${dims(d.actual)}; expected ${dims(d.expected)}.`,
  GRAPH_INVALID: (d: { graph: string; problems: readonly string[] }) =>
    `Graph "${d.graph}" is not valid: ${d.problems.slice(0, 10).join('; ')}.`,
  VALUE_UNKNOWN: (d: { value: string; graph: string; known: readonly string[] }) =>
    `Graph "${d.graph}" has no value "${d.value}".${suggest(d.value, d.known)}`,
  FEED_MISSING: (d: { names: readonly string[]; graph: string }) => `Running "${d.graph}" needs a value for ${list(d.names)}.`,
  OPERATOR_UNSUPPORTED: (d: { op: string; backend: string; why: string; instead: string }) =>
    `The ${d.backend} backend cannot run ${d.op}: ${d.why}. ${d.instead}`,
  BACKEND_FAILED: (d: { backend: string; doing: string; problem: string }) => `The ${d.backend} backend failed ${d.doing}: ${d.problem}`,
  DEVICE_OUT_OF_MEMORY: (d: { device: string; doing: string; problem: string }) =>
    `No memory is left on "${d.device}" for ${d.doing}, without what is idle there, too (${d.problem}). Send the request again later, or with fewer inputs or hook points at once.`,
  DEVICE_LIMIT_EXCEEDED: (d: { device: string; doing: string; problem: string }) =>
    `Device "${d.device}" cannot do as much at once: ${d.doing} went beyond what it allows (${d.problem}). Ask for fewer inputs or hook points at once, or use another device (REFRACT_DEVICE).`,
  DEVICE_LOST: (d: { device: string; doing: string; problem: string }) =>
    `Device "${d.device}" was lost while it was ${d.doing} (${d.problem}). The engine is being restarted; send the request again.`,
  DEVICE_UNAVAILABLE: (d: { device: string; why: string; available: readonly string[] }) =>
    `Device "${d.device}" is not available: ${d.why}. Available here: ${list(d.available)}.`,

  // --- hook points and edits
  HOOK_POINT_UNKNOWN: (d: { hookPoint: string; model: string; known: readonly string[] }) =>
    `Unknown hook point "${d.hookPoint}" in ${d.model}.${suggest(d.hookPoint, d.known)}`,
  EDIT_INVALID: (d: { path: string; problem: string }) => `${d.path}: ${d.problem}`,
  POSITION_OUT_OF_RANGE: (d: { path: string; position: number; length: number }) =>
    `${d.path}: position ${d.position} is out of range; this hook point has positions 0 to ${d.length - 1}.`,

  // --- model files
  FILE_INVALID: (d: { file: string; problem: string }) => `${d.file}: ${d.problem}`,
  FILE_UNSAFE: (d: { file: string; problem: string; instead: string }) => `${d.file} is refused: ${d.problem}. ${d.instead}`,
  WEIGHTS_MISMATCH: (d: { problems: readonly string[]; layout: string }) =>
    `The weights do not fit the ${d.layout} layout: ${d.problems.slice(0, 10).join('; ')}${d.problems.length > 10 ? `; and ${d.problems.length - 10} more` : ''}.`,
  MODEL_UNSUPPORTED: (d: { what: string; supported: string }) => `${d.what} is not supported. ${d.supported}`,
  SAE_MISFIT: (d: { sae: string; model: string; problems: readonly string[] }) =>
    `The SAE "${d.sae}" is not one of ${d.model}: ${d.problems.join('; ')}.`,

  // --- training
  DATASET_INVALID: (d: { dataset: string; problem: string }) => `The data set ${d.dataset} cannot be used: ${d.problem}`,
  CONFIG_INVALID: (d: { problems: readonly string[] }) =>
    `The configuration is not valid: ${d.problems.slice(0, 10).join('; ')}${d.problems.length > 10 ? `; and ${d.problems.length - 10} more` : ''}.`,
  TRAINING_DIVERGED: (d: { step: number; problem: string; checkpoint?: number }) =>
    `Training diverged at step ${d.step}: ${d.problem}. ${
      d.checkpoint === undefined ? 'There is no checkpoint before it' : `The checkpoint of step ${d.checkpoint} is whole`
    }; try a lower learning rate, a longer warm-up or a smaller clipNorm.`,
  CHECKPOINT_MISMATCH: (d: { checkpoint: string; problems: readonly string[] }) =>
    `The checkpoint ${d.checkpoint} is of another run: ${d.problems.slice(0, 10).join('; ')}${d.problems.length > 10 ? `; and ${d.problems.length - 10} more` : ''}. Train into another folder, or with the configuration that it was made with.`,

  // --- inputs
  IMAGE_INVALID: (d: { problem: string }) => `The image cannot be used: ${d.problem}`,
  IMAGE_TOO_LARGE: (d: { width: number; height: number; limit: number }) =>
    `The image has ${d.width} x ${d.height} pixels; the limit is ${d.limit} pixels in all.`,
  TEXT_INVALID: (d: { problem: string }) => `The text cannot be used: ${d.problem}`,
  INPUT_INVALID: (d: { path: string; problem: string }) => `${d.path}: ${d.problem}`,

  // --- the host
  QUEUE_FULL: (d: { limit: number; retryAfterSeconds: number }) =>
    `The queue is full (${d.limit} requests). Try again in ${d.retryAfterSeconds} s.`,
  MEMORY_EXCEEDED: (d: { what: string; neededBytes: number; budgetBytes: number }) =>
    `${d.what} needs ${Math.ceil(d.neededBytes / 2 ** 20)} MB; the memory budget is ${Math.floor(d.budgetBytes / 2 ** 20)} MB (REFRACT_MEMORY_MB).`,
  WORKER_DIED: (d: { reason: string }) =>
    `The engine stopped while it worked on this request (${d.reason}). It is being restarted; send the request again.`,
  ENGINE_UNHEALTHY: (d: { deaths: number; windowSeconds: number; reason: string; retryAfterSeconds: number }) =>
    `The engine does not run: it stopped ${d.deaths} times within ${d.windowSeconds} s (${d.reason}). It is started again in ${d.retryAfterSeconds} s.`,
  CANCELLED: (d: { why: string }) => `The request was cancelled: ${d.why}.`,

  // --- the catalog: storage, database, hub
  MODEL_CONFLICT: (d: { id: string; problem: string; instead: string }) => `The model id "${d.id}" is taken: ${d.problem}. ${d.instead}`,
  SAE_CONFLICT: (d: { id: string; problem: string; instead: string }) => `The SAE id "${d.id}" is taken: ${d.problem}. ${d.instead}`,
  BASE_MODEL_UNKNOWN: (d: { id: string; known: readonly string[] }) =>
    `No model "${d.id}" is known that an SAE could be of.${suggest(d.id, d.known)} Import the model first.`,
  CURSOR_INVALID: (d: { cursor: string }) =>
    `"${d.cursor.slice(0, 40)}" is not a cursor of this list. Pass "nextCursor" of the previous page, or nothing for the first.`,
  STORAGE_FULL: (d: { path: string; needed?: number }) =>
    `No space is left on the disk of ${d.path}${d.needed === undefined ? '' : ` (${Math.ceil(d.needed / 2 ** 20)} MB needed)`}. Free some, or set DATA_DIR or HF_HOME to another disk.`,
  BLOBS_UNAVAILABLE: (d: { store: string; problem: string; instead: string }) =>
    `The blob store ${d.store} cannot be used: ${d.problem}. ${d.instead}`,
  DATABASE_UNAVAILABLE: (d: { problem: string; instead: string }) => `The database cannot be used: ${d.problem}. ${d.instead}`,
  HUB_UNAVAILABLE: (d: { endpoint: string; problem: string }) =>
    `The hub at ${d.endpoint} did not answer: ${d.problem}. Try again (what was transferred is kept), or set HF_ENDPOINT to another hub.`,
  HUB_REFUSED: (d: { what: string; problem: string; instead: string }) => `The hub refuses ${d.what}: ${d.problem}. ${d.instead}`,
  DOWNLOAD_INVALID: (d: { file: string; problem: string }) =>
    `The download of ${d.file} is not what the hub announced: ${d.problem}. Try again.`,
} as const

export type ErrorCode = keyof typeof messages
type Details<C extends ErrorCode> = Parameters<(typeof messages)[C]>[0]

/** One problem of a request, at a path within it such as `edits[0].strength`. */
export interface Problem {
  readonly path: string
  readonly message: string
}

/** A refusal by the engine: a stable code, its details, and a message for people. */
export class EngineError<C extends ErrorCode = ErrorCode> extends Error {
  readonly code: C
  readonly details: Details<C>
  /** When several things were wrong at once, each with its path. */
  readonly problems: readonly Problem[]

  constructor(code: C, details: Details<C>, problems: readonly Problem[] = []) {
    super((messages[code] as (details: Details<C>) => string)(details))
    this.name = 'EngineError'
    this.code = code
    this.details = details
    this.problems = problems
  }
}

/** For what cannot happen: a failure here is our fault, never the caller's. */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`Invariant violated: ${message}`)
}
