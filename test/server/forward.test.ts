/** Runs, their numbers and the forms they come in. */

import { tableFromIPC } from 'apache-arrow'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { bytesSource } from '../../src/engine/io/byte-source.js'
import { fromJsonTensor } from '../../src/engine/io/json-tensor.js'
import { readNpz } from '../../src/engine/io/npz.js'
import { readSafetensor, readSafetensorsHeader } from '../../src/engine/io/safetensors.js'
import type { Tensor } from '../../src/engine/tensor.js'
import { ARROW, NPZ, SAFETENSORS } from '../../src/server/negotiate.js'
import { get, graphql, picture, post, startTestServer, type TestServer, testModels, upload } from './test-server.js'

const { classifier, clip, noCls } = testModels
const RESID = 'blocks.1.hook_resid_post'
const PATTERN = 'blocks.0.attn.hook_pattern'

let server: TestServer
let images: string[]

beforeAll(async () => {
  server = await startTestServer()
  images = await Promise.all([1, 2, 3].map(async (seed) => (await upload(server.app, await picture(seed))).json().id))
})
afterAll(() => server.close())

interface Answer {
  readonly activations: Readonly<Record<string, { shape: number[]; dtype: string; data: unknown }>>
  readonly output: { shape: number[]; data: number[][] }
  readonly classes: { label: string; index: number; logit: number; probability: number }[][] | null
  readonly cache: string | null
  readonly model: string
  readonly tower: string
}

async function forward(input: object): Promise<Answer> {
  const response = await post(server.app, '/v1/forward', { model: classifier, inputs: [{ image: images[0] }], ...input })
  expect(response.json()).not.toHaveProperty('code')
  expect(response.statusCode).toBe(200)
  return response.json()
}

const tensorOf = (answer: Answer, name: string): Tensor => fromJsonTensor(answer.activations[name], name)
const first = (answer: Answer) => answer.output.data[0]!

describe('what is read', () => {
  test('patterns select in firing order, each once, and read nothing more', async () => {
    const { activations } = await forward({ read: ['blocks.*.hook_resid_post', 'hook_embed', RESID] })
    expect(Object.keys(activations)).toEqual(['hook_embed', 'blocks.0.hook_resid_post', RESID])
  })

  test('positions and heads select rows of what all positions and heads answer', async () => {
    const all = await forward({ read: [RESID] })
    const cls = await forward({ read: [RESID], positions: 'cls' })
    const patches = await forward({ read: [RESID], positions: 'patches' })
    const some = await forward({ read: [RESID], positions: [3, 0] })
    const rows = (all.activations[RESID]!.data as number[][][])[0]!
    expect(cls.activations[RESID]!.data).toEqual([[rows[0]]])
    expect(patches.activations[RESID]!.data).toEqual([rows.slice(1)])
    expect(some.activations[RESID]!.data).toEqual([[rows[3], rows[0]]])

    const pattern = (await forward({ read: [PATTERN] })).activations[PATTERN]!.data as number[][][][]
    const one = await forward({ read: [PATTERN], positions: 'cls', heads: [1] })
    expect(one.activations[PATTERN]).toMatchObject({ shape: [1, 1, 1, pattern[0]![0]!.length], data: [[[pattern[0]![1]![0]]]] })
  })

  test('a batch of three equals three runs', async () => {
    const together = await forward({ inputs: images.map((image) => ({ image })), read: [RESID], positions: 'cls' })
    for (const [index, image] of images.entries()) {
      const alone = await forward({ inputs: [{ image }], read: [RESID], positions: 'cls' })
      const row = (together.activations[RESID]!.data as number[][][])[index]![0]!
      for (const [i, value] of (alone.activations[RESID]!.data as number[][][])[0]![0]!.entries()) expect(row[i]).toBeCloseTo(value, 5)
    }
  })

  test('an image by its id and as base64 is the same image', async () => {
    const bytes = await picture(1)
    const [byId, inline] = [await forward({}), await forward({ inputs: [{ image: { base64: bytes.toString('base64') } }] })]
    expect(inline.output).toEqual(byId.output)
  })

  test('nothing is read unless asked for, and then there is no cache', async () => {
    expect(await forward({})).toMatchObject({ activations: {}, cache: null, tower: 'vision', model: classifier })
    expect(await forward({ output: false })).toMatchObject({ output: null })
  })

  test('texts go through the text tower', async () => {
    const answer = await forward({ model: clip, inputs: [{ text: 'a cat' }, { text: 'a dog' }], read: ['hook_full_embed'] })
    expect(answer).toMatchObject({ tower: 'text', output: { shape: [2, 12] } })
    expect(answer.activations.hook_full_embed!.shape).toEqual([2, 12, 20])
  })
})

describe('the same numbers in every form', () => {
  const request = () => ({
    model: classifier,
    inputs: [{ image: images[0] }, { image: images[1] }],
    read: ['blocks.*.hook_resid_post', PATTERN],
  })
  const ask = (accept: string) => post(server.app, '/v1/forward', request(), { accept })
  let json: Answer
  beforeAll(async () => {
    json = await forward(request())
  })
  const expected = (): Record<string, unknown> => ({ ...json.activations, output: json.output })

  function expectSame(tensors: ReadonlyMap<string, Tensor>) {
    expect([...tensors.keys()].sort()).toEqual(Object.keys(expected()).sort())
    for (const [name, tensor] of tensors) expect(tensor).toEqual(fromJsonTensor(expected()[name], name))
  }

  test('npz', async () => {
    const response = await ask(NPZ)
    expect(response.headers).toMatchObject({ 'content-type': NPZ, 'refract-cache': expect.stringMatching(/^[0-9a-f-]{36}$/) })
    expectSame(await readNpz(bytesSource(response.rawPayload), 'answer.npz'))
  })

  test('safetensors, which also says what was run', async () => {
    const response = await ask(SAFETENSORS)
    const source = bytesSource(response.rawPayload)
    const header = await readSafetensorsHeader(source, 'answer')
    const names = [...header.entries.keys()]
    expectSame(new Map(await Promise.all(names.map(async (name) => [name, await readSafetensor(source, header, name)] as const))))
    expect(response.rawPayload.toString('latin1')).toContain(`"model":"${classifier}"`)
  })

  test('Arrow', async () => {
    const response = await ask(ARROW)
    const table = tableFromIPC(response.rawPayload)
    const tensors = Array.from(table, (row) => {
      const { name, shape, data } = row!.toJSON()
      const bytes = Uint8Array.from(data as Uint8Array)
      return [name, { dtype: 'float32', shape: Array.from(shape as Iterable<number>), data: new Float32Array(bytes.buffer) }] as [
        string,
        Tensor,
      ]
    })
    expectSame(new Map(tensors))
  })

  test('JSON with base64', async () => {
    const answer = (await post(server.app, '/v1/forward', { ...request(), encoding: 'base64' })).json() as Answer
    expect(answer.activations[RESID]).toMatchObject({ encoding: 'base64', data: expect.any(String) })
    expectSame(
      new Map(
        Object.entries({ ...answer.activations, output: answer.output }).map(([name, tensor]) => [name, fromJsonTensor(tensor, name)]),
      ),
    )
  })

  test('GraphQL, nested and as base64', async () => {
    const query = `query ($input: ForwardInput!) {
      forward(input: $input) { output { shape dtype encoding data } activations { hookPoint tensor { shape dtype encoding data } } classes { label index logit probability } }
    }`
    for (const encoding of ['json', 'base64']) {
      const { data, errors } = await graphql(server.app, query, { input: { ...request(), encoding } })
      expect(errors).toEqual([])
      const pairs = [
        ...data.forward.activations.map((each: { hookPoint: string; tensor: object }) => [each.hookPoint, each.tensor]),
        ['output', data.forward.output],
      ]
      expectSame(
        new Map(
          pairs.map(([name, { encoding: used, ...rest }]) => [name, fromJsonTensor(used ? { ...rest, encoding: used } : rest, name)]),
        ),
      )
      expect(data.forward.classes).toEqual(json.classes)
    }
  })

  test('by preference, with weights, and JSON where the client does not care', async () => {
    expect((await ask(`text/html, ${NPZ};q=0.5, application/json;q=0.1`)).headers['content-type']).toBe(NPZ)
    expect((await ask('*/*')).headers['content-type']).toMatch('application/json')
    expect((await ask('text/html')).statusCode).toBe(406)
    expect((await ask('*/*')).headers.vary).toMatch(/Accept/)
  })
})

describe('edits', () => {
  const zero = { hookPoint: 'blocks.0.hook_resid_post', op: 'zero' }

  test('change the output; reading the edited hook point shows the edited value', async () => {
    const clean = await forward({})
    const edited = await forward({ edits: [zero], read: [zero.hookPoint] })
    expect(first(edited)).not.toEqual(first(clean))
    expect(tensorOf(edited, zero.hookPoint).data.every((value) => value === 0)).toBe(true)
  })

  test('of strength 0, or patched from itself, change nothing', async () => {
    const clean = await forward({ read: [RESID] })
    const vector = Array.from({ length: 16 }, (_, i) => i)
    for (const edit of [
      { hookPoint: RESID, op: 'add', vector, strength: 0 },
      { hookPoint: RESID, op: 'scale', strength: 1 },
      { hookPoint: RESID, op: 'patch', from: { input: 0 } },
      { hookPoint: RESID, op: 'patch', from: { cache: clean.cache } },
    ]) {
      const edited = await forward({ edits: [edit] })
      for (const [i, logit] of first(clean).entries()) expect(first(edited)[i]).toBeCloseTo(logit, 5)
    }
  })

  test('patched from a cached run at every position, the output is that of the cached run', async () => {
    const source = await forward({ inputs: [{ image: images[1] }, { image: images[2] }], read: [RESID] })
    const patched = await forward({ edits: [{ hookPoint: RESID, op: 'patch', from: { cache: source.cache, input: 1 } }] })
    for (const [i, logit] of source.output.data[1]!.entries()) expect(first(patched)[i]).toBeCloseTo(logit, 5)
  })

  test('every operation is taken, over both doors alike', async () => {
    const vector = Array.from({ length: 16 }, (_, i) => (i % 3) - 1)
    const hookPoint = 'blocks.0.hook_resid_post'
    const edits = [
      { hookPoint, op: 'add', vector, strength: 2, unit: 'norm', positions: 'patches' },
      { hookPoint, op: 'set', value: 0.5, positions: [1] },
      { hookPoint, op: 'set', vector, positions: 'cls' },
      { hookPoint, op: 'scale', strength: 0.5 },
      { hookPoint, op: 'mean' },
      { hookPoint, op: 'project-out', vector },
      { hookPoint, op: 'clamp-projection', vector, min: -1, max: 1 },
      { hookPoint: 'blocks.1.attn.hook_z', op: 'zero', heads: [0] },
      { hookPoint, op: 'patch', from: { input: 0 } },
    ]
    const rest = await forward({ edits })
    const input = {
      model: classifier,
      inputs: [{ image: images[0] }],
      edits: edits.map((edit) => ({ ...edit, op: edit.op.replaceAll('-', '_'), strength: edit.strength ?? null })),
    }
    const { data, errors } = await graphql(server.app, 'query ($input: ForwardInput!) { forward(input: $input) { output { data } } }', {
      input,
    })
    expect(errors).toEqual([])
    expect(data.forward.output.data).toEqual(rest.output.data)
    expect(rest.output.data).not.toEqual((await forward({})).output.data)
  })
})

describe('classes', () => {
  test('of a classifier come with its labels, the most probable first, and are a softmax of the output', async () => {
    const { classes, output } = await forward({ topK: 2 })
    const labels = (await server.catalog.models.get(classifier))!.description.classLabels!
    expect(classes![0]).toHaveLength(2)
    const [best] = classes![0]!
    expect(best!.logit).toBe(Math.max(...output.data[0]!))
    expect(best!.label).toBe(labels[best!.index])
    const total = output.data[0]!.reduce((sum, logit) => sum + Math.exp(logit), 0)
    expect(best!.probability).toBeCloseTo(Math.exp(best!.logit) / total, 6)
  })

  test('by labels are cosines with the texts times the logit scale', async () => {
    const labels = ['a cat', 'a dog', 'a bird']
    const { classes, output } = await forward({ model: clip, classify: { labels, template: 'a photo of {}' }, topK: 3 })
    const texts = await forward({ model: clip, inputs: labels.map((label) => ({ text: `a photo of ${label}` })) })
    const { logitScale } = (await server.catalog.models.get(clip))!.description
    const unit = (v: number[]) => v.map((x) => x / Math.hypot(...v))
    for (const { index, logit } of classes![0]!) {
      const cosine = unit(output.data[0]!).reduce((sum, x, d) => sum + x * unit(texts.output.data[index]!)[d]!, 0)
      expect(logit).toBeCloseTo(logitScale! * cosine, 4)
    }
    expect(classes![0]!.reduce((sum, { probability }) => sum + probability, 0)).toBeCloseTo(1, 6)
  })

  test('by labels again encode no text again, and in another order give the same scores', async () => {
    const classify = { labels: ['x', 'y', 'z'], templates: ['{}', 'a {}'] }
    const once = await forward({ model: clip, classify })
    let texts = 0
    const counting = await server.another({
      host: {
        run: (request, signal) => {
          if (request.inputs.kind === 'text') texts += request.inputs.texts.length
          return server.host.run(request, signal)
        },
      },
    })
    const ask = async (labels: string[]) =>
      (
        await post(counting, '/v1/forward', { model: clip, inputs: [{ image: images[0] }], classify: { ...classify, labels } })
      ).json() as Answer
    await ask(['z', 'x'])
    expect(texts).toBe(4)
    const again = await ask(['z', 'y', 'x'])
    expect(texts).toBe(6)
    const scores = (answer: Answer) => Object.fromEntries(answer.classes![0]!.map(({ label, logit }) => [label, logit]))
    for (const [label, logit] of Object.entries(scores(once))) expect(scores(again)[label]).toBeCloseTo(logit, 5)
  })

  test('there are none for a model without classes, and labels need a text tower', async () => {
    expect((await forward({ model: clip })).classes).toBeNull()
    const refused = await post(server.app, '/v1/forward', {
      model: classifier,
      inputs: [{ image: images[0] }],
      classify: { labels: ['a'] },
    })
    expect(refused.json()).toMatchObject({
      code: 'INPUT_INVALID',
      errors: [{ path: 'classify', message: expect.stringContaining('no text tower') }],
    })
  })
})

describe('caches', () => {
  test('hold what was read at all positions, for slices in any form and over both doors', async () => {
    const all = await forward({ read: [RESID] })
    const { cache } = await forward({ read: [RESID], positions: 'cls' })
    const url = `/v1/caches/${cache}/${RESID}`
    expect((await get(server.app, `/v1/caches/${cache}`)).json()).toEqual({
      id: cache,
      model: classifier,
      tower: 'vision',
      items: [{ hookPoint: RESID, dtype: 'float32', shape: all.activations[RESID]!.shape }],
    })
    expect((await get(server.app, url)).json()).toEqual(all.activations[RESID])
    const rows = (all.activations[RESID]!.data as number[][][])[0]!
    expect((await get(server.app, `${url}?positions=cls`)).json().data).toEqual([[rows[0]]])
    expect((await get(server.app, `${url}?positions=2,1`)).json().data).toEqual([[rows[2], rows[1]]])
    const npz = await readNpz(bytesSource((await get(server.app, `${url}?positions=4`, { accept: NPZ })).rawPayload), 'x')
    expect(npz.get(RESID)).toMatchObject({ shape: [1, 1, 16], data: Float32Array.from(rows[4]!) })
    const { data } = await graphql(
      server.app,
      'query ($cache: ID!, $hookPoint: String!) { cache(id: $cache) { items { hookPoint shape } } activation(cache: $cache, hookPoint: $hookPoint, positions: [2, 1]) { data } }',
      { cache, hookPoint: RESID },
    )
    expect(data).toEqual({
      cache: { items: [{ hookPoint: RESID, shape: all.activations[RESID]!.shape }] },
      activation: { data: [[rows[2], rows[1]]] },
    })
  })
})

describe('time', () => {
  test('is told in Server-Timing, on errors too', async () => {
    const { headers } = await post(server.app, '/v1/forward', { model: classifier, inputs: [{ image: images[0] }] })
    for (const name of ['decode', 'queue', 'load', 'compile', 'run', 'encode', 'total'])
      expect(headers['server-timing']).toMatch(`${name};dur=`)
    expect((await get(server.app, '/v1/nothing')).headers['server-timing']).toMatch(/^total;dur=\d/)
  })

  test('is not spent on a client that went away', async () => {
    let aborted = false
    const controller = new AbortController()
    const slow = await server.another({
      host: {
        run: (_request, signal) => {
          const run = new Promise<never>((_, reject) => {
            signal!.addEventListener('abort', () => {
              aborted = true
              reject(signal!.reason)
            })
          })
          controller.abort()
          return run
        },
      },
    })
    const base = await slow.listen({ port: 0, host: '127.0.0.1' })
    const body = JSON.stringify({ model: classifier, inputs: [{ image: images[0] }] })
    const headers = { 'content-type': 'application/json' }
    const request = fetch(`${base}/v1/forward`, { method: 'POST', body, headers, signal: controller.signal })
    await expect(request).rejects.toThrow()
    await expect.poll(() => aborted).toBe(true)
  })
})

test('a model without CLS refuses cls and says why', async () => {
  const refused = await post(server.app, '/v1/forward', { model: noCls, inputs: [{ image: images[0] }], read: [RESID], positions: 'cls' })
  expect(refused.json()).toMatchObject({ status: 400, errors: [{ path: 'positions', message: expect.stringContaining('no CLS') }] })
})
