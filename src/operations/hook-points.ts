/**
 * Every hook point of a model's tower.
 */

import { Type } from 'typebox'
import { EngineError } from '../engine/errors.js'
import { findModel } from './find-model.js'
import { defineOperation } from './operation.js'
import { HookPointShape, ModelId, TowerShape } from './schemas/model.js'

export const hookPoints = defineOperation({
  name: 'hookPoints',
  kind: 'query',
  scope: 'read',
  summary: 'The hook points of a model, in firing order',
  input: Type.Object({ model: ModelId, tower: Type.Optional(TowerShape) }, { title: 'HookPointsInput', additionalProperties: false }),
  output: Type.Object(
    {
      model: ModelId,
      tower: TowerShape,
      items: Type.Array(HookPointShape),
      nextCursor: Type.Null({ description: 'All of them are on one page.' }),
    },
    { title: 'HookPointList', additionalProperties: false },
  ),
  example: { model: 'emoji-clip' },

  async run({ catalog }, { model: id, tower = 'vision' }) {
    const { description } = await findModel(catalog, id)
    const described = description[tower]
    if (!described) throw new EngineError('INPUT_INVALID', { path: 'tower', problem: `${id} has no text tower` })
    const items = described.hookPoints.map(({ name, axes, shape, meaning, optional }) => ({
      name,
      axes: [...axes],
      shape: [...shape],
      meaning,
      optional,
    }))
    return { model: id, tower, items, nextCursor: null }
  },
})
