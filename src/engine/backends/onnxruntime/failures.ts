/**
 * ONNX Runtime's errors as ours. It throws plain errors; what they mean is only in their text.
 */

import { EngineError } from '../../errors.js'
import { type Circumstances, deviceFailure } from '../device-failures.js'

const backend = 'onnxruntime'

/** What is one of ours already stays as it is. */
export function backendFailure(error: unknown, about: Circumstances): EngineError {
  if (error instanceof EngineError) return error
  const problem = error instanceof Error ? error.message : String(error)
  const missing =
    /Could not find an implementation for (\w+)\(\d+\) node with name '([^']*)'/.exec(problem) ??
    /Provider type for (\w+) node with name '([^']*)' is not set/.exec(problem)
  if (missing) {
    const [, op, node] = missing
    return new EngineError('OPERATOR_UNSUPPORTED', {
      op: op!,
      backend,
      why: `it has no implementation for the types at "${node}"`,
      instead: 'Use float32.',
    })
  }
  return deviceFailure(error, about) ?? new EngineError('BACKEND_FAILED', { backend, doing: about.doing, problem })
}
