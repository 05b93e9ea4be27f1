/** Blocks and heads of a request, checked against a model. */

import { EngineError } from '../../engine/errors.js'
import type { VisionConfig } from '../../engine/models/model.js'
import type { Problems } from '../errors.js'

/** Ascending; all of them where none are given. Problems go to `problems`. */
export function chosenOf(
  given: readonly number[] | undefined,
  { count, what, path, problems }: { readonly count: number; readonly what: string; readonly path: string; readonly problems: Problems },
): number[] {
  if (given === undefined) return Array.from({ length: count }, (_, index) => index)
  for (const [index, each] of given.entries()) {
    if (each < count) continue
    const problem = `${each} is out of range; the model has ${what} 0 to ${count - 1}`
    problems.add(`${path}[${index}]`, new EngineError('INPUT_INVALID', { path: `${path}[${index}]`, problem }))
  }
  return [...given].sort((a, b) => a - b)
}

/** What analyses of heads need to know of a model to say what they cost. */
export const headSizes = ({ dHead, dModel, nHeads }: VisionConfig) => ({ dHead, dModel, nHeads })
