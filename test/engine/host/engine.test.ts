import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Backend } from '../../../src/engine/backends/backend.js'
import { Engine } from '../../../src/engine/host/engine.js'
import type { Outcome } from '../../../src/engine/host/engine-worker-calls.js'
import type { RunInputs, RunRequest } from '../../../src/engine/host/host.js'
import { fromWire } from '../../../src/engine/host/remote.js'
import { structureOf } from '../../../src/engine/host/structure-key.js'
import type { Edit } from '../../../src/engine/interventions/edit.js'
import { float32, type Tensor } from '../../../src/engine/tensor.js'
import '../close-tensor.js'
import { backends, onnxruntime } from '../each-backend.js'
import { expectedOf, folderOf } from '../models/fixtures.js'

const clip = { key: 'clip', folder: folderOf('hf-clip'), processing: [] }
const resid = 'blocks.0.hook_resid_post'

async function goldens() {
  const expected = await expectedOf('hf-clip')
  return { pixels: expected.get('vision/pixels') as Tensor<'float32'>, expected }
}

/** Plans, compiles and runs requests of one structure as one batch. */
async function runBatch(engine: Engine, requests: readonly RunRequest[], maxRows = 16): Promise<Outcome[]> {
  const [first] = requests.map(structureOf)
  const plan = await engine.plan(first!)
  await engine.compile(plan.program)
  const members = requests.map(({ inputs, edits }) => ({ inputs, edits }))
  return [...(await engine.run({ model: first!.model, structure: first!.key, maxRows, members, saes: first!.saes })).outcomes]
}

function good(outcome: Outcome | undefined) {
  if (outcome === undefined) throw new Error('there is no outcome')
  if ('error' in outcome) throw fromWire(outcome.error)
  return { ...outcome, output: outcome.output! }
}

const request = (inputs: RunInputs, about: { read?: string[]; edits?: Edit[] } = {}): RunRequest => ({
  model: clip,
  inputs,
  read: about.read ?? [],
  edits: about.edits ?? [],
})

const row = (tensor: Tensor<'float32'>, index: number): Tensor<'float32'> => {
  const length = tensor.data.length / tensor.shape[0]!
  return float32(tensor.shape.slice(1), tensor.data.slice(index * length, (index + 1) * length))
}

const pictures = (tensor: Tensor<'float32'>, ...rows: number[]): RunInputs => ({
  kind: 'pictures',
  pictures: rows.map((at) => row(tensor, at)),
})

describe.each(backends)('the engine on %s', (underTest) => {
  let engine: Engine
  beforeAll(async () => {
    engine = new Engine(await underTest.create())
    await engine.load(clip)
  })
  afterAll(() => engine.unload('clip'))

  test("gives the reference library's output and activations, from pixels and from pictures", async () => {
    const { pixels, expected } = await goldens()
    const read = [resid, 'blocks.1.attn.hook_pattern']
    const [outcome] = await runBatch(engine, [request({ kind: 'pixels', pixels }, { read })])
    expect(good(outcome).output).toBeCloseTensor(expected.get('vision/output')!)
    for (const [index, name] of structureOf(request({ kind: 'pixels', pixels }, { read })).read.entries()) {
      expect(good(outcome).activations[index]!).toBeCloseTensor(expected.get(`vision/${name}`)!)
    }
    const [fromPictures] = await runBatch(engine, [request(pictures(pixels, 0, 1, 2), { read })])
    expect(good(fromPictures).output).toEqual(good(outcome).output)
  })

  test('tokenizes texts', async () => {
    const [one] = await runBatch(engine, [request({ kind: 'text', texts: ['a cat', 'two cats'] })])
    const [other] = await runBatch(engine, [request({ kind: 'text', texts: ['two cats'] })])
    expect(good(one).output.shape).toEqual([2, 12])
    expect(row(good(one).output, 1)).toBeCloseTensor(row(good(other).output, 0))
  })

  test('a batch of several requests equals each by itself, whatever they edit', async () => {
    const { pixels } = await goldens()
    const vector = (value: number) => new Float32Array(16).fill(value)
    const edits: Edit[][] = [
      [{ hookPoint: resid, op: 'add', vector: vector(1), strength: 2, unit: 'norm' }],
      [{ hookPoint: resid, op: 'add', vector: vector(3), strength: -1, unit: 'raw', positions: 'cls' }],
      [{ hookPoint: resid, op: 'add', vector: vector(-1), strength: 4, unit: 'raw', positions: [1, 3] }],
    ]
    const requests = [[0], [1, 2], [2, 0]].map((rows, at) => request(pictures(pixels, ...rows), { read: [resid], edits: edits[at]! }))
    const merged = await runBatch(engine, requests)
    for (const [index, each] of requests.entries()) {
      const [alone] = await runBatch(engine, [each])
      expect(good(merged[index]).output).toBeCloseTensor(good(alone).output)
      expect(good(merged[index]).activations[0]!).toBeCloseTensor(good(alone).activations[0]!)
    }
  })

  test('patching from another input counts inputs within the request, merged or not', async () => {
    const { pixels } = await goldens()
    const patch = (...rows: number[]) =>
      request(pictures(pixels, ...rows), { read: [resid], edits: [{ hookPoint: resid, op: 'patch', source: { input: 1 } }] })
    const merged = await runBatch(engine, [patch(0, 1), patch(1, 2)], 1)
    const [plain] = await runBatch(engine, [request(pictures(pixels, 0, 1, 2), { read: [resid] })])
    const sources = [1, 1, 2, 2]
    const patched = merged.flatMap((outcome) => [0, 1].map((at) => row(good(outcome).activations[0]!, at)))
    for (const [index, source] of sources.entries()) expect(patched[index]).toBeCloseTensor(row(good(plain).activations[0]!, source))
  })

  test('more rows than the largest batch run in parts', async () => {
    const { pixels } = await goldens()
    const requests = [request(pictures(pixels, 0, 1, 2, 1), { read: [resid] }), request(pictures(pixels, 2), { read: [resid] })]
    const whole = await runBatch(engine, requests, 16)
    const parts = await runBatch(engine, requests, 2)
    for (const [index, outcome] of parts.entries()) {
      expect(good(outcome).output).toBeCloseTensor(good(whole[index]).output)
      expect(good(outcome).activations[0]!).toBeCloseTensor(good(whole[index]).activations[0]!)
    }
  })

  test('a bad member has its error in its place', async () => {
    const { pixels } = await goldens()
    const scale = (strength: number, inputs = pictures(pixels, 0)) =>
      request(inputs, { edits: [{ hookPoint: resid, op: 'scale', strength }] })
    const [first, notANumber, small, none, last] = await runBatch(engine, [
      scale(1),
      scale(Number.NaN),
      scale(1, { kind: 'pictures', pictures: [float32([3, 1, 1], [0, 0, 0])] }),
      scale(1, { kind: 'pictures', pictures: [] }),
      scale(1),
    ])
    expect(good(first).output).toEqual(good(last).output)
    expect(() => good(notANumber)).toThrow(expect.objectContaining({ code: 'EDIT_INVALID' }))
    expect(() => good(small)).toThrow('A prepared picture has shape [3, 1, 1]; expected [3, 13, 13].')
    expect(() => good(none)).toThrow(expect.objectContaining({ code: 'INPUT_INVALID' }))
  })

  test("shared memory and views are read as they are, and the feeds stay the caller's", async () => {
    const { pixels } = await goldens()
    const shared = new Float32Array(new SharedArrayBuffer(pixels.data.byteLength))
    shared.set(pixels.data)
    const padded = new Float32Array(pixels.data.length + 5)
    padded.set(pixels.data, 5)
    const [plain] = await runBatch(engine, [request({ kind: 'pixels', pixels })])
    for (const data of [shared, padded.subarray(5)]) {
      const [outcome] = await runBatch(engine, [request({ kind: 'pixels', pixels: { ...pixels, data } })])
      expect(good(outcome).output).toEqual(good(plain).output)
      expect(Array.from(data)).toEqual(Array.from(pixels.data))
    }
  })
})

describe('planning', () => {
  /** Counts what a backend compiles and runs; can be told to fail. */
  async function counting() {
    const backend = await onnxruntime.create()
    const counts = { compiled: 0, runs: [] as number[] }
    const failing = { above: Number.POSITIVE_INFINITY, message: 'std::bad_alloc' }
    const counted: Backend = {
      ...backend,
      upload: (weights) => backend.upload(weights),
      async compile(graph) {
        counts.compiled++
        const program = await backend.compile(graph)
        return {
          bytes: program.bytes,
          dispose: () => program.dispose(),
          run: async (feeds) => {
            const nRows = Object.values(feeds.inputs)[0]!.shape[0]!
            counts.runs.push(nRows)
            if (nRows > failing.above) throw new Error(failing.message)
            return program.run(feeds)
          },
        }
      },
    }
    return { engine: new Engine(counted), counts, failing }
  }

  test('models of the same architecture share programs, and what is dropped is planned anew', async () => {
    const { pixels } = await goldens()
    const { engine, counts } = await counting()
    const twin = { ...clip, key: 'twin' }
    await engine.load(clip)
    await engine.load(twin)
    const one = request(pictures(pixels, 0))
    await runBatch(engine, [one])
    await runBatch(engine, [{ ...one, model: twin }])
    expect(counts.compiled).toBe(1)
    const { program } = await engine.plan(structureOf(one))
    await engine.drop(program)
    await runBatch(engine, [one])
    expect(counts.compiled).toBe(2)
  })

  test('refuses unknown hook points, edits that do not fit and a tower that is not there, before anything is compiled', async () => {
    const { engine, counts } = await counting()
    const { pixels } = await goldens()
    const vit = { key: 'vit', folder: folderOf('hf-vit'), processing: [] }
    await engine.load(clip)
    await engine.load(vit)
    const plan = (about: Parameters<typeof request>[1]) => engine.plan(structureOf(request(pictures(pixels, 0), about)))
    await expect(plan({ read: ['blocks.0.hook_resid_pots', 'nonsense'] })).rejects.toMatchObject({
      code: 'HOOK_POINT_UNKNOWN',
      message: expect.stringContaining('Did you mean "blocks.0.hook_resid_post"'),
      problems: [{}, {}],
    })
    await expect(plan({ edits: [{ hookPoint: resid, op: 'nonsense' } as unknown as Edit] })).rejects.toMatchObject({ code: 'EDIT_INVALID' })
    await expect(plan({ edits: [{ hookPoint: resid, op: 'set', vector: Float32Array.of(1) }] })).rejects.toMatchObject({
      code: 'EDIT_INVALID',
    })
    const text = { ...request({ kind: 'text', texts: ['a cat'] }), model: vit }
    await expect(engine.plan(structureOf(text))).rejects.toMatchObject({ code: 'INPUT_INVALID' })
    expect(counts.compiled).toBe(0)
  })

  test('optional hook points are there when they are read or edited', async () => {
    const { engine } = await counting()
    const { pixels } = await goldens()
    await engine.load(clip)
    const optional = 'blocks.1.attn.hook_result'
    const [plain] = await runBatch(engine, [request(pictures(pixels, 0), { read: [optional] })])
    expect(good(plain).activations[0]!.shape).toEqual([1, 10, 4, 16])
    const [zeroed] = await runBatch(engine, [request(pictures(pixels, 0), { edits: [{ hookPoint: optional, op: 'zero', heads: [2] }] })])
    expect(good(zeroed).output).not.toEqual(good(plain).output)
  })

  test('a part that does not find its memory is run as smaller ones; another failure is not repeated', async () => {
    const { engine, counts, failing } = await counting()
    const { pixels } = await goldens()
    await engine.load(clip)
    const whole = await runBatch(engine, [request(pictures(pixels, 0, 1, 2, 0, 1))])
    counts.runs.length = 0
    failing.above = 2
    const [outcome] = await runBatch(engine, [request(pictures(pixels, 0, 1, 2, 0, 1))])
    expect(counts.runs).toEqual([5, 3, 2, 2, 1])
    expect(good(outcome).output).toBeCloseTensor(good(whole[0]).output)
    failing.message = 'the device is gone'
    const [failed] = await runBatch(engine, [request(pictures(pixels, 0, 1, 2))])
    expect(() => good(failed)).toThrow('the device is gone')
  })

  test('when a merged run fails, each request is run by itself', async () => {
    const { engine, counts, failing } = await counting()
    const { pixels } = await goldens()
    await engine.load(clip)
    failing.above = 1
    failing.message = 'nobody knows why'
    const outcomes = await runBatch(engine, [request(pictures(pixels, 0)), request(pictures(pixels, 1, 2)), request(pictures(pixels, 2))])
    expect(outcomes.map((outcome) => 'error' in outcome)).toEqual([false, true, false])
    expect(counts.runs).toEqual([4, 1, 2, 1])
  })

  test('says how large a row is before anything is compiled', async () => {
    const { engine } = await counting()
    const { pixels } = await goldens()
    await engine.load(clip)
    const plain = await engine.plan(structureOf(request(pictures(pixels, 0))))
    const reading = await engine.plan(structureOf(request(pictures(pixels, 0), { read: [resid] })))
    expect(plain.outputBytesPerRow).toBe(12 * 4)
    expect(reading.outputBytesPerRow).toBe((12 + 10 * 16) * 4)
    expect(plain.workingBytesPerRow).toBeGreaterThan(3 * 13 * 13 * 4)
    expect(plain.workingBytesPerRow).toBeLessThan(100_000)
  })

  test('the weights in memory are as large as the headers of the files say', async () => {
    const { engine } = await counting()
    for (const name of ['hf-clip', 'hf-vit-classifier', 'open-clip', 'hf-dinov2', 'vit-prisma-attn-only']) {
      const source = { key: name, folder: folderOf(name), processing: [] }
      const { vision, text } = await engine.inspect(source)
      expect(await engine.load(source), name).toMatchObject({ bytes: 4 * (vision.nParameters + (text?.nParameters ?? 0)) })
    }
  })
})
