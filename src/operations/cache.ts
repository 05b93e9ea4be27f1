/**
 * The activations of an earlier run: what a cache holds, and one of its tensors.
 */

import { Type } from 'typebox'
import { elementCount } from '../engine/tensor.js'
import { Problems, RequestError } from './errors.js'
import { findModel } from './find-model.js'
import { type Context, defineOperation } from './operation.js'
import { ModelId, TowerShape } from './schemas/model.js'
import { CacheId, Encoding, Heads, HookPointName, Positions, TensorShape } from './schemas/tensor.js'
import { selectRows, takeRows } from './select-rows.js'

export const cache = defineOperation({
  name: 'cache',
  kind: 'query',
  scope: 'run',
  summary: 'What a cached run holds',
  input: Type.Object({ id: CacheId }, { title: 'CacheInput', additionalProperties: false }),
  output: Type.Object(
    {
      id: CacheId,
      model: ModelId,
      tower: TowerShape,
      items: Type.Array(
        Type.Object(
          { hookPoint: Type.String(), dtype: Type.String(), shape: Type.Array(Type.Integer()) },
          { title: 'CachedActivation', additionalProperties: false },
        ),
      ),
    },
    { title: 'Cache', additionalProperties: false },
  ),

  async run({ host }, { id }) {
    const { activations, about } = findCache(host, id)
    const items = Object.entries(activations).map(([hookPoint, { dtype, shape }]) => ({ hookPoint, dtype, shape: [...shape] }))
    return { id, model: about.modelId, tower: about.tower, items }
  },
})

export const activation = defineOperation({
  name: 'activation',
  kind: 'query',
  scope: 'run',
  summary: 'One activation of a cached run',
  input: Type.Object(
    {
      cache: CacheId,
      hookPoint: HookPointName,
      positions: Type.Optional(Positions),
      heads: Type.Optional(Heads),
      encoding: Type.Optional(Encoding),
    },
    { title: 'ActivationInput', additionalProperties: false },
  ),
  output: TensorShape,

  async run({ host, catalog }, { cache: id, hookPoint: name, positions = 'all', heads }, call) {
    const { activations, about } = findCache(host, id)
    const held = Object.hasOwn(activations, name) ? activations[name] : undefined
    if (!held) throw new RequestError('ACTIVATION_UNKNOWN', { hookPoint: name, cache: id, known: Object.keys(activations) })

    const model = await findModel(catalog, about.modelId)
    const tower = model.description[about.tower]!
    const hookPoint = tower.hookPoints.find((known) => known.name === name)!
    const problems = new Problems()
    const selections = selectRows({ positions, ...(heads && { heads }) }, { hookPoint, tower, problems })
    problems.throwIfAny()
    const answer = selections.reduce(takeRows, held)
    const given = elementCount(answer.shape)
    if (call.maxNumbers && given > call.maxNumbers.value) {
      const { limit, value: maximum } = call.maxNumbers
      const instead = 'Ask for "encoding": "base64", or over REST for Accept: application/x-npz; or choose "positions".'
      throw new RequestError('LIMIT_EXCEEDED', { limit, given, maximum, what: 'numbers in the answer', instead })
    }
    return answer
  },
})

/** @throws CACHE_UNKNOWN */
function findCache(host: Context['host'], id: string) {
  const found = host.cached(id)
  if (!found) throw new RequestError('CACHE_UNKNOWN', { cache: id })
  return found
}
