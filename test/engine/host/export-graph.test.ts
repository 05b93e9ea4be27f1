/** Graphs that are taken elsewhere: the file, run by ONNX Runtime as a web page has it, gives the numbers of the engine's own run. */

import { buffer } from 'node:stream/consumers'
import { beforeAll, describe, expect, test } from 'vitest'
import { Engine } from '../../../src/engine/host/engine.js'
import { type ExportCall, saesOf } from '../../../src/engine/host/engine-worker-calls.js'
import { exportChunks } from '../../../src/engine/host/export-chunks.js'
import type { RunInputs, SaeRead, SaeSource } from '../../../src/engine/host/host.js'
import { fromWire } from '../../../src/engine/host/remote.js'
import { structureOf } from '../../../src/engine/host/structure-key.js'
import type { Edit } from '../../../src/engine/interventions/edit.js'
import { loadModel } from '../../../src/engine/models/load.js'
import { elementCount, float32, type Tensor } from '../../../src/engine/tensor.js'
import '../close-tensor.js'
import { onnxruntime } from '../each-backend.js'
import { expectedOf, folderOf } from '../models/fixtures.js'
import { saeSource } from '../saes/feature-goldens.js'
import { fakeHost } from './fake-host.js'
import { openOnWeb } from './onnxruntime-web.js'

const clip = { key: 'clip', folder: folderOf('hf-clip'), processing: [] }
const { description, towers, tokenizer } = await loadModel(clip.folder)
const golden = await expectedOf('hf-clip')
const pixels = golden.get('vision/pixels') as Tensor<'float32'>
const pictures: RunInputs = { kind: 'pixels', pixels }
const texts: RunInputs = { kind: 'text', texts: ['a cat', 'a red apple on a table'] }
const hookPoint = 'blocks.1.hook_resid_post'
const dModel = description.vision.hookPoints.find(({ name }) => name === hookPoint)!.shape.at(-1) as number
const vector = Float32Array.from({ length: dModel }, (_, at) => Math.sin(at + 1))

interface Asked {
  readonly inputs?: RunInputs
  readonly read?: readonly string[]
  readonly edits?: readonly Edit[]
  readonly editSaes?: readonly SaeSource[]
  readonly saes?: readonly SaeRead[]
  readonly output?: boolean
  readonly nRows?: number
}

let engine: Engine
beforeAll(async () => {
  engine = new Engine(await onnxruntime.create())
  await engine.load(clip)
  for (const name of ['relu', 'topk']) await engine.loadSae(saeSource(name))
})

/** What the engine itself answers, by the names of the file's outputs. */
async function ownRun({ inputs = pictures, read = [], edits = [], editSaes = [], saes = [], output = true }: Asked) {
  const structure = structureOf({ model: clip, inputs, read, edits, editSaes, saes, output })
  await engine.compile((await engine.plan(structure)).program)
  const members = [{ inputs, edits }]
  const [outcome] = (await engine.run({ model: 'clip', structure: structure.key, maxRows: 16, members, saes })).outcomes
  if ('error' in outcome!) throw fromWire(outcome.error)
  return { output: outcome!.output, activations: outcome!.activations, codes: outcome!.codes }
}

async function exported(
  { inputs = pictures, read = [], edits = [], editSaes = [], saes = [], output = true, nRows = 1 }: Asked,
  { weights = true, operands = 'values', metadata = {} }: Partial<ExportCall> = {},
) {
  const { mergeKey: _, ...structure } = { ...structureOf({ model: clip, inputs, read, edits, editSaes, saes, output }), nRows }
  const file = await engine.exportGraph({ structure, weights, operands, metadata, producerVersion: '1' })
  const keys = saesOf(structure).map(({ key }) => key)
  const chunks = exportChunks(file, (names) => engine.readWeights({ model: 'clip', tower: structure.tower, saes: keys, names }), undefined)
  const bytes = await buffer(chunks)
  expect(bytes.length).toBe(file.byteLength)
  return bytes
}

const feeds = (inputs: RunInputs): Record<string, Tensor> =>
  inputs.kind === 'text' ? { tokens: tokenizer!.encode(inputs.texts) } : { pixels }

/** Every technique, at hook points of every kind. */
const techniques: readonly (readonly [what: string, edits: readonly Edit[]])[] = [
  ['no edit', []],
  ['add', [{ op: 'add', hookPoint, vector, strength: 3, unit: 'norm', positions: 'patches' }]],
  ['set', [{ op: 'set', hookPoint, vector, positions: 'cls' }]],
  ['scale of heads', [{ op: 'scale', hookPoint: 'blocks.0.attn.hook_z', strength: -2, heads: [1] }]],
  ['zero inside a normalisation', [{ op: 'zero', hookPoint: 'blocks.1.ln1.hook_scale', positions: [0] }]],
  ['mean over the batch', [{ op: 'mean', hookPoint }]],
  ['projecting out', [{ op: 'project-out', hookPoint, vector }]],
  ['clamping a projection', [{ op: 'clamp-projection', hookPoint, vector, max: 0.1 }]],
  ['an optional hook point', [{ op: 'scale', hookPoint: 'blocks.1.attn.hook_result', strength: 0.5, heads: [0] }]],
  [
    'several in order',
    [
      { op: 'set', hookPoint: 'blocks.0.mlp.hook_post', value: 0.25 },
      { op: 'add', hookPoint, vector, strength: 2, unit: 'raw' },
      { op: 'scale', hookPoint, strength: 1.5 },
    ],
  ],
]

describe('a graph that is taken elsewhere', () => {
  test.each(techniques)('gives the same numbers on the web: %s', async (_what, edits) => {
    const asked = { edits, read: [hookPoint, 'blocks.1.attn.hook_pattern'] }
    const own = await ownRun(asked)
    const file = await exported(asked)
    // no operators but those of ONNX itself
    expect(file.includes('com.microsoft') || file.includes('ai.onnx')).toBe(false)
    const session = await openOnWeb(file)
    expect(session.inputNames).toEqual(['pixels'])
    expect([...session.outputNames].sort()).toEqual([...asked.read, 'output'].sort())
    const made = await session.run(feeds(pictures))
    expect(made.output).toBeCloseTensor(own.output!)
    for (const [index, name] of [...asked.read].sort().entries()) expect(made[name]).toBeCloseTensor(own.activations[index]!)
    await session.release()
  })

  test('takes one picture as well as many', async () => {
    const asked = { edits: techniques.find(([what]) => what === 'several in order')![1] }
    const session = await openOnWeb(await exported(asked))
    const whole = (await session.run({ pixels })).output!
    const rowShape = pixels.shape.slice(1)
    const first = float32([1, ...rowShape], pixels.data.subarray(0, elementCount(rowShape)))
    const alone = (await session.run({ pixels: first })).output!
    expect(alone).toBeCloseTensor(float32([1, ...whole.shape.slice(1)], (whole.data as Float32Array).subarray(0, alone.data.length)))
    await session.release()
  })

  test('of a text tower takes tokens', async () => {
    const edits: Edit[] = [{ op: 'scale', hookPoint: 'blocks.1.attn.hook_attn_scores', strength: 2 }]
    const asked = { inputs: texts, edits }
    const session = await openOnWeb(await exported(asked))
    expect(session.inputNames).toEqual(['tokens'])
    expect((await session.run(feeds(texts))).output).toBeCloseTensor((await ownRun(asked)).output!)
    await session.release()
  })

  test('without its weights is fed them by name, as one with them holds them', async () => {
    const asked = { edits: techniques[1]![1] }
    const file = await exported(asked, { weights: false })
    const { weights } = towers.vision
    expect(file.length).toBeLessThan(
      (await exported(asked)).length - Object.values(weights).reduce((sum, { data }) => sum + data.byteLength, 0) + 20_000,
    )
    const session = await openOnWeb(file)
    expect([...session.inputNames].sort()).toEqual(['pixels', ...Object.keys(weights)].sort())
    const made = await session.run({ pixels, ...weights })
    expect(made.output).toBeCloseTensor((await ownRun(asked)).output!)
    await session.release()
  })

  test('takes the numbers of its edits as inputs when asked to, and says what they are', async () => {
    const asked = { edits: techniques[1]![1] }
    const file = await exported(asked, { operands: 'inputs', metadata: { 'refract.model': 'tiny' } })
    const session = await openOnWeb(file)
    expect([...session.inputNames].sort()).toEqual(['edits[0].delta', 'edits[0].mask', 'pixels'])
    const operands = operandsIn(file)
    expect(Object.keys(operands).sort()).toEqual(['edits[0].delta', 'edits[0].mask'])
    const repeated = Object.fromEntries(Object.entries(operands).map(([name, row]) => [name, repeat(row, pixels.shape[0]!)]))
    expect((await session.run({ pixels, ...repeated })).output).toBeCloseTensor((await ownRun(asked)).output!)
    const none = {
      ...repeated,
      'edits[0].delta': float32(repeated['edits[0].delta']!.shape, new Float32Array(repeated['edits[0].delta']!.data.length)),
    }
    expect((await session.run({ pixels, ...none })).output).toBeCloseTensor((await ownRun({})).output!)
    expect(file.includes('refract.model')).toBe(true)
    await session.release()
  })

  test.each(['values', 'inputs'] as const)(
    'has the codes of SAEs among its outputs, and nothing that only a server looks at (%s)',
    async (operands) => {
      const saes: SaeRead[] = [
        { sae: saeSource('relu'), topK: 5, imageTopK: 3, positions: [1, 2, 3] },
        { sae: saeSource('topk'), topK: 4, imageTopK: 0, latents: [7, 0] },
      ]
      const asked = { saes, output: false, edits: techniques[1]![1].map((edit) => ({ ...edit, hookPoint: 'blocks.0.hook_resid_pre' })) }
      const file = await exported(asked, { operands })
      const session = await openOnWeb(file)
      const of = (sae: number, names: readonly string[]) => names.map((name) => `saes[${sae}].${name}`)
      const kinds = ['tokens.activations', 'tokens.latents', 'images.activations', 'images.latents', 'images.tokens']
      expect([...session.outputNames]).toEqual([...of(0, kinds), ...of(1, ['tokens.activations', 'tokens.latents', 'chosen'])])
      const given = operands === 'values' ? {} : operandsIn(file)
      const repeated = Object.entries(given).map(([name, row]) => [name, name.startsWith('edits') ? repeat(row, pixels.shape[0]!) : row])
      const made = await session.run({ pixels, ...Object.fromEntries(repeated) })
      const [relu, topk] = (await ownRun(asked)).codes
      expect(made['saes[0].tokens.activations']).toBeCloseTensor(relu!.tokens!.activations)
      expect(made['saes[0].tokens.latents']).toEqual(relu!.tokens!.latents)
      expect(made['saes[0].images.tokens']).toEqual(relu!.images!.tokens)
      expect(made['saes[1].chosen']).toBeCloseTensor(topk!.chosen!)
      await session.release()
    },
  )

  test.each<readonly [string, string, Edit]>([
    ['add', 'relu', { op: 'feature-add', hookPoint, sae: 0, features: [{ feature: 3, strength: 4 }], positions: 'patches' }],
    [
      'set',
      'relu',
      {
        op: 'feature-set',
        hookPoint,
        sae: 0,
        features: [
          { feature: 3, value: 2 },
          { feature: 7, value: 0 },
        ],
      },
    ],
    [
      'clamp, without the error',
      'relu',
      { op: 'feature-clamp', hookPoint, sae: 0, features: [{ feature: 3, max: 0.1 }], keepError: false },
    ],
    ['ablate, of a top-k SAE', 'topk', { op: 'feature-ablate', hookPoint: 'blocks.0.hook_mlp_out', sae: 0, features: [{ feature: 5 }] }],
    ['reconstruct', 'topk', { op: 'reconstruct', hookPoint: 'blocks.0.hook_mlp_out', sae: 0, keepError: false }],
  ])('edits features as the engine does: %s', async (_what, name, edit) => {
    const asked = { edits: [edit], editSaes: [saeSource(name)] }
    const own = await ownRun(asked)
    const session = await openOnWeb(await exported(asked))
    expect(session.inputNames).toEqual(['pixels'])
    expect((await session.run({ pixels })).output).toBeCloseTensor(own.output!)
    await session.release()
  })

  test('has the weights of an SAE once that edits and reads', async () => {
    const relu = saeSource('relu')
    const featureEdit: Edit = { op: 'feature-scale', hookPoint, sae: 0, features: [{ feature: 3, strength: 4 }] }
    const asked = { edits: [featureEdit], editSaes: [relu], saes: [{ sae: relu, topK: 5, imageTopK: 0 }] }
    const file = await exported(asked)
    const session = await openOnWeb(file)
    const made = await session.run({ pixels })
    const own = await ownRun(asked)
    expect(made.output).toBeCloseTensor(own.output!)
    expect(made['saes[0].tokens.activations']).toBeCloseTensor(own.codes[0]!.tokens!.activations)
    expect(file.includes('saes[0].W_enc')).toBe(true)
    expect(file.includes('saes[1].W_enc')).toBe(false)
    await session.release()
  })

  test('patches one picture of a batch from another', async () => {
    const edits: Edit[] = [{ op: 'patch', hookPoint, source: { input: 1 }, positions: 'patches' }]
    const session = await openOnWeb(await exported({ edits, nRows: 2 }))
    expect((await session.run({ pixels })).output).toBeCloseTensor((await ownRun({ edits })).output!)
    await session.release()
  })

  test('is refused where an edit has other numbers for each input', async () => {
    const shape = [2, ...(description.vision.hookPoints.find(({ name }) => name === hookPoint)!.shape.slice(1) as number[])]
    const data = Float32Array.from({ length: elementCount(shape) }, (_, at) => at)
    const edits: Edit[] = [{ op: 'patch', hookPoint, source: { values: { shape, data } } }]
    await expect(exported({ edits, nRows: 2 })).rejects.toMatchObject({ code: 'EDIT_INVALID', details: { path: 'edits[0]' } })
  })
})

describe('a host', () => {
  test('sends a file while it reads its weights, and brings a model back that had to go', async () => {
    const { host, engine } = await fakeHost({ memoryBytes: 64 * 2 ** 20 })
    const request = {
      ...({ tower: 'vision', output: true, edits: [], saes: [], nRows: 1, weights: true } as const),
      operands: 'values' as const,
    }
    const about = { ...request, model: { key: 'a', folder: '', processing: [] }, metadata: {}, producerVersion: '1' }
    const { byteLength, chunks } = await host.exportGraph({ ...about, read: ['first', 'second'] })
    await host.unload('a')
    const sent = await buffer(chunks)
    expect(sent.length).toBe(byteLength)
    expect([...new Float32Array(Uint8Array.from(sent.subarray(1, 5)).buffer), sent[9]]).toEqual([5, 1])
    expect(engine.journal.filter((line) => line.startsWith('load') || line.startsWith('weights'))).toEqual([
      'load a',
      'load a',
      'weights a first,second',
    ])
    await host.close()
  })
})

/** Of the text that a file holds about itself. */
function operandsIn(file: Uint8Array): Record<string, Tensor> {
  const text = Buffer.from(file).toString('latin1')
  const start = text.indexOf('{', text.lastIndexOf('refract.operands'))
  const json = JSON.parse(text.slice(start, text.indexOf('}}', start) + 2)) as Record<
    string,
    { dtype: string; shape: number[]; data: string }
  >
  return Object.fromEntries(
    Object.entries(json).map(([name, { dtype, shape, data }]): [string, Tensor] => {
      const bytes = Uint8Array.from(Buffer.from(data, 'base64'))
      if (dtype === 'bool') return [name, { dtype, shape, data: bytes }]
      return [
        name,
        dtype === 'int64' ? { dtype, shape, data: new BigInt64Array(bytes.buffer) } : float32(shape, new Float32Array(bytes.buffer)),
      ]
    }),
  )
}

function repeat({ dtype, shape, data }: Tensor, nRows: number): Tensor {
  const repeated = new (data.constructor as new (length: number) => Tensor['data'])(data.length * nRows)
  for (let row = 0; row < nRows; row++) (repeated as Float32Array).set(data as Float32Array, row * data.length)
  return { dtype, shape: [nRows, ...shape.slice(1)], data: repeated } as Tensor
}
