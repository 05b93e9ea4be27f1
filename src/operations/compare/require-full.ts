/** Binary forms hold the numbers of all features, which an answer has only where they are asked for. */

import { EngineError } from '../../engine/errors.js'

/** @throws INPUT_INVALID */
export function requireFull(full: boolean | undefined): void {
  if (full) return
  const problem = 'is not true: this form holds the numbers of all features, and nothing else; ask for them, or Accept: application/json'
  throw new EngineError('INPUT_INVALID', { path: 'full', problem }, [{ path: 'full', message: problem }])
}
