/** A model's graph as text that people read: every operator with what it makes, every hook point. */

import { createHash } from 'node:crypto'
import { Type } from 'typebox'
import { EngineError } from '../engine/errors.js'
import { inferTypes } from '../engine/graph/infer.js'
import { print } from '../engine/graph/print.js'
import { isVision } from '../engine/hook-points.js'
import { textGraph } from '../engine/models/text-tower.js'
import { visionGraph } from '../engine/models/vit.js'
import { DrawnFileShape, versionField } from './drawn/drawn-file.js'
import { findModel } from './find-model.js'
import { defineOperation } from './operation.js'
import { ModelId, TowerShape } from './schemas/model.js'

export const printedGraph = defineOperation({
  name: 'printedGraph',
  kind: 'query',
  scope: 'read',
  summary: 'The graph of a model as text: operators, shapes, parameters and hook points',
  input: Type.Object(
    { model: ModelId, tower: Type.Optional(TowerShape), ...versionField },
    { title: 'PrintedGraphInput', additionalProperties: false },
  ),
  output: DrawnFileShape,
  example: { model: 'emoji-clip' },

  async run({ catalog }, { model: id, tower = 'vision' }) {
    const { description } = await findModel(catalog, id)
    const config = description[tower]?.config
    if (!config) throw new EngineError('INPUT_INVALID', { path: 'tower', problem: `${id} has no text tower` })
    const graph = isVision(config) ? visionGraph(config) : textGraph(config)
    const text = Buffer.from(print(graph, inferTypes(graph)))
    return { tag: createHash('sha256').update(text).digest('hex').slice(0, 32), draw: async () => text }
  },
})
