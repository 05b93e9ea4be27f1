/** Heatmaps over both doors: the picture, and the numbers that it shows. */

import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { get, graphql, picture, post, startTestServer, type TestServer, testModels, upload } from './test-server.js'

let server: TestServer
let image: string
let file: Buffer
beforeAll(async () => {
  server = await startTestServer()
  file = await picture(3, { width: 50, height: 40 })
  image = (await upload(server.app, file)).json().id
})
afterAll(() => server.close())

const json = { accept: 'application/json' }
const heatmap = async (body: object) => post(server.app, '/v1/heatmap', body, json)
const { classifier, noCls } = testModels
const resid = 'blocks.0.hook_resid_post'

/** The activation itself, of one picture. */
async function activation(model: string, hookPoint: string): Promise<number[][][][]> {
  const response = await post(server.app, '/v1/forward', { model, inputs: [{ image }], read: [hookPoint], output: false })
  return response.json().activations[hookPoint].data
}

describe('an activation as a heatmap', () => {
  test('shows one channel of each patch, CLS apart', async () => {
    const [vectors] = (await activation(classifier, resid)) as unknown as number[][][]
    const answer = (await heatmap({ model: classifier, image, of: { hookPoint: resid, channel: 3 } })).json()
    expect(answer.values.data.flat()).toEqual(vectors!.slice(1).map((vector) => vector[3]))
    expect(answer.cls).toBe(vectors![0]![3])
    expect(answer).toMatchObject({ model: classifier, hookPoint: resid })
    const shown = answer.values.data.flat()
    expect(answer.high).toBe(Math.max(...shown))
  })

  test('shows the length of each vector where no channel is named', async () => {
    const [vectors] = (await activation(classifier, resid)) as unknown as number[][][]
    const { values } = (await heatmap({ model: classifier, image, of: { hookPoint: resid } })).json()
    for (const [patch, norm] of values.data.flat().entries()) expect(norm).toBeCloseTo(Math.hypot(...vectors![patch + 1]!), 4)
  })

  test('shows what a query attends to, of one head or the mean of all', async () => {
    const hookPoint = 'blocks.1.attn.hook_pattern'
    const [heads] = await activation(classifier, hookPoint)
    const one = (await heatmap({ model: classifier, image, of: { hookPoint, head: 1, query: 2 } })).json()
    expect(one.values.data.flat()).toEqual(heads![1]![2]!.slice(1))
    expect(one.cls).toBe(heads![1]![2]![0])
    const mean = (await heatmap({ model: classifier, image, of: { hookPoint } })).json()
    const expected = heads![0]![0]!.map((_, key) => heads!.reduce((sum, rows) => sum + rows[0]![key]!, 0) / heads!.length)
    for (const [patch, value] of mean.values.data.flat().entries()) expect(value).toBeCloseTo(expected[patch + 1]!, 6)
  })

  test('shows a head where the hook point has heads, and patches only where there is no CLS', async () => {
    const hookPoint = 'blocks.0.attn.hook_z'
    const [positions] = await activation(noCls, hookPoint)
    const answer = (await heatmap({ model: noCls, image, of: { hookPoint, head: 1, channel: 0 } })).json()
    expect(answer.values.data.flat()).toEqual(positions!.map((heads) => heads[1]![0]))
    expect(answer.cls).toBeNull()
    const embed = (await heatmap({ model: classifier, image, of: { hookPoint: 'hook_embed' } })).json()
    expect(embed.cls).toBeNull()
  })

  test('shows an edited run', async () => {
    const edits = [{ hookPoint: resid, op: 'set', value: 2 }]
    const { values, cls, low, high } = (await heatmap({ model: classifier, image, of: { hookPoint: resid, channel: 0 }, edits })).json()
    expect(new Set([...values.data.flat(), cls])).toEqual(new Set([2]))
    expect(high).toBeGreaterThan(low)
  })

  test('is a PNG of the size asked for, unless JSON is; the same over GraphQL', async () => {
    const body = { model: classifier, image: { base64: file.toString('base64') }, of: { hookPoint: resid }, size: 100 }
    const png = await post(server.app, '/v1/heatmap', body)
    expect(png.headers['content-type']).toBe('image/png')
    const { width, height } = await sharp(png.rawPayload).metadata()
    expect(Math.max(width, height)).toBe(100)
    const answer = (await heatmap(body)).json()
    expect(Buffer.from(answer.png, 'base64').equals(png.rawPayload)).toBe(true)
    const { data } = await graphql(
      server.app,
      'query ($input: HeatmapInput!) { heatmap(input: $input) { model hookPoint cls low high png values { shape dtype data } } }',
      { input: body },
    )
    expect(data.heatmap).toEqual(answer)
  })

  test('differs in every mode and with every choice', async () => {
    const base = { model: classifier, image, of: { hookPoint: resid, channel: 1 }, size: 64 }
    const choices = [
      {},
      { mode: 'raw' },
      { mode: 'contour' },
      { mode: 'crop' },
      { alpha: 0.2 },
      { colormap: 'coolwarm' },
      { interpolation: 'smooth' },
      { showCls: false },
      { low: -10, high: 10 },
      { mode: 'contour', levels: [0.5] },
    ]
    const files = await Promise.all(
      choices.map(async (choice) => (await post(server.app, '/v1/heatmap', { ...base, ...choice })).rawPayload.toString('base64')),
    )
    expect(new Set(files).size).toBe(choices.length)
  })
})

describe("the caller's own numbers", () => {
  test('lie over the whole picture where no model is named', async () => {
    const response = await post(server.app, '/v1/heatmap', { image, values: [[0, 1]], alpha: 1, size: 50 })
    expect(await sharp(response.rawPayload).metadata()).toMatchObject({ width: 50, height: 40 })
  })

  test('need no picture as colours alone', async () => {
    const body = { values: [[0, 1, 2]], cls: 1, mode: 'raw', colormap: 'grey', showCls: false, size: 30 }
    const { data, info } = await sharp((await post(server.app, '/v1/heatmap', body)).rawPayload)
      .raw()
      .toBuffer({ resolveWithObject: true })
    expect([info.width, info.height]).toEqual([30, 10])
    expect([data[0], data[15 * 3], data[29 * 3]]).toEqual([0, 128, 255])
    expect((await heatmap(body)).json()).toMatchObject({ model: null, hookPoint: null, cls: 1, low: 0, high: 2 })
  })

  test('lie where a named model has its patches', async () => {
    const { rows, columns } = await gridOf(classifier)
    const values = Array.from({ length: rows }, () => Array.from({ length: columns }, (_, column) => column))
    const shape = async (body: object) => sharp((await post(server.app, '/v1/heatmap', body)).rawPayload).metadata()
    const { width, height } = await shape({ model: classifier, image, values, showCls: false, size: 80 })
    expect(Math.max(width, height)).toBe(80)
    expect((await shape({ model: classifier, values, mode: 'raw', showCls: false, size: 80 })).width).toBe(width)
  })
})

async function gridOf(model: string) {
  const { vision } = (await get(server.app, `/v1/models/${model}`)).json()
  const { imageSize, patchSize } = vision.config
  return { rows: Math.floor(imageSize.height / patchSize.height), columns: Math.floor(imageSize.width / patchSize.width) }
}

describe('a heatmap is refused', () => {
  const of = { hookPoint: resid }
  test.each<[string, object, string, string]>([
    ['that shows nothing', { image }, 'of', 'is missing'],
    ['of two things', { model: classifier, image, of, values: [[1]] }, 'values', 'send one'],
    ['of no model', { image, of }, 'model', 'is missing'],
    ['of no picture', { model: classifier, of }, 'image', 'is missing'],
    ['without a picture to lie over', { values: [[1]] }, 'image', 'only "raw" needs none'],
    ['of a channel that is not there', { model: classifier, image, of: { ...of, channel: 9999 } }, 'of.channel', 'out of range'],
    ['of a head where there is none', { model: classifier, image, of: { ...of, head: 0 } }, 'of.head', 'has none'],
    ['of a query where there is none', { model: classifier, image, of: { ...of, query: 0 } }, 'of.query', 'has none'],
    [
      'of no head where there are several',
      { model: classifier, image, of: { hookPoint: 'blocks.0.attn.hook_z' } },
      'of.head',
      'is missing',
    ],
    [
      'of no query where there is no CLS',
      { model: noCls, image, of: { hookPoint: 'blocks.0.attn.hook_pattern' } },
      'of.query',
      'is missing',
    ],
    [
      'of a channel of attention',
      { model: classifier, image, of: { hookPoint: 'blocks.0.attn.hook_pattern', channel: 0 } },
      'of.channel',
      'has none',
    ],
    [
      'of what is pooled',
      { model: classifier, image, of: { hookPoint: 'hook_post_head_pre_normalize' } },
      'of.hookPoint',
      'nothing for each patch',
    ],
    ['of several hook points', { model: classifier, image, of: { hookPoint: 'blocks.*.hook_resid_post' } }, 'of.hookPoint', 'several'],
    ['of rows of unequal length', { image, values: [[1, 2], [1]] }, 'values[1]', 'has 1 numbers'],
    ['of another grid than the model has', { model: classifier, image, values: [[1]] }, 'values', 'patches'],
    ['with an empty range', { image, values: [[1]], low: 2, high: 2 }, 'high', 'not above'],
    ['with edits of nothing', { image, values: [[1]], edits: [{ hookPoint: resid, op: 'zero' }] }, 'edits', 'go with'],
    ['with a CLS of nothing', { model: classifier, image, of, cls: 1 }, 'cls', 'goes with'],
    ['with a size beyond the limit', { image, values: [[1]], size: 5000 }, 'size', 'more than 2048'],
    ['in unknown colours', { image, values: [[1]], colormap: 'jet' }, 'colormap', 'viridis'],
    ['with a number that is none', { image, values: [['1']] }, 'values[0][0]', 'is not'],
  ])('%s', async (_, body, path, message) => {
    const response = await heatmap(body)
    expect(response.json()).toMatchObject({
      status: 400,
      errors: expect.arrayContaining([{ path, message: expect.stringContaining(message) }]),
    })
  })

  test('at an unknown hook point with the nearest one, with an unknown picture, with a form nobody writes', async () => {
    const unknown = await heatmap({ model: classifier, image, of: { hookPoint: 'blocks.0.hook_resid_pots' } })
    expect(unknown.json()).toMatchObject({ code: 'HOOK_POINT_UNKNOWN', detail: expect.stringContaining(resid) })
    expect((await heatmap({ model: classifier, image: `sha256:${'0'.repeat(64)}`, of })).json()).toMatchObject({ code: 'IMAGE_UNKNOWN' })
    expect((await heatmap({ model: 'nobody', image, of })).json()).toMatchObject({ code: 'MODEL_UNKNOWN' })
    expect((await heatmap({ image: { base64: 'R0lGODlh' }, values: [[1]] })).json()).toMatchObject({ code: 'IMAGE_INVALID' })
    expect((await post(server.app, '/v1/heatmap', { image, values: [[1]] }, { accept: 'image/gif' })).statusCode).toBe(406)
  })

  test('with all that is wrong at once', async () => {
    const { errors } = (await heatmap({ model: classifier, of: { ...of, channel: 9999, head: 1 }, low: 1, high: 0 })).json()
    expect(errors.map(({ path }: { path: string }) => path).sort()).toEqual(['high', 'image', 'of.channel', 'of.head'])
  })
})
