/**
 * Name maps: which tensor of a checkpoint becomes which parameter, as data. A layout lists rules; this file expands them over the blocks,
 * checks names and shapes against the file's headers, and reads tensor by tensor. A missing, extra or mis-shaped weight is an error that
 * names it as the file does.
 */

import { EngineError } from '../errors.js'
import type { ValueType } from '../graph/value-type.js'
import type { Tensor } from '../tensor.js'
import type { Transform } from './weight-transforms.js'

type Shape = readonly number[]

export interface WeightRule {
  /** The name in the file; several where libraries have renamed it. `{N}` stands for the block. */
  readonly source: string | readonly string[]
  /** The parameters made of it, in the order in which `how` yields them. */
  readonly to: readonly string[]
  readonly how: Transform
}

/** Weights that a file may hold and the model does not use, and why that is so. */
export interface IgnoredWeights {
  readonly names: RegExp
  readonly reason: string
}

/** A tensor as a file's header describes it. */
export interface StoredTensor {
  readonly dtype: string
  readonly shape: Shape
}

/** One tensor to read, and what becomes of it. */
export interface PlannedWeight {
  /** As the file spells it. */
  readonly source: string
  readonly to: readonly string[]
  readonly targets: readonly Shape[]
  readonly how: Transform
}

export interface TowerNames {
  readonly rules: readonly WeightRule[]
  /** Parameters of the tower's graph. */
  readonly parameters: Readonly<Record<string, ValueType>>
}

const floating = new Set(['float64', 'float32', 'float16', 'bfloat16'])

/** `{N}` rules once for each block. */
export function forEachBlock(nLayers: number, rules: readonly WeightRule[]): WeightRule[] {
  const fill = (pattern: string, index: number) => pattern.replaceAll('{N}', String(index))
  return Array.from({ length: nLayers }, (_, index) =>
    rules.map(({ source, to, how }) => ({
      source: typeof source === 'string' ? fill(source, index) : source.map((name) => fill(name, index)),
      to: to.map((name) => fill(name, index)),
      how,
    })),
  ).flat()
}

/**
 * Names without a prefix that the whole model has (`model.`) and without the layout's own prefixes, dropped wherever they stand. (What
 * DataParallel and torch.compile put in front is gone already: see engine/io.)
 * @returns canonical name -> name in the file
 */
export function canonicalNames(names: Iterable<string>, prefixes: readonly string[]): Map<string, string> {
  const all = [...names]
  const shared = all.length > 0 && all.every((name) => name.startsWith('model.')) ? 'model.' : ''
  const strip = (name: string) => {
    const prefix = prefixes.find((candidate) => name.startsWith(candidate))
    return prefix === undefined ? name : name.slice(prefix.length)
  }
  return new Map(all.map((source) => [strip(source.slice(shared.length)), source]))
}

/**
 * Holds rules and file against each other.
 * @throws WEIGHTS_MISMATCH with every missing, extra and mis-shaped weight
 */
export function planWeights(
  towers: Readonly<Record<string, TowerNames>>,
  file: {
    readonly layout: string
    readonly tensors: ReadonlyMap<string, StoredTensor>
    /** canonical name -> name in the file */
    readonly names: ReadonlyMap<string, string>
    readonly ignored: readonly IgnoredWeights[]
    /** Canonical names read elsewhere (logit scale). */
    readonly scalars: readonly string[]
    /** What the layout drops from the front of names; a missing weight is named with it where the file's others have it. */
    readonly prefixes: readonly string[]
  },
): Record<string, PlannedWeight[]> {
  const problems: string[] = []
  const used = new Set(file.scalars)
  if (file.names.size < file.tensors.size) problems.push('two weights have the same name once prefixes are removed')
  const plans = Object.entries(towers).map(([tower, { rules, parameters }]) => {
    const mapped = new Set(rules.flatMap(({ to }) => to))
    for (const parameter of Object.keys(parameters)) {
      if (!mapped.has(parameter)) problems.push(`it has no weight for ${parameter}, which such a model has`)
    }
    const planned = rules.flatMap((rule) => {
      const names = typeof rule.source === 'string' ? [rule.source] : rule.source
      const found = names.filter((name) => file.names.has(name))
      for (const name of found) used.add(name)
      const targets = rule.to.map((parameter) => parameters[parameter]!.shape as Shape)
      if (found.length !== 1) {
        problems.push(
          found.length === 0
            ? `"${asFileWouldSpell(names, file)}" [${rule.how.sourceShape(targets).join(', ')}] is missing`
            : `${found.map((name) => `"${file.names.get(name)}"`).join(' and ')} are the same weight`,
        )
        return []
      }
      const source = file.names.get(found[0]!)!
      const problem = misfit(source, file.tensors.get(source)!, rule.how.sourceShape(targets))
      if (problem !== undefined) problems.push(problem)
      return [{ source, to: rule.to, targets, how: rule.how }]
    })
    return [tower, planned] as const
  })
  for (const [name, source] of file.names) {
    if (used.has(name) || file.ignored.some(({ names }) => names.test(name))) continue
    problems.push(`"${source}" [${file.tensors.get(source)!.shape.join(', ')}] is not a weight of this model`)
  }
  if (problems.length > 0) throw new EngineError('WEIGHTS_MISMATCH', { layout: file.layout, problems })
  return Object.fromEntries(plans)
}

/** Of the spellings of a missing weight, the one most like the names that are there. */
function asFileWouldSpell(
  names: readonly string[],
  { tensors, prefixes }: { tensors: ReadonlyMap<string, unknown>; prefixes: readonly string[] },
): string {
  const likeness = (candidate: string) => Math.max(0, ...[...tensors.keys()].map((name) => commonLength(candidate, name)))
  return ['', ...prefixes]
    .flatMap((prefix) => names.map((name) => prefix + name))
    .map((candidate) => ({ candidate, likeness: likeness(candidate) }))
    .reduce((best, next) => (next.likeness > best.likeness ? next : best)).candidate
}

function commonLength(a: string, b: string): number {
  let length = 0
  while (length < a.length && a[length] === b[length]) length++
  return length
}

function misfit(source: string, stored: StoredTensor, expected: Shape): string | undefined {
  if (!floating.has(stored.dtype)) return `"${source}" holds ${stored.dtype}; expected floating-point numbers`
  const same = stored.shape.length === expected.length && stored.shape.every((length, axis) => length === expected[axis])
  return same ? undefined : `"${source}" has shape [${stored.shape.join(', ')}]; expected [${expected.join(', ')}]`
}

/** Reads what was planned, one tensor at a time, so that no more than one is in memory twice. */
export async function readPlanned(
  plan: readonly PlannedWeight[],
  read: (source: string) => Promise<Tensor>,
): Promise<Record<string, Tensor<'float32'>>> {
  const weights: Record<string, Tensor<'float32'>> = {}
  for (const { source, to, targets, how } of plan) {
    const made = how.apply(asFloat32(await read(source)), targets)
    to.forEach((parameter, index) => {
      weights[parameter] = made[index]!
    })
  }
  return weights
}

/** As float32, the precision the engine computes in; float16 and bfloat16 arrive widened. */
export function asFloat32(tensor: Tensor): Tensor<'float32'> {
  if (tensor.dtype === 'float32') return tensor as Tensor<'float32'>
  return { dtype: 'float32', shape: tensor.shape, data: Float32Array.from(tensor.data as Float64Array) }
}
