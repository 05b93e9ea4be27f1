/**
 * Rules for the two kinds of layer that every layout has: a weight with its bias under one name.
 */

import type { WeightRule } from '../name-map.js'
import { asIs, linearWeight } from '../weight-transforms.js'

/** A LayerNorm: `NAME.weight`, `NAME.bias` to `PARAMETER.w`, `PARAMETER.b`. Several names are spellings of one. */
export function normRules(source: string | readonly string[], parameter: string): WeightRule[] {
  return [
    { source: each(source, '.weight'), to: [`${parameter}.w`], how: asIs },
    { source: each(source, '.bias'), to: [`${parameter}.b`], how: asIs },
  ]
}

/** A linear layer; without `bias` the file may not have one. */
export function linearRules(source: string | readonly string[], weight: string, bias?: string): WeightRule[] {
  const rules: WeightRule[] = [{ source: each(source, '.weight'), to: [weight], how: linearWeight }]
  if (bias !== undefined) rules.push({ source: each(source, '.bias'), to: [bias], how: asIs })
  return rules
}

function each(source: string | readonly string[], suffix: string): string | string[] {
  return typeof source === 'string' ? source + suffix : source.map((name) => name + suffix)
}
