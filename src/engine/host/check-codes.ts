/** Codes of numbers: an SAE gives zeros for what is infinite or no number, which would look like nothing found. */

import { EngineError } from '../errors.js'
import type { Edit } from '../interventions/edit.js'
import type { Tensor } from '../tensor.js'
import type { Codes, SaeRead } from './host.js'

/**
 * @param inputs  0 for each token whose vector is of finite numbers
 * @throws        EDIT_INVALID where an edit can have made them so; else FILE_INVALID, as only weights can have
 */
export function checkCodes(
  { tokens, images, chosen }: Codes,
  inputs: Tensor<'float32'>,
  { sae: { key }, edits }: Pick<SaeRead, 'sae'> & { readonly edits: readonly Edit[] },
): void {
  const what = isOfNumbers(inputs)
    ? [tokens?.activations, images?.activations, chosen].every((tensor) => tensor === undefined || isOfNumbers(tensor))
      ? undefined
      : `the activations of ${key}`
    : `what ${key} reads`
  if (what === undefined) return
  if (edits.length > 0) {
    throw new EngineError('EDIT_INVALID', { path: 'edits', problem: `they make ${what} infinite or no number; use smaller strengths` })
  }
  throw new EngineError('FILE_INVALID', { file: key, problem: `its weights, or the model's, make ${what} infinite or no number.` })
}

const isOfNumbers = ({ data }: Tensor<'float32'>) => data.every((value) => Number.isFinite(value))
