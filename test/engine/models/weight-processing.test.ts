import { describe, expect, test } from 'vitest'
import { describeModel, loadModel } from '../../../src/engine/models/load.js'
import type { TowerName, WeightProcessing } from '../../../src/engine/models/model.js'
import type { Tensor } from '../../../src/engine/tensor.js'
import { backends, expectedOf, fixtureNames, folderOf, relativeDifference, runAll } from './fixtures.js'

const [, reference] = backends[0]!
const all: WeightProcessing[] = ['fold-layer-norm', 'centre-writing-weights', 'fold-value-biases']

async function values(name: string, tower: TowerName, processing: WeightProcessing[]): Promise<Map<string, Tensor>> {
  const model = await loadModel(folderOf(name), { processing })
  const key = tower === 'vision' ? 'pixels' : 'tokens'
  return runAll(reference, model.towers[tower]!, { [key]: (await expectedOf(name)).get(`${tower}/${key}`)! })
}

const difference = (a: Map<string, Tensor>, b: Map<string, Tensor>, hook: string) => relativeDifference(a.get(hook)!, b.get(hook)!)

/** Models whose residual stream only LayerNorms read. */
const normalised = fixtureNames.filter((name) => !/attn-only|toy|all-positions/.test(name))

describe.each(normalised)('%s', async (name) => {
  const before = await values(name, 'vision', [])
  test.each([...all.map((step) => [step]), all])('keeps its output with %s', async (...steps) => {
    const after = await values(name, 'vision', steps as WeightProcessing[])
    expect(difference(after, before, 'output')).toBeLessThan(2e-5)
    expect(difference(after, before, 'blocks.0.attn.hook_pattern')).toBeLessThan(2e-5)
  })
})

test('text towers keep their output too', async () => {
  expect(difference(await values('hf-clip', 'text', all), await values('hf-clip', 'text', []), 'output')).toBeLessThan(2e-5)
})

describe('fold-layer-norm', () => {
  test('takes the weights out of the norms and leaves q, k, v and the neurons as they were', async () => {
    const before = await values('hf-vit-classifier', 'vision', [])
    const after = await values('hf-vit-classifier', 'vision', ['fold-layer-norm'])
    for (const hook of ['blocks.1.ln1.hook_normalized', 'blocks.1.ln2.hook_normalized', 'ln_final.hook_normalized']) {
      expect(difference(after, before, hook)).toBeGreaterThan(0.05)
      const row = after.get(hook)!
      const width = row.shape.at(-1)!
      const first = Array.from(row.data.slice(0, width), Number)
      expect(Math.abs(first.reduce((a, b) => a + b, 0))).toBeLessThan(1e-4)
    }
    for (const hook of ['attn.hook_q', 'attn.hook_k', 'attn.hook_v', 'mlp.hook_pre', 'hook_resid_post']) {
      expect(difference(after, before, `blocks.1.${hook}`)).toBeLessThan(2e-5)
    }
  })

  test('makes the biases that a model did not have, and says so', async () => {
    const before = await describeModel(folderOf('hf-vit-classifier'))
    const after = await describeModel(folderOf('hf-vit-classifier'), { processing: ['fold-layer-norm'] })
    expect(before.vision.config.biases.qkv).toBe(false)
    expect(after.vision.config.biases.qkv).toBe(true)
    expect(after.processing).toEqual(['fold-layer-norm'])
  })

  test('leaves the final norm of a model without a head alone', async () => {
    const before = await values('hf-vit', 'vision', [])
    const after = await values('hf-vit', 'vision', ['fold-layer-norm'])
    expect(difference(after, before, 'ln_final.hook_normalized')).toBeLessThan(2e-5)
    expect(difference(after, before, 'blocks.0.ln1.hook_normalized')).toBeGreaterThan(0.05)
  })
})

describe('centre-writing-weights', () => {
  test.each(['hf-clip', 'hf-dinov2', 'timm-registers'])(
    'in %s what is written has mean zero, and the stream shifts by one number a token',
    async (name) => {
      const before = await values(name, 'vision', [])
      const after = await values(name, 'vision', ['centre-writing-weights'])
      for (const hook of ['hook_pos_embed', 'blocks.0.hook_attn_out', 'blocks.1.hook_mlp_out']) {
        for (const row of rowsOf(after.get(hook)!)) expect(Math.abs(mean(row))).toBeLessThan(1e-5)
      }
      const shifts = rowsOf(after.get('blocks.1.hook_resid_post')!).map((row, index) => {
        const original = rowsOf(before.get('blocks.1.hook_resid_post')!)[index]!
        return row.map((value, d) => value - original[d]!)
      })
      for (const shift of shifts) expect(Math.max(...shift) - Math.min(...shift)).toBeLessThan(1e-4)
      expect(Math.max(...shifts.map((shift) => Math.abs(shift[0]!)))).toBeGreaterThan(0.01)
      expect(difference(after, before, 'blocks.1.ln2.hook_normalized')).toBeLessThan(5e-5)
    },
  )

  test.each(['toy', 'vit-prisma-attn-only', 'timm-all-positions'])(
    'is refused for %s, whose stream is read without a norm',
    async (name) => {
      await expect(describeModel(folderOf(name), { processing: ['centre-writing-weights'] })).rejects.toThrow(/centre-writing-weights/)
    },
  )
})

describe('fold-value-biases', () => {
  test('moves the value bias from z to what attention writes', async () => {
    const before = await values('hf-vit', 'vision', [])
    const after = await values('hf-vit', 'vision', ['fold-value-biases'])
    for (const hook of ['attn.hook_v', 'attn.hook_z']) expect(difference(after, before, `blocks.0.${hook}`)).toBeGreaterThan(0.05)
    expect(difference(after, before, 'blocks.0.hook_attn_out')).toBeLessThan(2e-5)
  })
})

test('steps are applied and recorded in one order', async () => {
  const { processing } = await describeModel(folderOf('hf-vit'), { processing: ['fold-value-biases', 'fold-layer-norm'] })
  expect(processing).toEqual(['fold-layer-norm', 'fold-value-biases'])
})

function rowsOf({ data, shape }: Tensor): number[][] {
  const width = shape.at(-1)!
  return Array.from({ length: data.length / width }, (_, row) => Array.from(data.slice(row * width, (row + 1) * width), Number))
}

const mean = (row: readonly number[]) => row.reduce((a, b) => a + b, 0) / row.length
