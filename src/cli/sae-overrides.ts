/** What a user knows better of an SAE than its files say, as options of the command line. */

import type { SaeOverrides } from '../engine/saes/load-sae.js'
import { type InputNormalization, inputNormalizations, type TranscoderConfig } from '../engine/saes/sae.js'
import { type Option, UsageError, type Values } from './command.js'

const skips = ['linear', 'linear-and-identity'] as const satisfies readonly TranscoderConfig['skip'][]

export const overrideOptions: Readonly<Record<string, Option>> = {
  'hook-point': { type: 'string', value: '<hook point>', meaning: 'of an SAE: what it reads, such as blocks.9.hook_resid_post' },
  'hook-point-out': { type: 'string', value: '<hook point>', meaning: 'of a transcoder: what it predicts' },
  normalization: { type: 'string', value: '<name>', meaning: `of an SAE: ${inputNormalizations.join(', ')}` },
  k: { type: 'string', value: '<n>', meaning: 'of a top-k SAE' },
  skip: {
    type: 'string',
    value: '<formula>',
    meaning: `of a transcoder: ${skips.join(' or ')}; default: measured, where the model is here`,
  },
}

/** @throws UsageError */
export function overridesOf(values: Values): SaeOverrides {
  const text = (name: string) => (typeof values[name] === 'string' ? values[name] : undefined)
  const [hookPoint, hookPointOut, k] = [text('hook-point'), text('hook-point-out'), text('k')]
  const normalization = oneOf<InputNormalization>('normalization', text('normalization'), inputNormalizations)
  const skip = oneOf('skip', text('skip'), skips)
  if (k !== undefined && !(Number(k) > 0)) throw new UsageError(`--k is "${k}"; expected a number above 0.`)
  return {
    ...(hookPoint !== undefined && { hookPoint }),
    ...(hookPointOut !== undefined && { hookPointOut }),
    ...(normalization !== undefined && { normalization }),
    ...(k !== undefined && { k: Number(k) }),
    ...(skip !== undefined && { skip }),
  }
}

function oneOf<T extends string>(option: string, value: string | undefined, allowed: readonly T[]): T | undefined {
  if (value === undefined || allowed.includes(value as T)) return value as T | undefined
  throw new UsageError(`--${option} is "${value}"; expected ${allowed.join(' or ')}.`)
}
