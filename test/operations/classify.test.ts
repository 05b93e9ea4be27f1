import path from 'node:path'
import { describe, expect, test } from 'vitest'
import type { ModelRecord } from '../../src/catalog/catalog.js'
import { describeModel } from '../../src/engine/models/load.js'
import { checkClassify } from '../../src/operations/classify.js'

describe('classification by labels', async () => {
  const description = await describeModel(path.resolve(import.meta.dirname, '../fixtures/models/open-clip-last'))
  const model = (vision: object) =>
    ({ id: 'clip', description: { ...description, vision: { ...description.vision, ...vision } } }) as ModelRecord

  test('is for a model that has one embedding for a picture', () => {
    expect(() => checkClassify({ labels: ['a'] }, model({}))).not.toThrow()
  })

  test('is refused by name where the model passes every position on', () => {
    const output = { axes: ['batch', 'pos', 'dEmbed'], shape: ['batch', 5, 6] }
    expect(() => checkClassify({ labels: ['a'] }, model({ output }))).toThrow(/clip does not pool/)
  })
})
