/** Runs in their folders: what they leave, how they go on, why they stop. */

import { spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { EngineError } from '../../../src/engine/errors.js'
import { float32, type Tensor, zeros } from '../../../src/engine/tensor.js'
import { listCheckpoints, readCheckpoint, writeCheckpoint } from '../../../src/engine/training/run/checkpoints.js'
import { openRun } from '../../../src/engine/training/run/run-folder.js'
import { type Progress, type RunSetting, type Trainee, trainRun } from '../../../src/engine/training/run/training-run.js'
import { noisyBatches, trainTiny } from './tiny-run.js'

const root = fs.mkdtempSync(path.join(os.tmpdir(), 'refract-runs-'))
let nFolders = 0
const newFolder = () => path.join(root, String(nFolders++))
afterAll(() => fs.rmSync(root, { recursive: true }))

const read = (folder: string, name: string) => fs.readFileSync(path.join(folder, name), 'utf8')
const losses = (folder: string) => (JSON.parse(read(folder, 'curves.json')) as { loss: number[] }).loss

/** Runs one of the scripts beside this file. `onLine` may kill it. */
function runScript(
  name: string,
  folder: string,
  { onLine, before = '' }: { onLine?: (line: string, kill: () => void) => void; before?: string } = {},
): Promise<{ output: string; signal: NodeJS.Signals | null }> {
  const command = `${before} exec '${process.execPath}' --import tsx '${path.join(import.meta.dirname, name)}' '${folder}'`
  const child = spawn('sh', ['-c', command], { stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk
    for (const line of chunk.toString().split('\n')) onLine?.(line, () => child.kill('SIGKILL'))
  })
  return new Promise((resolve) => child.on('close', (_, signal) => resolve({ output, signal })))
}

describe('a run', () => {
  test('leaves a folder that says all of it', async () => {
    const folder = newFolder()
    const seen: Progress[] = []
    const { outcome, weights } = await trainTiny({ folder, onProgress: (progress) => void seen.push(progress) })
    expect(outcome).toEqual({ ended: 'finished', step: 24, evaluation: {} })
    expect(JSON.parse(read(folder, 'config.json'))).toMatchObject({
      config: { model: { kind: 'classification' }, learningRate: 0.01 },
      seed: 4,
      data: { name: 'noise', hash: 'none' },
      code: { version: '0.0.0', commit: 'abc' },
    })
    const curves = JSON.parse(read(folder, 'curves.json'))
    expect(Object.keys(curves)).toEqual(['step', 'loss', 'accuracy', 'gradientNorm', 'learningRate'])
    expect(curves.step).toEqual(Array.from({ length: 24 }, (_, at) => at + 1))
    expect(read(folder, 'curves.jsonl').split('\n')).toHaveLength(25)
    expect(read(folder, 'curves.svg')).toMatch(/^<svg[\s\S]*<\/svg>\n$/)
    expect(await listCheckpoints(folder)).toEqual([20, 24])
    const last = await readCheckpoint(folder, 24)
    expect(last.weights).toEqual(weights)
    expect(last.step).toBe(24)
    expect(seen.map(({ step }) => step)).toEqual(curves.step)
    expect(seen.at(-1)).toMatchObject({ nSteps: 24, stepsPerSecond: 10, secondsLeft: 0, numbers: { loss: curves.loss.at(-1) } })
    expect(seen[3]).toMatchObject({ stepsPerSecond: 10, secondsLeft: 2 })
    // It learns.
    const mean = (numbers: number[]) => numbers.reduce((sum, number) => sum + number) / numbers.length
    expect(mean(curves.loss.slice(-6))).toBeLessThan(mean(curves.loss.slice(0, 6)) - 0.1)
  })

  test('with the same seed has the same curve and the same weights, bit by bit; with another it has not', async () => {
    const [a, b, c] = [newFolder(), newFolder(), newFolder()]
    const results = [await trainTiny({ folder: a }), await trainTiny({ folder: b }), await trainTiny({ folder: c, seed: 5 })]
    expect(read(a, 'curves.jsonl')).toBe(read(b, 'curves.jsonl'))
    expect(results[0]!.weights).toEqual(results[1]!.weights)
    expect(read(a, 'curves.jsonl')).not.toBe(read(c, 'curves.jsonl'))
  })

  test('killed with -9 goes on from its last checkpoint to the same curve and the same weights', async () => {
    const [whole, killed] = [newFolder(), newFolder()]
    const expected = await trainTiny({ folder: whole })
    const { signal } = await runScript('tiny-run-process.ts', killed, { onLine: (line, kill) => line === '13' && kill() })
    expect(signal).toBe('SIGKILL')
    expect(await listCheckpoints(killed)).toEqual([5, 10])
    const { weights, outcome } = await trainTiny({ folder: killed, resume: true })
    expect(outcome.ended).toBe('finished')
    expect(weights).toEqual(expected.weights)
    for (const name of ['curves.jsonl', 'curves.json', 'curves.svg']) expect(read(killed, name)).toBe(read(whole, name))
  }, 60_000)

  test('goes on where it was stopped, whatever a killed process left half written', async () => {
    const [whole, stopped] = [newFolder(), newFolder()]
    await trainTiny({ folder: whole })
    const controller = new AbortController()
    const { outcome } = await trainTiny({
      folder: stopped,
      signal: controller.signal,
      onProgress: ({ step }) => step === 13 && controller.abort(),
    })
    expect(outcome).toMatchObject({ ended: 'stopped', step: 13 })
    expect((await listCheckpoints(stopped)).at(-1)).toBe(13)
    fs.appendFileSync(path.join(stopped, 'curves.jsonl'), '{"step":14,"loss":3}\n{"step":15,"lo')
    const unfinished = path.join(stopped, 'checkpoints/.00000015.x.writing')
    fs.mkdirSync(unfinished)
    await trainTiny({ folder: stopped, resume: true })
    expect(read(stopped, 'curves.jsonl')).toBe(read(whole, 'curves.jsonl'))
    expect(fs.existsSync(unfinished)).toBe(false)
    // And a finished one has nothing left to do.
    expect((await trainTiny({ folder: stopped, resume: true })).outcome).toMatchObject({ ended: 'finished', step: 24 })
  })

  test('keeps the best checkpoint besides the newest', async () => {
    const folder = newFolder()
    const values = new Map([
      [6, 0.5],
      [12, 0.9],
      [18, 0.7],
      [24, Number.NaN],
    ])
    const { outcome } = await trainTiny({
      folder,
      run: { checkpointEvery: 3, evaluateEvery: 6, best: { name: 'accuracy', goal: 'highest' }, keepLast: 1 },
      evaluate: async ({ step, weights }) => {
        expect(weights.names.has('vision/head.W_H')).toBe(true)
        return { accuracy: values.get(step)! }
      },
    })
    expect(outcome).toMatchObject({ best: { step: 12, value: 0.9 }, evaluation: { accuracy: Number.NaN } })
    expect(await listCheckpoints(folder)).toEqual([12, 24])
    const curve = JSON.parse(read(folder, 'curves.json'))['evaluation/accuracy'] as (number | null)[]
    expect(curve.filter((value) => value !== null)).toEqual([0.5, 0.9, 0.7])
  })
})

describe('is refused', () => {
  test('a folder that holds a run, unless it is gone on with', async () => {
    const folder = newFolder()
    await trainTiny({ folder, run: { nSteps: 1 } })
    await expect(trainTiny({ folder })).rejects.toMatchObject({ code: 'INPUT_INVALID', message: expect.stringContaining('resume') })
  })

  test('to go on with another configuration, seed or data, by name', async () => {
    const folder = newFolder()
    await trainTiny({ folder, run: { nSteps: 1 } })
    await expect(trainTiny({ folder, resume: true, seed: 5, learningRate: 0.02 })).rejects.toMatchObject({
      code: 'CHECKPOINT_MISMATCH',
      details: { problems: ['config.learningRate: 0.01 there, 0.02 here', 'seed: 4 there, 5 here'] },
    })
  })

  test('a checkpoint of another architecture, put there by hand', async () => {
    const folder = newFolder()
    await trainTiny({ folder, run: { nSteps: 5 } })
    const { identity, ...checkpoint } = await readCheckpoint(folder, 5)
    const weights: Record<string, Tensor> = {
      ...checkpoint.weights,
      'vision/extra': float32([1], [0]),
      'vision/head.b_H': zeros('float32', [7]),
    }
    delete weights['vision/cls_token']
    await writeCheckpoint(folder, { ...checkpoint, weights }, { identity })
    await expect(trainTiny({ folder, resume: true })).rejects.toMatchObject({
      code: 'CHECKPOINT_MISMATCH',
      details: {
        problems: [
          'it lacks the weight "vision/cls_token"',
          'the weight "vision/head.b_H" is float32 [7] there and float32 [5] here',
          'it has the weight "vision/extra", which is not part of what is trained',
        ],
      },
    })
    await writeCheckpoint(folder, checkpoint, { identity: 'another' })
    await expect(trainTiny({ folder, resume: true })).rejects.toMatchObject({ code: 'CHECKPOINT_MISMATCH' })
  })

  test('a damaged checkpoint, by the name of its file', async () => {
    const folder = newFolder()
    await trainTiny({ folder, run: { nSteps: 5 } })
    const file = path.join(folder, 'checkpoints/00000005/weights.safetensors')
    fs.truncateSync(file, fs.statSync(file).size - 1)
    await expect(trainTiny({ folder, resume: true })).rejects.toMatchObject({
      code: 'FILE_INVALID',
      message: expect.stringContaining('checkpoints/00000005/weights.safetensors'),
    })
    fs.writeFileSync(path.join(folder, 'checkpoints/00000005/checkpoint.json'), '{')
    await expect(trainTiny({ folder, resume: true })).rejects.toMatchObject({ code: 'FILE_INVALID' })
  })

  test('a batch without what the objective needs', async () => {
    const at = async (step: number) => ({ pixels: (await noisyBatches(1).at(step)).pixels! })
    await expect(trainTiny({ folder: newFolder(), batches: { at } })).rejects.toMatchObject({
      code: 'FEED_MISSING',
      details: { names: ['labels'] },
    })
  })
})

describe('a run that diverges', () => {
  /** Learns nothing; loses as it is told. */
  const trainee = (numbers: (step: number) => Record<string, number>, weight = () => 0): Trainee => ({
    update: async (step) => numbers(step),
    snapshot: async () => ({ weights: { w: float32([1], [weight()]) }, state: {} }),
  })
  const run = async (folder: string, of: Trainee, setting: Partial<RunSetting> = {}) =>
    trainRun({
      run: await openRun({ folder, identity: { config: {}, seed: 0, data: {} }, code: { version: '0' } }),
      trainee: of,
      setting: { nSteps: 20, checkpointEvery: 5, ...setting },
      title: 'told',
      now: () => 0,
    })

  test.each([
    ['a loss of NaN', () => ({ loss: Number.NaN }), 'loss is NaN'],
    ['an infinite loss', () => ({ loss: Number.POSITIVE_INFINITY }), 'loss is Infinity'],
    ['gradients without a length', () => ({ loss: 1, gradientNorm: Number.NaN }), 'gradientNorm is NaN'],
    ['a crossed bound', () => ({ loss: 1, deadShare: 0.95 }), 'deadShare is 0.95, above its bound of 0.9'],
    ['a bounded number that is none', () => ({ loss: 1, deadShare: Number.NaN }), 'deadShare is NaN'],
  ])('stops at %s and leaves its last checkpoint', async (_, spoilt, problem) => {
    const folder = newFolder()
    const told = trainee((step) => (step === 12 ? spoilt() : { loss: 2 }))
    const error = await run(folder, told, { bounds: { deadShare: 0.9 } }).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(EngineError)
    expect(error).toMatchObject({ code: 'TRAINING_DIVERGED', details: { step: 13, checkpoint: 10 } })
    expect((error as Error).message).toContain(problem)
    expect(await listCheckpoints(folder)).toEqual([5, 10])
    expect((await readCheckpoint(folder, 10)).weights.w).toEqual(float32([1], [0]))
    expect(losses(folder)).toHaveLength(12)
  })

  test('never saves weights that are not finite', async () => {
    const folder = newFolder()
    let step = 0
    const told = trainee(
      (at) => {
        step = at
        return { loss: 1 }
      },
      () => (step > 7 ? Number.NaN : 0),
    )
    await expect(run(folder, told)).rejects.toMatchObject({ code: 'TRAINING_DIVERGED', details: { step: 10, checkpoint: 5 } })
    expect(await listCheckpoints(folder)).toEqual([5])
  })

  test('really: a learning rate far too high', async () => {
    const folder = newFolder()
    const error = await trainTiny({ folder, learningRate: 1e30, run: { checkpointEvery: 1 } }).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'TRAINING_DIVERGED' })
    const steps = await listCheckpoints(folder)
    for (const step of steps) {
      for (const { data } of Object.values((await readCheckpoint(folder, step)).weights)) {
        expect(Array.from(data as Float32Array).every(Number.isFinite)).toBe(true)
      }
    }
  })
})

test('a full disk ends a run with STORAGE_FULL, the last good checkpoint whole and nothing beside it', async () => {
  const folder = newFolder()
  // Files of at most 100 blocks, and a write beyond that is an error as on a full disk.
  const { output } = await runScript('full-disk-process.ts', folder, { before: "trap '' XFSZ; ulimit -f 100;" })
  expect(output).toBe('STORAGE_FULL')
  expect(await listCheckpoints(folder)).toEqual([10, 15])
  expect(fs.readdirSync(path.join(folder, 'checkpoints')).sort()).toEqual(['00000010', '00000015'])
  expect((await readCheckpoint(folder, 15)).weights.w!.shape).toEqual([10])
  expect(losses(folder)).toHaveLength(20)
}, 60_000)
