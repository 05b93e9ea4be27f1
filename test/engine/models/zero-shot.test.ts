import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { loadModel } from '../../../src/engine/models/load.js'
import { labelEmbeddings, promptsOf, zeroShotScores } from '../../../src/engine/models/zero-shot.js'
import { float32, type Tensor } from '../../../src/engine/tensor.js'
import { backends, expectedOf, folderOf, run } from './fixtures.js'

describe('prompts', () => {
  test('every template with every place for the label filled', () => {
    expect(promptsOf(['cat', 'a {} $& dog'], ['a photo of {}', '{}, {}'])).toEqual([
      ['a photo of cat', 'cat, cat'],
      ['a photo of a {} $& dog', 'a {} $& dog, a {} $& dog'],
    ])
  })
  test.each([
    [[], ['{}'], /labels/],
    [['cat'], [], /templates/],
    [['cat'], ['{}', 'a photo'], /templates\[1\]: has no "\{\}"/],
  ])('of %j with %j are refused', (labels, templates, message) => expect(() => promptsOf(labels, templates)).toThrow(message))
})

describe('scores', () => {
  const vector = fc.array(fc.float({ min: -2, max: 2, noNaN: true }), { minLength: 4, maxLength: 4 }).filter((v) => Math.hypot(...v) > 0.1)

  test('do not depend on the lengths of embeddings', () => {
    fc.assert(
      fc.property(vector, vector, vector, fc.double({ min: 0.1, max: 50, noNaN: true }), (image, a, b, factor) => {
        const labels = labelEmbeddings(float32([2, 4], [...a, ...b]), 2)
        const scaled = labelEmbeddings(float32([2, 4], [...a, ...b.map((x) => x * factor)]), 2)
        const once = zeroShotScores(float32([1, 4], image), labels, { logitScale: 10 })
        const again = zeroShotScores(
          float32(
            [1, 4],
            image.map((x) => x * factor),
          ),
          scaled,
          { logitScale: 10 },
        )
        for (const [index, logit] of once.logits.data.entries()) expect(again.logits.data[index]!).toBeCloseTo(logit, 3)
        expect(once.probabilities.data.reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 5)
      }),
    )
  })

  test('a label is the direction of the mean of its prompts\u2019 directions', () => {
    const label = labelEmbeddings(float32([2, 2], [5, 0, 0, 0.5]), 1)
    expect(Array.from(label.data)).toEqual([Math.fround(Math.SQRT1_2), Math.fround(Math.SQRT1_2)])
  })

  test('large temperatures do not overflow', () => {
    const labels = float32([2, 2], [1, 0, 0, 1])
    const { probabilities } = zeroShotScores(float32([1, 2], [1, 0]), labels, { logitScale: 1e6 })
    expect(Array.from(probabilities.data)).toEqual([1, 0])
  })

  test('of widths that differ are refused', () => {
    expect(() => zeroShotScores(float32([1, 3], [1, 0, 0]), float32([1, 2], [1, 0]), { logitScale: 1 })).toThrow(/shape/)
    expect(() => labelEmbeddings(float32([3, 2], [1, 0, 0, 1, 1, 1]), 2)).toThrow(/shape/)
  })
})

test.each(['hf-clip', 'open-clip-custom'])('%s: a picture against texts, with the model\u2019s own temperature', async (name) => {
  const { towers, description } = await loadModel(folderOf(name))
  const expected = await expectedOf(name)
  const [, backend] = backends[1]!
  const embed = async (tower: 'vision' | 'text', input: Record<string, Tensor>) => {
    const graph = towers[tower]!.buildGraph(new Set())
    return (await run(backend, graph, { inputs: input, weights: towers[tower]!.weights }))[graph.outputs[0]!] as Tensor<'float32'>
  }
  const images = await embed('vision', { pixels: expected.get('vision/pixels')! })
  const texts = await embed('text', { tokens: expected.get('text/tokens')! })
  const { logitScale, logitBias = 0 } = description
  expect(logitScale).toBeCloseTo(Math.exp(2.3), 4)
  const { logits } = zeroShotScores(images, labelEmbeddings(texts, texts.shape[0]!), { logitScale: logitScale!, logitBias })
  const imageRows = expected.get('vision/output')!
  const textRows = expected.get('text/output')!
  const width = imageRows.shape[1]!
  const cosine = (i: number, t: number) =>
    Array.from({ length: width }, (_, d) => Number(imageRows.data[i * width + d]) * Number(textRows.data[t * width + d])).reduce(
      (a, b) => a + b,
    )
  for (const [index, logit] of logits.data.entries()) {
    const [image, text] = [Math.floor(index / texts.shape[0]!), index % texts.shape[0]!]
    expect(logit).toBeCloseTo(logitScale! * cosine(image, text) + logitBias, 3)
  }
  expect(description.logitBias).toBe(name === 'open-clip-custom' ? -1.5 : undefined)
})
