/** Edits on SAE features in a tiny CLIP, against PyTorch with hooks (test/fixtures/make/feature_edits.py). */

import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { expose } from '../../../src/engine/graph/edit.js'
import { applyEdits } from '../../../src/engine/interventions/apply-edits.js'
import type { Edit } from '../../../src/engine/interventions/edit.js'
import { writtenHookPoint } from '../../../src/engine/interventions/spliced-sae.js'
import { openFileSource } from '../../../src/engine/io/byte-source.js'
import { openWeights } from '../../../src/engine/io/weight-file.js'
import { loadModel } from '../../../src/engine/models/load.js'
import type { SaeConfig } from '../../../src/engine/saes/sae.js'
import type { Tensor } from '../../../src/engine/tensor.js'
import '../close-tensor.js'
import { backends, runOnce } from '../each-backend.js'
import { expectedOf, folderOf } from '../models/fixtures.js'
import { under } from '../saes/fixtures.js'

const folder = path.resolve(import.meta.dirname, '../../fixtures/feature-edits')
const { configs, edits } = JSON.parse(fs.readFileSync(path.join(folder, 'cases.json'), 'utf8')) as {
  configs: Record<string, SaeConfig>
  edits: Record<string, unknown>[]
}
const expected = await readTensors('expected.safetensors')
const { description, towers } = await loadModel(folderOf('hf-clip'))
const pixels = (await expectedOf('hf-clip')).get('vision/pixels')!

describe.each(backends)('on %s', async (underTest) => {
  const backend = await underTest.create()

  test.each(Object.entries(configs))('%s: the edited value and the answer are those of PyTorch', async (name, config) => {
    const prefix = 'saes[0].'
    const own = Object.entries(under(expected, `${name}/sae`)).map(([key, weight]) => [`${prefix}${key}`, weight])
    const weights = { ...towers.vision.weights, ...Object.fromEntries(own) }
    const hookPoint = writtenHookPoint(config)
    for (const [index, edit] of edits.entries()) {
      const tower = { ...description.vision, saes: [{ config, prefix, name }] }
      const edited = applyEdits(towers.vision.buildGraph(new Set()), [{ ...edit, hookPoint, sae: 0 } as unknown as Edit], tower)
      const graph = expose(edited.graph, [hookPoint])
      const values = await runOnce(backend, graph, { inputs: { pixels, ...edited.inputs(pixels.shape[0]!) }, weights })
      expect(values[hookPoint]).toBeCloseTensor(expected[`${name}/${index}/value`]!, { tolerance: 2e-5 })
      expect(values[graph.outputs[0]!]).toBeCloseTensor(expected[`${name}/${index}/output`]!, { tolerance: 2e-5 })
    }
  })
})

async function readTensors(file: string): Promise<Record<string, Tensor<'float32'>>> {
  const opened = await openWeights(await openFileSource(path.join(folder, file), file), file)
  try {
    const tensors: Record<string, Tensor<'float32'>> = {}
    for (const key of opened.entries.keys()) tensors[key] = (await opened.read(key)) as Tensor<'float32'>
    return tensors
  } finally {
    await opened.close()
  }
}
