/** Classes by their names. (What scores they give is shown in evaluate-saes.test.ts.) */

import { beforeAll, describe, expect, test } from 'vitest'
import type { Backend } from '../../../src/engine/backends/backend.js'
import { modelClasses } from '../../../src/engine/evaluation/model-classes.js'
import { type LoadedModel, loadModel } from '../../../src/engine/models/load.js'
import { onnxruntime } from '../each-backend.js'
import { folderOf } from '../models/fixtures.js'

const asked = { templates: ['{}'], path: 'classes.facet' }
let backend: Backend
beforeAll(async () => {
  backend = await onnxruntime.create()
})

describe('classes of a classifier', () => {
  let model: LoadedModel
  beforeAll(async () => {
    model = await loadModel(folderOf('hf-vit-classifier'))
  })
  const labelled = (...classLabels: string[]): LoadedModel => ({ ...model, description: { ...model.description, classLabels } })

  test('are found by their names, in any order and however they are written', async () => {
    const { classes, names, classOf } = await modelClasses(backend, model, { ...asked, names: ['Cat', 'ant'] })
    expect({ classes, names, classOf }).toEqual({ classes: { kind: 'logits' }, names: ['ant', 'bee', 'cat'], classOf: [2, 0] })
  })

  test('may have several names, of which each counts, and the first class of two with the same', async () => {
    const other = labelled('tench, Tinca tinca', 'crane', 'crane', 'black-footed ferret')
    const { classOf } = await modelClasses(backend, other, { ...asked, names: ['tinca tinca', 'crane', 'black footed ferret', 'tench'] })
    expect(classOf).toEqual([0, 1, 3, 0])
  })

  test('that it does not have are refused, all at once', async () => {
    const names = ['ant', 'dog', 'cow', 'hen', 'pig']
    await expect(modelClasses(backend, model, { ...asked, names })).rejects.toMatchObject({
      code: 'INPUT_INVALID',
      message: expect.stringMatching(/classes\.facet.*"dog", "cow", "hen" and 1 more/),
    })
  })

  test('are none where nobody says what its logits are of', async () => {
    const { classLabels: _, ...description } = model.description
    const unnamed = { ...model, description }
    await expect(modelClasses(backend, unnamed, { ...asked, names: ['ant'] })).rejects.toMatchObject({ code: 'INPUT_INVALID' })
  })
})

test('a model that reads text takes any, in the order in which they are given', async () => {
  const model = await loadModel(folderOf('hf-clip'))
  const { classes, names, classOf } = await modelClasses(backend, model, { ...asked, names: ['dog', 'cat'] })
  expect({ names, classOf }).toEqual({ names: ['dog', 'cat'], classOf: [0, 1] })
  if (classes.kind !== 'texts') throw new Error('it has a text tower')
  expect(classes.embeddings.shape[0]).toBe(2)
  expect(classes.bareEmbeddings).toBe(classes.embeddings)
})
