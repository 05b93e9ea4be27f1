/** SAEs that read a model's run, in the engine's worker. */

import { beforeAll, describe, expect, test } from 'vitest'
import { Engine } from '../../../src/engine/host/engine.js'
import type { Codes, SaeRead } from '../../../src/engine/host/host.js'
import { fromWire } from '../../../src/engine/host/remote.js'
import { type EngineRequest, structureOf } from '../../../src/engine/host/structure-key.js'
import type { Edit } from '../../../src/engine/interventions/edit.js'
import type { Tensor } from '../../../src/engine/tensor.js'
import '../close-tensor.js'
import { backends, onnxruntime } from '../each-backend.js'
import { expectedOf, folderOf } from '../models/fixtures.js'
import { activeOf, featureCases, goldenEdit, goldenFeatures, saeSource } from '../saes/feature-goldens.js'

const clip = { key: 'clip', folder: folderOf('hf-clip'), processing: [] }
const pixels = (await expectedOf('hf-clip')).get('vision/pixels') as Tensor<'float32'>
const goldens = Object.fromEntries(await Promise.all(featureCases.map(async (name) => [name, await goldenFeatures(name)] as const)))

const read = (name: string, about: Partial<SaeRead> = {}): SaeRead => ({ sae: saeSource(name), topK: 5, imageTopK: 4, ...about })

const request = (saes: readonly SaeRead[], about: Partial<EngineRequest> = {}): EngineRequest => ({
  model: clip,
  inputs: { kind: 'pixels', pixels },
  read: [],
  edits: [],
  output: false,
  saes,
  ...about,
})

async function run(engine: Engine, requests: readonly EngineRequest[], maxRows = 16) {
  const [structure] = requests.map(structureOf)
  await engine.compile((await engine.plan(structure!)).program)
  const members = requests.map(({ inputs, edits }) => ({ inputs, edits }))
  const { outcomes } = await engine.run({ model: 'clip', structure: structure!.key, maxRows, members, saes: structure!.saes })
  return outcomes.map((outcome) => {
    if ('error' in outcome) throw fromWire(outcome.error)
    return outcome
  })
}

async function codesOf(engine: Engine, saes: readonly SaeRead[], about: Partial<EngineRequest> = {}): Promise<readonly Codes[]> {
  return (await run(engine, [request(saes, about)]))[0]!.codes
}

async function started(underTest = onnxruntime): Promise<Engine> {
  const engine = new Engine(await underTest.create())
  await engine.load(clip)
  for (const name of featureCases) await engine.loadSae(saeSource(name))
  return engine
}

/** Latents of the golden's rows that are active, largest first. */
function largest(latents: Tensor<'float32'>, k: number) {
  const width = latents.shape.at(-1)!
  return Array.from({ length: latents.data.length / width }, (_, row) =>
    Array.from(latents.data.subarray(row * width, (row + 1) * width), (value, latent) => ({ latent, value }))
      .filter(({ value }) => value > 0)
      .sort((a, b) => b.value - a.value || a.latent - b.latent)
      .slice(0, k),
  )
}

/** The same latents in the same order, with values that are close. */
function expectSameRows(actual: ReturnType<typeof activeOf>, expected: readonly { latent: number; value: number; token?: number }[][]) {
  const scale = Math.max(...expected.flat().map(({ value }) => value))
  const places = (rows: typeof expected) =>
    rows.map((row) => row.map(({ latent, token }) => (token === undefined ? latent : [latent, token])))
  expect(places(actual as never)).toEqual(places(expected))
  for (const [index, row] of actual.entries()) {
    for (const [at, { value }] of row.entries()) expect(Math.abs(value - expected[index]![at]!.value)).toBeLessThan(2e-5 * scale)
  }
}

const golden = (name: string, kind: 'tokens' | 'images') =>
  activeOf({ activations: goldens[name]![`${kind}/values`]!, latents: goldens[name]![`${kind}/indices`]! })

describe.each(backends)('codes on %s', (underTest) => {
  let engine: Engine
  beforeAll(async () => {
    engine = await started(underTest)
  })

  test.each(featureCases)('%s: the largest latents of each token and of each picture are those of PyTorch', async (name) => {
    const [codes] = await codesOf(engine, [read(name)])
    const { tokens, images } = codes!
    expectSameRows(activeOf(tokens!), golden(name, 'tokens'))
    const where = goldens[name]!['images/tokens']!
    const expected = golden(name, 'images').map((row, image) => row.map((each, at) => ({ ...each, token: where.data[image * 4 + at]! })))
    expectSameRows(activeOf(images!, images!.tokens), expected)
  })

  test('all SAEs in one run are each as by itself', async () => {
    const together = await codesOf(
      engine,
      featureCases.map((name) => read(name)),
    )
    for (const [index, name] of featureCases.entries()) {
      const [alone] = await codesOf(engine, [read(name)])
      expect(together[index]).toEqual(alone)
    }
  })

  test('every active latent, where as many are asked for as there are', async () => {
    for (const name of featureCases) {
      const [codes] = await codesOf(engine, [read(name, { topK: 1000, imageTopK: 0 })])
      expect(codes!.images).toBeUndefined()
      expectSameRows(activeOf(codes!.tokens!), largest(goldens[name]!.latents!, 1000))
    }
  })

  test.each(featureCases)('%s: a chosen latent is read of every token, active or not', async (name) => {
    const latents = goldens[name]!.latents!
    const width = latents.shape.at(-1)!
    const chosen = [width - 1, 0, 3, 0]
    const [codes] = await codesOf(engine, [read(name, { topK: 0, imageTopK: 0, latents: chosen })])
    expect([codes!.tokens, codes!.images]).toEqual([undefined, undefined])
    expect(codes!.chosen!.shape).toEqual([...latents.shape.slice(0, -1), chosen.length])
    const expected = Array.from({ length: latents.data.length / width }, (_, row) =>
      chosen.map((latent) => latents.data[row * width + latent]!),
    )
    const scale = latents.data.reduce((most, value) => Math.max(most, value), 0)
    for (const [at, value] of codes!.chosen!.data.entries()) expect(Math.abs(value - expected.flat()[at]!)).toBeLessThan(2e-5 * scale)
    const [cls] = await codesOf(engine, [read(name, { topK: 2, imageTopK: 0, positions: [0], latents: [1] })])
    expect(cls!.tokens).toBeDefined()
    expect(cls!.chosen!.shape.at(-2)).toBe(1)
  })

  test('a latent that there is not is refused', async () => {
    const error = { code: 'INPUT_INVALID', message: expect.stringContaining('out of range') }
    await expect(codesOf(engine, [read('relu', { latents: [0, 100_000] })])).rejects.toMatchObject(error)
    await expect(codesOf(engine, [read('relu', { latents: [] })])).rejects.toMatchObject({ code: 'INPUT_INVALID' })
  })

  test('an edited hook point is read as it is after the edit', async () => {
    const edits = [{ ...goldenEdit, vector: Float32Array.from(goldenEdit.vector) }] as Edit[]
    const names = featureCases.filter((name) => goldens[name]!['edited/latents'])
    expect(names.length).toBeGreaterThan(1)
    for (const [index, { tokens }] of (
      await codesOf(
        engine,
        names.map((name) => read(name)),
        { edits },
      )
    ).entries()) {
      expectSameRows(activeOf(tokens!), largest(goldens[names[index]!]!['edited/latents']!, 5))
    }
  })

  test('some positions are those rows of all, and change nothing that is compiled', async () => {
    const [all] = await codesOf(engine, [read('relu', { imageTopK: 0 })])
    const rows = activeOf(all!.tokens!)
    const programs = new Set<string>()
    for (const positions of [[0], [3, 1], [9, 8, 7, 0]]) {
      const [some] = await codesOf(engine, [read('relu', { positions, imageTopK: 2 })])
      programs.add((await engine.plan(structureOf(request([read('relu', { positions, imageTopK: 2 })])))).program)
      expectSameRows(
        activeOf(some!.tokens!),
        [0, 1, 2].flatMap((image) => positions.map((position) => rows[image * 10 + position]!)),
      )
      const best = activeOf(some!.images!, some!.images!.tokens)
      for (const [image, [first]] of best.entries()) {
        const among = positions.map((position) => rows[image * 10 + position]![0]!.value)
        expect(first!.value).toBeCloseTo(Math.max(...among), 4)
        expect(first!.token).toBe(among.indexOf(Math.max(...among)))
      }
    }
    expect(programs.size).toBe(1)
  })

  test('requests that share a run, and a run in parts, give each its own', async () => {
    const row = (index: number): Tensor<'float32'> => ({
      ...pixels,
      shape: [1, ...pixels.shape.slice(1)],
      data: pixels.data.slice(index * 507, (index + 1) * 507),
    })
    const one = (index: number) =>
      request([read('topk'), read('gated', { positions: [0] })], { inputs: { kind: 'pixels', pixels: row(index) } })
    const merged = await run(engine, [one(0), one(2)], 1)
    expectSameRows(activeOf(merged[1]!.codes[0]!.tokens!), golden('topk', 'tokens').slice(20))
    expectSameRows(activeOf(merged[1]!.codes[1]!.tokens!), [golden('gated', 'tokens')[20]!])
    expectSameRows(activeOf(merged[0]!.codes[0]!.tokens!), golden('topk', 'tokens').slice(0, 10))
  })
})

describe('what is planned', () => {
  test('only what the SAEs read is computed', async () => {
    const engine = await started()
    const early = await engine.plan(structureOf(request([read('topk')])))
    const late = await engine.plan(structureOf(request([read('relu')])))
    const whole = await engine.plan(structureOf(request([read('relu')], { output: true })))
    expect(early.estimatedBytes).toBeLessThan(late.estimatedBytes)
    expect(late.estimatedBytes).toBeLessThan(whole.estimatedBytes)
  })

  test('positions count in the memory that a run is expected to take', async () => {
    const engine = await started()
    const all = await engine.plan(structureOf(request([read('relu')])))
    const some = await engine.plan(structureOf(request([read('relu', { positions: [0] })])))
    expect(some.outputBytesPerRow).toBe(all.outputBytesPerRow)
    expect(all.outputBytesPerRow).toBe(10 * 5 * (4 + 4) + 4 * (4 + 4 + 4) + 10 * 4)
  })

  test('SAEs of equal configuration share a program', async () => {
    const engine = await started()
    const twin = { ...saeSource('relu'), key: 'twin' }
    await engine.loadSae(twin)
    const [one, other] = await Promise.all(
      [read('relu'), read('relu', { sae: twin })].map((sae) => engine.plan(structureOf(request([sae])))),
    )
    expect(other!.program).toBe(one!.program)
  })

  test('an SAE of another model is refused, with everything that does not fit', async () => {
    const engine = await started()
    await engine.load({ key: 'vit', folder: folderOf('hf-vit'), processing: [] })
    const vit = { ...clip, key: 'vit' }
    const other = { ...saeSource('relu'), key: 'elsewhere', overrides: { hookPoint: 'blocks.7.hook_resid_post' } }
    await engine.loadSae(other)
    await expect(engine.plan(structureOf(request([read('x', { sae: other })], { model: vit })))).rejects.toMatchObject({
      code: 'SAE_MISFIT',
      message: expect.stringMatching(/"elsewhere" is not one of vit: it reads "blocks\.7\.hook_resid_post", which the model does not have/),
    })
  })

  test('a position that is not there, and an edit that nothing reads', async () => {
    const engine = await started()
    await expect(codesOf(engine, [read('relu', { positions: [10] })])).rejects.toMatchObject({ code: 'POSITION_OUT_OF_RANGE' })
    const edits: Edit[] = [{ hookPoint: 'blocks.1.hook_resid_pre', op: 'zero' }]
    await expect(codesOf(engine, [read('topk')], { edits })).rejects.toMatchObject({
      code: 'EDIT_INVALID',
      message: expect.stringContaining('comes after it'),
    })
    await expect(codesOf(engine, [read('relu')], { edits })).resolves.toHaveLength(1)
  })
})
