import fs from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadModel } from '../../src/engine/models/load.js'
import { loadSae } from '../../src/engine/saes/load-sae.js'
import { startCli } from './run-cli.js'

let folder: string

beforeAll(async () => {
  folder = await fs.mkdtemp(path.join(os.tmpdir(), 'refract-train-'))
  await writePictures(path.join(folder, 'pictures'))
})
afterAll(() => fs.rm(folder, { recursive: true, force: true }))

/** Two classes that differ in colour, eight pictures each. */
async function writePictures(pictures: string): Promise<void> {
  for (const [name, red, blue] of [['red-things', 220, 20] as const, ['blue-things', 20, 220] as const]) {
    await fs.mkdir(path.join(pictures, name), { recursive: true })
    for (let index = 0; index < 8; index++) {
      const background = { r: red - 5 * index, g: 10 * index, b: blue - 5 * index }
      await sharp({ create: { width: 16, height: 16, channels: 3, background } })
        .png()
        .toFile(path.join(pictures, name, `${index}.png`))
    }
  }
}

const classifier = {
  seed: 3,
  model: { nLayers: 1, dModel: 16, nHeads: 2, imageSize: 16, patchSize: 8 },
  data: { train: { kind: 'folder', folder: 'pictures' }, test: { kind: 'folder', folder: 'pictures' } },
  batchSize: 8,
  steps: 20,
  optimizer: { learningRate: 0.01 },
  schedule: { kind: 'warmup-cosine', warmupSteps: 2 },
  export: { name: 'colours', license: 'mit' },
}

const clip = {
  ...classifier,
  model: {
    embeddingSize: 8,
    vision: { nLayers: 1, dModel: 16, nHeads: 2, imageSize: 16, patchSize: 8 },
    text: { nLayers: 1, dModel: 16, nHeads: 2, contextLength: 8, vocabSize: 520 },
  },
  sameBy: 'class',
  data: {
    train: { kind: 'folder', folder: 'pictures', captions: [{ text: '{class}' }] },
    test: { kind: 'folder', folder: 'pictures', captions: [{ text: '{class}' }] },
  },
  evaluate: { zeroShot: [{ facet: 'class', templates: ['{}'] }] },
  textClasses: [{ facet: 'class', templates: ['{}', 'a picture of {}'], weight: 0.5, labelSmoothing: 0.1 }],
  contrastWeight: 0.5,
  patchDropout: 0.5,
  optimizer: { kind: 'muon', learningRate: 0.01, matrixFactor: 2 },
  steps: 40,
}

async function train(kind: 'model' | 'clip' | 'sae', config: unknown, { name, flags = [] }: { name: string; flags?: readonly string[] }) {
  const file = path.join(folder, `${name}.yaml`)
  await fs.writeFile(file, JSON.stringify(config))
  const cli = startCli(['train', kind, '--config', file, '--out', path.join(folder, name), '--json', ...flags])
  const code = await cli.exitCode
  return { code, err: cli.err(), result: code === 0 ? JSON.parse(cli.out()) : undefined, run: path.join(folder, name) }
}

describe('refract train model', () => {
  test('trains, and leaves a folder that says all of it and a model that loads', async () => {
    const { code, result, run, err } = await train('model', classifier, { name: 'classifier' })
    expect(err).toContain('step 20 of 20')
    expect(code).toBe(0)
    expect(result).toMatchObject({ ended: 'finished', step: 20, evaluation: { top1: 1 } })
    expect(await fs.readdir(run)).toEqual(expect.arrayContaining(['checkpoints', 'config.json', 'curves.json', 'curves.svg', 'model']))
    const facts = JSON.parse(await fs.readFile(path.join(run, 'config.json'), 'utf8'))
    expect(facts).toMatchObject({
      config: classifier,
      seed: 3,
      data: { train: { size: 16, hash: expect.stringMatching(/^[0-9a-f]{64}$/) } },
    })
    const curves = JSON.parse(await fs.readFile(path.join(run, 'curves.json'), 'utf8'))
    expect(curves.loss.at(-1)).toBeLessThan(curves.loss[0])
    const { description } = await loadModel(path.join(run, 'model'))
    expect(description.classLabels).toEqual(['blue-things', 'red-things'])
    expect(await fs.readFile(path.join(run, 'model', 'README.md'), 'utf8')).toMatch(
      /license: "?mit[\s\S]*# colours[\s\S]*top1 \| 100\.00 %/,
    )
  })

  test('the same seed gives the same curve, and a run that was stopped and resumed too', async () => {
    const curve = async (run: string) => JSON.parse(await fs.readFile(path.join(run, 'curves.json'), 'utf8')).loss
    const whole = await train('model', classifier, { name: 'whole' })
    expect(await curve(whole.run)).toEqual(await curve(path.join(folder, 'classifier')))

    const file = path.join(folder, 'stopped.yaml')
    await fs.writeFile(file, JSON.stringify({ ...classifier, run: { checkpointEvery: 3 } }))
    const run = path.join(folder, 'stopped')
    const first = startCli(['train', 'model', '--config', file, '--out', run])
    await untilThere(path.join(run, 'checkpoints', '00000003'))
    first.signals.emit('SIGINT')
    expect(await first.exitCode).toBe(first.out().startsWith('Stopped') ? 130 : 0)
    const resumed = startCli(['train', 'model', '--config', file, '--out', run, '--resume', '--json'])
    expect(await resumed.exitCode).toBe(0)
    expect(JSON.parse(resumed.out()).ended).toBe('finished')
    expect(await curve(run)).toEqual(await curve(whole.run))
  })

  test('a folder that holds a run is not written over', async () => {
    const { code, err } = await train('model', classifier, { name: 'classifier' })
    expect(code).toBe(1)
    expect(err).toContain('holds a run already')
  })

  test('a configuration with mistakes is refused with all of them, before anything is read', async () => {
    const mistaken = { ...classifier, batchSise: 8, model: { ...classifier.model, nHeads: 3, patchSize: 7 } }
    const { code, err, run } = await train('model', mistaken, { name: 'mistaken' })
    expect(code).toBe(1)
    expect(err).toContain('batchSise')
    expect(err).toContain('Did you mean "batchSize"?')
    expect(err).toContain('3 heads do not divide dModel 16')
    expect(err).toContain('patches of 7 x 7 do not tile 16 x 16')
    await expect(fs.access(run)).rejects.toThrow()
  })

  test('flags stand for fields; what is no number is refused', async () => {
    const { result } = await train('model', classifier, { name: 'flags', flags: ['--steps', '2', '--seed', '4'] })
    expect(result.step).toBe(2)
    const refused = await train('model', classifier, { name: 'refused', flags: ['--steps', 'many'] })
    expect(refused).toMatchObject({ code: 2, err: expect.stringContaining('--steps "many" is not a number') })
  })

  test.each([
    ['no: [yaml', 'is not valid YAML'],
    ['- a\n- list', 'does not hold a configuration'],
  ])('a file that holds "%s" is refused', async (text, problem) => {
    const file = path.join(folder, 'broken.yaml')
    await fs.writeFile(file, text)
    const cli = startCli(['train', 'model', '--config', file])
    expect(await cli.exitCode).toBe(2)
    expect(cli.err()).toContain(problem)
  })
})

describe('refract train clip', () => {
  test('trains both towers and a tokenizer, tells the classes apart by their names, and leaves a model that loads', async () => {
    const { code, result, run } = await train('clip', clip, { name: 'clip' })
    expect(code).toBe(0)
    expect(result.evaluation['class/top1']).toBe(1)
    const { description } = await loadModel(path.join(run, 'model'))
    expect(description).toMatchObject({ layout: 'hf-clip', logitScale: expect.any(Number) })
    expect(await fs.readdir(path.join(run, 'model'))).toEqual(expect.arrayContaining(['tokenizer.json', 'vocab.json', 'merges.txt']))
  })

  test.each([
    ['evaluate', { evaluate: { zeroShot: [{ facet: 'colour' }] } }],
    ['text classes', { textClasses: [{ facet: 'colour' }] }],
    ['same', { sameBy: 'colour' }],
  ])('%s: a question about a facet that the pictures do not have is refused', async (name, asked) => {
    const { code, err } = await train('clip', { ...clip, ...asked }, { name: `facet of ${name}` })
    expect(code).toBe(1)
    expect(err).toContain('"colour" is not known of')
  })
})

describe('refract train sae', () => {
  const saes = {
    model: 'classifier/model',
    data: { kind: 'folder', folder: 'pictures' },
    batchSize: 20,
    picturesPerBatch: 8,
    bufferMb: 1,
    steps: 40,
    learningRate: 0.01,
    saes: [
      { name: 'standard', hookPoint: 'blocks.0.hook_resid_post', architecture: 'standard', dSae: 32, sparsityCoefficient: 0.001 },
      { name: 'topk', hookPoint: 'blocks.0.hook_mlp_out', architecture: 'topk', k: 4, expansionFactor: 2 },
      {
        name: 'transcoder',
        hookPoint: 'blocks.0.ln2.hook_normalized',
        architecture: 'topk',
        k: 4,
        dSae: 32,
        transcoder: { hookPointOut: 'blocks.0.hook_mlp_out' },
      },
    ],
  }

  test('trains several SAEs and a transcoder in one pass; each loss falls, and each loads again', async () => {
    const { code, err, result, run } = await train('sae', saes, { name: 'saes' })
    expect(err).toContain('step 40 of 40')
    expect(code).toBe(0)
    expect(result.written).toHaveLength(3)
    const curves = JSON.parse(await fs.readFile(path.join(run, 'curves.json'), 'utf8'))
    for (const { name, hookPoint, architecture } of saes.saes) {
      expect(curves[`${name}/loss`].at(-1)).toBeLessThan(curves[`${name}/loss`][0])
      const { description } = await loadSae(path.join(run, 'saes', name))
      expect(description.config).toMatchObject({ hookPoint, architecture, dSae: 32 })
    }
  })

  test('a layout that cannot say what is asked for is refused before anything is trained', async () => {
    const jumpRelu = { name: 'jump', hookPoint: 'blocks.0.hook_resid_post', architecture: 'jumprelu', dSae: 32, sparsityCoefficient: 0.1 }
    const { code, err, run } = await train('sae', { ...saes, saes: [jumpRelu], layout: 'vit-prisma' }, { name: 'unsayable' })
    expect(code).toBe(1)
    expect(err).toMatch(/jumprelu/i)
    await expect(fs.access(run)).rejects.toThrow()
  })

  test('mistakes in any of the SAEs are told together', async () => {
    const mistaken = [
      { name: 'one', hookPoint: 'blocks.0.hook_resid_post', architecture: 'standard', dSae: 8 },
      {
        name: 'one',
        hookPoint: 'blocks.0.hook_resid_post',
        architecture: 'topk',
        dSae: 8,
        expansionFactor: 2,
        optimizer: { learningRate: 1 },
      },
    ]
    const { code, err } = await train('sae', { ...saes, saes: mistaken }, { name: 'several' })
    expect(code).toBe(1)
    for (const part of [
      'sparsityCoefficient',
      'two of them have the name "one"',
      'excludes expansionFactor',
      'saes[1].k',
      'learningRateFactor',
    ]) {
      expect(err).toContain(part)
    }
  })

  test('a hook point that the model does not have is refused with the nearest', async () => {
    const [first] = saes.saes
    const { code, err } = await train('sae', { ...saes, saes: [{ ...first, hookPoint: 'blocks.0.hook_resid_pots' }] }, { name: 'hook' })
    expect(code).toBe(1)
    expect(err).toContain('blocks.0.hook_resid_post')
  })
})

async function untilThere(file: string): Promise<void> {
  const isThere = () =>
    fs.access(file).then(
      () => true,
      () => false,
    )
  const changes = fs.watch(folder, { recursive: true })
  if (await isThere()) return
  for await (const _ of changes) if (await isThere()) return
}

describe('refract evaluate', () => {
  const config = {
    model: 'classifier/model',
    saes: 'saes/saes',
    data: { kind: 'folder', folder: 'pictures' },
    classes: { facet: 'class' },
    batchSize: 5,
  }
  const evaluate = async (given: object) => {
    const [file, out] = [path.join(folder, 'evaluate.yaml'), path.join(folder, 'metrics.json')]
    await fs.writeFile(file, JSON.stringify(given))
    const cli = startCli(['evaluate', '--config', file, '--out', out])
    const code = await cli.exitCode
    return { code, said: cli.out(), err: cli.err(), out }
  }

  test('measures every SAE of a folder, with the data set that was measured on', async () => {
    const { code, said, out } = await evaluate(config)
    expect(code).toBe(0)
    expect(said).toMatch(/^sae +explained-variance/)
    const { data, saes, backend } = JSON.parse(await fs.readFile(out, 'utf8'))
    expect(data).toMatchObject({ size: 16, hash: expect.stringMatching(/^[0-9a-f]{64}$/) })
    expect(backend).toBe('onnxruntime')
    expect(saes.map(({ id }: { id: string }) => id)).toEqual(['standard', 'topk', 'transcoder'])
    for (const { metrics } of saes) {
      const value = (metric: string) => metrics.find((each: { metric: string }) => each.metric === metric)?.value
      expect(value('explained-variance')).toBeLessThanOrEqual(1)
      expect(value('l0')).toBeGreaterThan(0)
      expect(value('accuracy')).toBe(1)
    }
    const topk = saes[1].metrics.find(({ metric }: { metric: string }) => metric === 'l0')
    expect(topk.value).toBeLessThanOrEqual(4)
  })

  test.each([
    ['a facet that is not the classes of the model', { ...config, classes: { facet: 'name' } }, /"name" is not known of|not the classes/],
    ['a folder that is not there', { ...config, saes: 'nowhere' }, /cannot be read/],
    ['a field that is misspelt', { ...config, batchSise: 3 }, /Did you mean "batchSize"/],
  ])('%s is refused', async (_, given, problem) => {
    const { code, err } = await evaluate(given)
    expect(code).not.toBe(0)
    expect(err).toMatch(problem)
  })
})
