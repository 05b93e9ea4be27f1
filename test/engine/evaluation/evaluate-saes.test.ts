import path from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openSaeEvaluator, type SaeEvaluator } from '../../../src/engine/evaluation/evaluate-saes.js'
import {
  type EvaluationShard,
  evaluationFromBytes,
  evaluationToBytes,
  mergeEvaluations,
} from '../../../src/engine/evaluation/evaluation-shard.js'
import { finishEvaluation } from '../../../src/engine/evaluation/finish-evaluation.js'
import { metricDefinitions } from '../../../src/engine/evaluation/metric-definitions.js'
import { metricFormulas } from '../../../src/engine/evaluation/metric-formulas.js'
import { loadModel } from '../../../src/engine/models/load.js'
import type { VisionConfig } from '../../../src/engine/models/model.js'
import { tensor } from '../../../src/engine/tensor.js'
import { onnxruntime, referenceFloat64 } from '../each-backend.js'
import { type GoldenData, golden, goldenData } from './goldens.js'
import { identitySae } from './identity-sae.js'

let data: GoldenData
beforeAll(async () => {
  data = await goldenData()
})

async function evaluatorOf(
  backend: { create(): ReturnType<typeof onnxruntime.create> },
  { classes = data.classes as GoldenData['classes'] | undefined } = {},
) {
  const { config, saes, model } = data
  return openSaeEvaluator({ backend: await backend.create(), tower: model.towers.vision, config, saes, ...(classes && { classes }) })
}

async function shardOf(evaluator: SaeEvaluator, batches: readonly number[]): Promise<EvaluationShard> {
  let shard = evaluator.empty()
  for (const batch of batches) shard = await evaluator.addBatch(shard, data.batches[batch]!)
  return shard
}

test('every definition has a formula and every formula a definition', () => {
  expect(Object.keys(metricFormulas).sort()).toEqual(metricDefinitions.map(({ id }) => id).sort())
})

describe.each([
  [referenceFloat64, 1e-6],
  [onnxruntime, 2e-4],
] as const)('metrics on %s', (backend, tolerance) => {
  let evaluator: SaeEvaluator
  beforeAll(async () => {
    evaluator = await evaluatorOf(backend)
  })
  afterAll(() => evaluator.dispose())

  test.each(Object.keys(golden.cases))('of %s and their intervals are those that PyTorch computes from all tokens at once', async (id) => {
    const values = finishEvaluation(await shardOf(evaluator, [0, 1, 2, 3]))[id]!
    const expected = golden.cases[id]!.metrics
    expect(values.map(({ metric }) => metric).sort()).toEqual(Object.keys(expected).sort())
    const off = values.flatMap(({ metric, value, low, high }) => {
      const { value: wanted, half } = expected[metric]!
      const scale = Math.max(Math.abs(wanted), half, 1e-3)
      const isOff = Math.abs(value! - wanted) > tolerance * scale
      const isIntervalOff = low !== undefined && Math.abs((high! - low) / 2 - half) > 20 * tolerance * scale
      return isOff || isIntervalOff
        ? [{ metric, value, wanted, half: high === undefined ? undefined : (high - low!) / 2, wantedHalf: half }]
        : []
    })
    expect(off).toEqual([])
  })
})

describe('shards', () => {
  let evaluator: SaeEvaluator
  let single: EvaluationShard[]
  beforeAll(async () => {
    evaluator = await evaluatorOf(onnxruntime)
    single = await Promise.all([0, 1, 2, 3].map((batch) => shardOf(evaluator, [batch])))
  })
  afterAll(() => evaluator.dispose())

  test('split in any way and merged in any order are the same bytes and the same values', async () => {
    const whole = await shardOf(evaluator, [0, 1, 2, 3])
    const bytes = evaluationToBytes(whole)
    const values = finishEvaluation(whole)
    await fc.assert(
      fc.asyncProperty(
        fc.shuffledSubarray([0, 1, 2, 3], { minLength: 4 }),
        fc.array(fc.nat(), { minLength: 3, maxLength: 3 }),
        async (order, picks) => {
          const parts = order.map((batch) => single[batch]!)
          for (const pick of picks) {
            const at = pick % (parts.length - 1)
            parts.splice(at, 2, mergeEvaluations(parts[at]!, parts[at + 1]!))
          }
          expect(Buffer.compare(evaluationToBytes(parts[0]!), bytes)).toBe(0)
          expect(finishEvaluation(parts[0]!)).toEqual(values)
        },
      ),
      { numRuns: 30 },
    )
  })

  test('come back from their bytes as they were', async () => {
    const shard = mergeEvaluations(single[2]!, single[0]!)
    const read = await evaluationFromBytes(evaluationToBytes(shard))
    const spoilt = Buffer.from(evaluationToBytes(shard))
    spoilt.write('<', spoilt.indexOf('"plan":"{') + '"plan":"'.length)
    await expect(evaluationFromBytes(spoilt)).rejects.toMatchObject({ code: 'FILE_INVALID' })
    expect(finishEvaluation(read)).toEqual(finishEvaluation(shard))
    expect(Buffer.compare(evaluationToBytes(read), evaluationToBytes(shard))).toBe(0)
  })

  test('with a batch in common, or of other SAEs, are refused', async () => {
    expect(() => mergeEvaluations(single[0]!, single[0]!)).toThrow(/batch 0/)
    expect(() => mergeEvaluations(single[0]!, { ...single[1]!, saes: single[1]!.saes.slice(1) })).toThrow(/same SAEs/)
    await expect(evaluator.addBatch(single[0]!, data.batches[0]!)).rejects.toMatchObject({ code: 'CHECKPOINT_MISMATCH' })
  })

  test('of one batch have values without intervals, and say so', () => {
    const [value] = finishEvaluation(single[0]!).all!
    expect(value).toMatchObject({ metric: 'explained-variance', flags: ['few-batches'], n: 4 })
    expect(value!.low).toBeUndefined()
  })

  test('without batches have no values', () => {
    expect(finishEvaluation(evaluator.empty())).toEqual({ all: [], cls: [], patches: [], transcoder: [] })
  })
})

describe('what cannot be measured', () => {
  test('a quotient with a small denominator is flagged and not hidden', async () => {
    const evaluator = await evaluatorOf(onnxruntime)
    const values = finishEvaluation(await shardOf(evaluator, [0, 1, 2, 3])).patches!
    expect(values.find(({ metric }) => metric === 'ce-recovered')!.flags).toContain('ill-conditioned')
    expect(values.find(({ metric }) => metric === 'prisma/ce-recovered')!.flags).not.toContain('ill-conditioned')
    await evaluator.dispose()
  })

  test('without classes there are no cross-entropies, without labels divergences only', async () => {
    const without = await openSaeEvaluator({
      backend: await onnxruntime.create(),
      tower: data.model.towers.vision,
      config: data.config,
      saes: data.saes,
    })
    const ids = finishEvaluation(await shardOf(without, [0, 1])).all!.map(({ metric }) => metric)
    expect(ids).toContain('output-cosine-similarity')
    expect(ids.filter((id) => /ce|kl|accuracy|agreement/.test(id.replace('variance', '').replace('prisma/l0', '')))).toEqual([])
    await without.dispose()
    const evaluator = await evaluatorOf(onnxruntime)
    const { labels: _, ...batch } = data.batches[0]!
    const unlabelled = finishEvaluation(await evaluator.addBatch(evaluator.empty(), batch)).all!.map(({ metric }) => metric)
    expect(unlabelled).toContain('kl-recovered')
    expect(unlabelled).not.toContain('ce')
    await evaluator.dispose()
  })

  test('other texts than the bare class names are named beside prisma-compat cross-entropies', async () => {
    const { bareEmbeddings: _, ...classes } = data.classes
    const evaluator = await evaluatorOf(onnxruntime, { classes })
    const values = finishEvaluation(await shardOf(evaluator, [0, 1])).all!
    const flagged = values.filter(({ flags }) => flags.includes('other-prompts')).map(({ metric }) => metric)
    expect(flagged).toEqual(['prisma/ce', 'prisma/reconstruction-ce', 'prisma/zero-ablation-ce', 'prisma/ce-recovered'])
    await evaluator.dispose()
  })

  test('pictures that are all the same have no explained variance', async () => {
    const one = data.batches[0]!
    const same = tensor(
      'float32',
      [2, 3, 13, 13],
      Float32Array.from({ length: 2 * 507 }, (_, at) => Number(one.pixels.data[at % 507])),
    )
    const evaluator = await evaluatorOf(onnxruntime)
    const values = finishEvaluation(await evaluator.addBatch(evaluator.empty(), { batch: 0, pixels: same, labels: [0, 0] })).cls!
    const explained = values.find(({ metric }) => metric === 'explained-variance')!
    expect(explained).toMatchObject({ value: null, flags: ['not-defined'] })
    await evaluator.dispose()
  })
})

describe('an SAE that predicts what it reads', () => {
  test('recovers everything, wherever it reads and whatever tokens it is for', async () => {
    const { config, model, classes } = data
    const width = config.dModel
    const saes = [
      identitySae({ hookPoint: 'blocks.0.hook_resid_post' }, { width }),
      identitySae({ hookPoint: 'blocks.0.hook_resid_post' }, { width, positions: 'cls' }),
      identitySae({ hookPoint: 'blocks.1.hook_mlp_out' }, { width, positions: 'patches' }),
      identitySae({ hookPoint: 'blocks.1.ln2.hook_normalized' }, { width }),
      identitySae({ hookPoint: 'hook_embed' }, { width }),
      identitySae({ hookPoint: 'blocks.0.attn.hook_z', flattensHeads: true }, { width }),
      identitySae({ hookPoint: 'blocks.1.attn.hook_z', headIndex: 1 }, { width: config.dHead }),
      identitySae({ hookPoint: 'blocks.1.attn.hook_z', headIndex: 2 }, { width: config.dHead, positions: 'patches' }),
    ]
    const evaluator = await openSaeEvaluator({ backend: await onnxruntime.create(), tower: model.towers.vision, config, saes, classes })
    const found = finishEvaluation(await shardOf(evaluator, [0, 1, 2, 3]))
    const perfect = ['explained-variance', 'cosine-similarity', 'agreement', 'output-cosine-similarity', 'norm-ratio']
    for (const { id } of saes) {
      const values = Object.fromEntries(found[id]!.map(({ metric, value }) => [metric, value]))
      for (const metric of perfect) expect(values[metric], `${metric} of ${id}`).toBeCloseTo(1, 4)
      expect(values['reconstruction-kl'], id).toBeCloseTo(0, 5)
      expect(values['reconstruction-ce'], id).toBeCloseTo(values.ce!, 4)
    }
    await evaluator.dispose()
  })

  test('of a model with registers has metrics of CLS, registers and patches', async () => {
    const model = await loadModel(path.resolve(import.meta.dirname, '../../fixtures/models/hf-dinov2-registers'))
    const config = model.description.vision.config as VisionConfig
    const saes = [identitySae({ hookPoint: 'blocks.0.hook_resid_post' }, { width: config.dModel })]
    const backend = await onnxruntime.create()
    const evaluator = await openSaeEvaluator({ backend, tower: model.towers.vision, config, saes })
    const { height, width } = config.imageSize
    const pixels = tensor(
      'float32',
      [2, config.nChannels, height, width],
      Float32Array.from({ length: 2 * config.nChannels * height * width }, (_, at) => Math.sin(at)),
    )
    const values = finishEvaluation(await evaluator.addBatch(evaluator.empty(), { batch: 0, pixels }))[saes[0]!.id]!
    for (const metric of ['cls-l0', 'register-l0', 'patch-l0'])
      expect(values.find((each) => each.metric === metric)?.value).toBe(config.dModel)
    await evaluator.dispose()
  })
})

describe('bad input', () => {
  test('labels that are no classes, and too few of them', async () => {
    const evaluator = await evaluatorOf(onnxruntime)
    const batch = data.batches[0]!
    await expect(evaluator.addBatch(evaluator.empty(), { ...batch, labels: [0, 1, 5, 2] })).rejects.toThrow(/labels\[2\].*is 5/)
    await expect(evaluator.addBatch(evaluator.empty(), { ...batch, labels: [0] })).rejects.toThrow(/1 for 4 pictures/)
    await evaluator.dispose()
  })

  test('an SAE of another model, tokens that there are none of, classes that do not fit', async () => {
    const backend = await onnxruntime.create()
    const open = (over: object, classes = data.classes as object) =>
      openSaeEvaluator({
        backend,
        tower: data.model.towers.vision,
        config: data.config,
        saes: [{ ...data.saes[0]!, ...over }],
        classes: classes as never,
      })
    const { config } = data.saes[0]!
    await expect(open({ config: { ...config, hookPoint: 'blocks.7.hook_resid_post' } })).rejects.toMatchObject({ code: 'SAE_MISFIT' })
    await expect(open({ config: { ...config, hookPoint: 'hook_embed' }, positions: 'cls' })).rejects.toMatchObject({
      code: 'INPUT_INVALID',
    })
    await expect(open({}, { kind: 'logits' })).rejects.toThrow(/no classifier/)
    await expect(open({}, { ...data.classes, embeddings: tensor('float32', [2, 3], new Float32Array(6)) })).rejects.toMatchObject({
      code: 'SHAPE_MISMATCH',
    })
  })
})
