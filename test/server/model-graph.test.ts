/** A model's graph to run elsewhere, over REST: what the file computes is what `forward` answers. (Every technique: test/engine/host/export-graph.test.ts.) */

import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { importSae } from '../../src/catalog/import/import-sae.js'
import { parse } from '../../src/engine/graph/parse.js'
import { bytesSource } from '../../src/engine/io/byte-source.js'
import { readNpz } from '../../src/engine/io/npz.js'
import { describeSae } from '../../src/engine/saes/load-sae.js'
import { elementCount, float32, type Tensor } from '../../src/engine/tensor.js'
import { NPZ } from '../../src/server/negotiate.js'
import '../engine/close-tensor.js'
import { openOnWeb } from '../engine/host/onnxruntime-web.js'
import { featureFolder } from '../engine/saes/feature-goldens.js'
import { get, picture, post, startTestServer, type TestServer, testModels, upload } from './test-server.js'

const { clip, classifier } = testModels
const sae = `${clip}.1-resid-post.relu`
const hookPoint = 'blocks.1.hook_resid_post'

let server: TestServer
let image: string
let pixels: Tensor<'float32'>

beforeAll(async () => {
  server = await startTestServer()
  const bytes = await picture()
  image = (await upload(server.app, bytes)).json().id
  const { description } = (await server.catalog.models.get(clip))!
  const prepared = await server.host.preprocess({ id: image, read: () => bytes }, description.preprocessing)
  pixels = float32([1, ...prepared.shape], prepared.data)
  await importSae({
    source: path.join(featureFolder, 'relu'),
    id: sae,
    model: clip,
    catalog: server.catalog,
    config: { dataDir: server.config.dataDir, hubEndpoint: '', hubToken: '', hubHome: '', hubCache: '' },
    inspectSae: (each) => describeSae(each.folder, { overrides: each.overrides }),
  })
})
afterAll(() => server.close())

const url = (model: string = clip) => `/v1/models/${model}/graph`

async function forward(body: object): Promise<Record<string, Tensor>> {
  const { rawPayload } = await post(server.app, '/v1/forward', { model: clip, inputs: [{ image }], ...body }, { accept: NPZ })
  return Object.fromEntries(await readNpz(bytesSource(rawPayload), 'answer.npz'))
}

async function refusal(body: object, model?: string) {
  const response = await post(server.app, url(model), body)
  return response.json() as { code: string; detail: string; status: number; errors?: { path: string; message: string }[] }
}

describe('POST /v1/models/{model}/graph', () => {
  const edits = [{ hookPoint, op: 'add', vector: { sae, feature: 3 }, strength: 2, unit: 'norm', positions: 'patches' }]

  test('answers a file that computes what forward does, and says what it is', async () => {
    const response = await post(server.app, url(), { edits, read: ['blocks.*.hook_resid_post'] })
    expect(response.headers).toMatchObject({
      'content-type': 'application/octet-stream',
      'content-disposition': `attachment; filename="${clip}-vision-edited.onnx"`,
      'content-length': String(response.rawPayload.length),
    })
    const session = await openOnWeb(response.rawPayload)
    expect(session.inputNames).toEqual(['pixels'])
    const made = await session.run({ pixels })
    const own = await forward({ edits, read: ['blocks.*.hook_resid_post'] })
    expect(made.output).toBeCloseTensor(own.output!)
    for (const name of ['blocks.0.hook_resid_post', hookPoint]) expect(made[name]).toBeCloseTensor(own[name]!)
    await session.release()

    const { weightsSha256 } = (await server.catalog.models.get(clip))!
    const { version } = (await get(server.app, '/v1/capabilities')).json()
    const told = { 'refract.model': clip, 'refract.weightsSha256': weightsSha256, 'refract.version': version }
    for (const [key, value] of Object.entries({ ...told, 'refract.edits': JSON.stringify(edits) })) {
      expect(response.rawPayload.includes(`${key}\x12`)).toBe(true)
      expect(response.rawPayload.includes(value)).toBe(true)
    }
  })

  test('has an SAE read it, with chosen features at every position', async () => {
    const response = await post(server.app, url(), { output: false, saes: [{ sae, positions: 'patches', topK: 0, features: [5, 2] }] })
    const session = await openOnWeb(response.rawPayload)
    expect(session.outputNames).toEqual(['saes[0].chosen'])
    const { 'saes[0].chosen': chosen } = await session.run({ pixels })
    const asked = { saes: [sae], inputs: [{ image }], positions: 'patches', topK: 40, imageTopK: 0 }
    const [answer] = (await post(server.app, '/v1/features', asked)).json().saes
    const rows = answer.perPosition[0] as { features: number[]; activations: number[] }[]
    const expected = rows.flatMap(({ features, activations }) => [5, 2].map((feature) => activations[features.indexOf(feature)] ?? 0))
    expect(chosen).toBeCloseTensor(float32([1, rows.length, 2], expected))
    await session.release()
  })

  test('leaves the weights out when they are not wanted', async () => {
    const [whole, without] = await Promise.all([true, false].map((weights) => post(server.app, url(), { weights })))
    const session = await openOnWeb(without!.rawPayload)
    const parameters = session.inputNames.filter((name) => name !== 'pixels')
    expect(parameters).toContain('blocks.0.attn.W_Q')
    expect(whole!.rawPayload.length).toBeGreaterThan(without!.rawPayload.length)
    await session.release()
  })

  test('knows the text tower, too', async () => {
    const response = await post(server.app, url(), { tower: 'text' })
    expect(response.headers['content-disposition']).toContain(`${clip}-text.onnx`)
    const session = await openOnWeb(response.rawPayload)
    expect(session.inputNames).toEqual(['tokens'])
    await session.release()
  })

  test('refuses everything that is wrong at once', async () => {
    const wrong = {
      read: ['blocks.9.hook_resid_post'],
      edits: [{ hookPoint, op: 'zero', heads: [0] }],
      saes: [
        { sae, features: [40] },
        { sae, topK: 0 },
      ],
    }
    const { code, status, errors } = await refusal(wrong)
    expect({ code, status }).toEqual({ code: 'INPUT_INVALID', status: 400 })
    expect(errors!.map((each) => each.path)).toEqual(['read[0]', 'edits[0].heads', 'saes[0].features', 'saes[1]', 'saes[1]'])
  })

  test.each([
    [{ output: false }, 'output', clip],
    [{ tower: 'text' }, 'tower', classifier],
    [{ tower: 'text', saes: [{ sae }] }, 'saes', clip],
  ])('refuses %j', async (body, where, model) => {
    const { code, errors } = await refusal(body, model)
    expect({ code, paths: errors!.map((each) => each.path) }).toEqual({ code: 'INPUT_INVALID', paths: [where] })
  })

  test('refuses what is not known', async () => {
    expect(await refusal({}, 'nobody')).toMatchObject({ code: 'MODEL_UNKNOWN', status: 404 })
    expect(await refusal({ saes: [{ sae: `${clip}.1-resid-post.rellu` }] })).toMatchObject({ code: 'SAE_UNKNOWN', status: 404 })
    const { statusCode } = await post(server.app, url(), {}, { accept: 'application/json' })
    expect(statusCode).toBe(406)
  })
})

describe('GET /v1/models/{model}/graph', () => {
  test('answers the graph as text, which is read back', async () => {
    const response = await get(server.app, `${url()}?tower=text`)
    expect(response.headers['content-type']).toBe('text/plain; charset=utf-8')
    const graph = parse(response.body)
    const { description } = (await server.catalog.models.get(clip))!
    expect(Object.keys(graph.inputs)).toEqual(['tokens'])
    expect(graph.hookPoints.map(({ name }) => name)).toEqual(
      description.text!.hookPoints.filter(({ optional }) => !optional).map(({ name }) => name),
    )
    const nParameters = Object.values(graph.parameters).reduce((sum, { shape }) => sum + elementCount(shape as number[]), 0)
    expect(nParameters).toBe(description.text!.nParameters)
    const again = await get(server.app, `${url()}?tower=text`, { 'if-none-match': response.headers.etag as string })
    expect(again.statusCode).toBe(304)
  })

  test('refuses a tower that there is not', async () => {
    expect((await get(server.app, `${url(classifier)}?tower=text`)).json()).toMatchObject({ code: 'INPUT_INVALID' })
  })
})
