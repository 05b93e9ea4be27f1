/** Whether an SAE is one of a model: its hook points are there, and as wide as its weights. */

import { EngineError } from '../errors.js'
import type { HookPointInfo } from '../models/model.js'
import { nearest } from '../nearest.js'
import type { SaeConfig } from './sae.js'

/** What does not fit, in words; empty where the SAE can read the model. */
export function fitProblems(config: SaeConfig, hookPoints: readonly HookPointInfo[]): string[] {
  const { hookPoint, dIn, dOut, transcoder } = config
  const read = problemsAt({ hookPoint, width: dIn, side: 'reads' }, config, hookPoints)
  const written = transcoder ? problemsAt({ hookPoint: transcoder.hookPointOut, width: dOut, side: 'predicts' }, {}, hookPoints) : []
  return [...read, ...written]
}

/** @throws SAE_MISFIT */
export function checkFit(
  config: SaeConfig,
  { sae, model, hookPoints }: { sae: string; model: string; hookPoints: readonly HookPointInfo[] },
): void {
  const problems = fitProblems(config, hookPoints)
  if (problems.length > 0) throw new EngineError('SAE_MISFIT', { sae, model, problems })
}

interface Side {
  readonly hookPoint: string
  readonly width: number
  readonly side: 'reads' | 'predicts'
}

function problemsAt(
  { hookPoint: name, width, side }: Side,
  { headIndex, flattensHeads }: Pick<SaeConfig, 'headIndex' | 'flattensHeads'>,
  hookPoints: readonly HookPointInfo[],
): string[] {
  const found = hookPoints.find((hookPoint) => hookPoint.name === name)
  if (!found) {
    const [near] = nearest(
      name,
      hookPoints.map((hookPoint) => hookPoint.name),
    )
    return [`it ${side} "${name}", which the model does not have${near === undefined ? '' : ` (the nearest is "${near}")`}`]
  }
  const heads = found.axes.indexOf('head')
  const length = found.shape.at(-1) as number
  if (headIndex !== undefined || flattensHeads) {
    if (heads !== 2 || found.axes.length !== 4) return [`it ${side} heads of "${name}", whose axes are ${found.axes.join(', ')}`]
    const nHeads = found.shape[heads] as number
    if (headIndex !== undefined && headIndex >= nHeads) return [`it ${side} head ${headIndex} of "${name}", which has ${nHeads}`]
    return requireWidth(flattensHeads ? nHeads * length : length)
  }
  if (!tokenAxes.includes(found.axes.slice(0, -1).join()))
    return [`it ${side} "${name}", whose axes are ${found.axes.join(', ')}: no vectors of tokens`]
  return requireWidth(length)

  function requireWidth(actual: number): string[] {
    return actual === width ? [] : [`it ${side} ${width} numbers at "${name}", which has ${actual}`]
  }
}

/** What stands before the axis that is encoded; heads are dealt with above. */
const tokenAxes = ['batch', 'batch,pos', 'batch,patch']
