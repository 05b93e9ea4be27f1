/** One example of each refusal by the engine and the catalog. A new code does not compile without one. */

import { EngineError, type ErrorCode } from '../../src/engine/errors.js'

type DetailsOf = { [C in ErrorCode]: ConstructorParameters<typeof EngineError<C>>[1] }

const details: DetailsOf = {
  SHAPE_MISMATCH: { what: 'x', expected: [1], actual: [2] },
  GRAPH_INVALID: { graph: 'g', problems: ['p'] },
  VALUE_UNKNOWN: { value: 'v', graph: 'g', known: [] },
  FEED_MISSING: { names: ['x'], graph: 'g' },
  OPERATOR_UNSUPPORTED: { op: 'Conv', backend: 'b', why: 'w', instead: 'i' },
  BACKEND_FAILED: { backend: 'b', doing: 'd', problem: 'p' },
  DEVICE_OUT_OF_MEMORY: { device: 'd', doing: 'running', problem: 'p' },
  DEVICE_LIMIT_EXCEEDED: { device: 'd', doing: 'running', problem: 'p' },
  DEVICE_LOST: { device: 'd', doing: 'running', problem: 'p' },
  DEVICE_UNAVAILABLE: { device: 'cuda', why: 'w', available: ['cpu'] },
  HOOK_POINT_UNKNOWN: { hookPoint: 'h', model: 'm', known: [] },
  EDIT_INVALID: { path: 'edits[0]', problem: 'p' },
  POSITION_OUT_OF_RANGE: { path: 'positions', position: 9, length: 5 },
  FILE_INVALID: { file: 'f', problem: 'p' },
  FILE_UNSAFE: { file: 'f', problem: 'p', instead: 'i' },
  WEIGHTS_MISMATCH: { problems: ['p'], layout: 'l' },
  SAE_MISFIT: { sae: 's', model: 'm', problems: ['p'] },
  MODEL_UNSUPPORTED: { what: 'x', supported: 's' },
  DATASET_INVALID: { dataset: 'd', problem: 'p' },
  IMAGE_INVALID: { problem: 'p' },
  IMAGE_TOO_LARGE: { width: 10, height: 10, limit: 50 },
  TEXT_INVALID: { problem: 'p' },
  INPUT_INVALID: { path: 'x', problem: 'p' },
  QUEUE_FULL: { limit: 256, retryAfterSeconds: 3 },
  MEMORY_EXCEEDED: { what: 'x', neededBytes: 2, budgetBytes: 1 },
  WORKER_DIED: { reason: 'r' },
  ENGINE_UNHEALTHY: { deaths: 3, windowSeconds: 60, reason: 'r', retryAfterSeconds: 30 },
  CANCELLED: { why: 'w' },
  MODEL_CONFLICT: { id: 'm', problem: 'p', instead: 'i' },
  CONFIG_INVALID: { problems: ['p'] },
  TRAINING_DIVERGED: { step: 1, problem: 'p' },
  CHECKPOINT_MISMATCH: { checkpoint: 'c', problems: ['p'] },
  SAE_CONFLICT: { id: 's', problem: 'p', instead: 'i' },
  BASE_MODEL_UNKNOWN: { id: 'm', known: [] },
  CURSOR_INVALID: { cursor: 'c' },
  STORAGE_FULL: { path: 'p' },
  BLOBS_UNAVAILABLE: { store: 's', problem: 'p', instead: 'i' },
  DATABASE_UNAVAILABLE: { problem: 'p', instead: 'i' },
  HUB_UNAVAILABLE: { endpoint: 'e', problem: 'p' },
  HUB_REFUSED: { what: 'w', problem: 'p', instead: 'i' },
  DOWNLOAD_INVALID: { file: 'f', problem: 'p' },
}

export const errorSamples: readonly EngineError[] = Object.entries(details).map(
  ([code, each]) => new EngineError(code as ErrorCode, each as never),
)
