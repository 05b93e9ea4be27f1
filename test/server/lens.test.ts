/** The logit lens over both doors, as data and as pictures. */

import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { bytesSource } from '../../src/engine/io/byte-source.js'
import { readNpz } from '../../src/engine/io/npz.js'
import { ARROW, NPZ, SAFETENSORS } from '../../src/server/negotiate.js'
import { addGoldenSaes } from './golden-saes.js'
import { graphql, picture, post, startTestServer, type TestServer, testModels, upload } from './test-server.js'

const { clip, classifier, noCls } = testModels
const sae = `${clip}.1-resid-post.relu`
const labels = ['cat', 'dog', 'red heart', 'flag']
let server: TestServer
let images: string[]

beforeAll(async () => {
  server = await startTestServer()
  await addGoldenSaes(server, { relu: sae })
  images = await Promise.all([1, 2].map(async (seed) => (await upload(server.app, await picture(seed))).json().id))
  const emoji = await sharp({ create: { width: 8, height: 8, channels: 4, background: { r: 0, g: 0, b: 255, alpha: 1 } } })
    .png()
    .toBuffer()
  const blue = (await upload(server.app, emoji)).json().id
  const item = (code: string, name: string, subcategory: string) => ({
    name: `${code}.png`,
    imageId: blue,
    label: null,
    captions: [
      { text: name, weight: 1 },
      { text: `${name}, keywords`, weight: 1 },
    ],
    facets: { code, name, subcategory },
  })
  await server.catalog.datasets.register({
    id: 'emoji-twemoji',
    name: 'Emoji',
    hash: 'e'.repeat(64),
    classNames: [],
    description: null,
    license: null,
    items: [item('2764-fe0f', 'red heart', 'heart'), item('1f408', 'cat', 'animal-mammal'), item('1f6a9', 'triangular flag', 'flag')],
  })
})
afterAll(() => server.close())

const ask = async (body: object, headers = {}) => post(server.app, '/v1/lens', body, headers)
const base = () => ({ model: clip, inputs: images.map((image) => ({ image })), classify: { labels } })

describe('the logit lens', () => {
  test('says at the last layer what forward says of the whole picture', async () => {
    const lens = (await ask({ ...base(), topK: 4 })).json()
    const forward = (await post(server.app, '/v1/forward', { ...base(), topK: 4, output: false })).json()
    expect(lens.hookPoints).toEqual(['blocks.0.hook_resid_post', 'blocks.1.hook_resid_post'])
    for (const [input, classes] of forward.classes.entries()) {
      const last = lens.classes[input].at(-1)
      expect(last.map(({ label }: { label: string }) => label)).toEqual(classes.map(({ label }: { label: string }) => label))
      for (const [at, { logit, probability }] of classes.entries()) {
        expect(last[at].logit).toBeCloseTo(logit, 3)
        expect(last[at].probability).toBeCloseTo(probability, 4)
      }
      expect(lens.targets[input]).toBe(classes[0].label)
    }
  })

  test('looks at an edited run: at the last layer it says what forward says with the same edits', async () => {
    const edits = [{ hookPoint: 'blocks.0.hook_resid_post', op: 'scale', strength: -1.5, positions: 'patches' }]
    const lens = (await ask({ ...base(), edits, topK: 4 })).json()
    const forward = (await post(server.app, '/v1/forward', { ...base(), edits, topK: 4, output: false })).json()
    const plain = (await ask({ ...base(), topK: 4 })).json()
    for (const [input, classes] of forward.classes.entries()) {
      for (const [at, { label, logit }] of classes.entries()) {
        expect(lens.classes[input].at(-1)[at].label).toBe(label)
        expect(lens.classes[input].at(-1)[at].logit).toBeCloseTo(logit, 3)
      }
    }
    expect(lens.classes).not.toEqual(plain.classes)
    const wrong = await ask({ ...base(), edits: [{ ...edits[0], hookPoint: 'blocks.9.hook_resid_post' }] })
    expect([wrong.statusCode, wrong.json().errors[0].path]).toEqual([400, 'edits[0].hookPoint'])
  })

  test('looks at a run whose SAE features are edited', async () => {
    const edits = [{ sae, op: 'feature-set', features: [{ feature: 3, value: 40 }], positions: 'cls' }]
    const lens = (await ask({ ...base(), edits, topK: 4 })).json()
    const forward = (await post(server.app, '/v1/forward', { ...base(), edits, topK: 4, output: false })).json()
    for (const [input, classes] of forward.classes.entries()) {
      for (const [at, { label, logit }] of classes.entries()) {
        expect(lens.classes[input].at(-1)[at].label).toBe(label)
        expect(lens.classes[input].at(-1)[at].logit).toBeCloseTo(logit, 3)
      }
    }
    const plain = (await ask({ ...base(), topK: 4 })).json()
    expect(lens.classes.map((layers: object[]) => layers[0])).toEqual(plain.classes.map((layers: object[]) => layers[0]))
    expect(lens.classes.map((layers: object[]) => layers[1])).not.toEqual(plain.classes.map((layers: object[]) => layers[1]))
  })

  test('says null where edits leave no number, in words and in GraphQL, and draws no emoji of it', async () => {
    const edits = [{ hookPoint: 'blocks.0.hook_resid_pre', op: 'scale', strength: 3e38 }]
    const lens = (await ask({ ...base(), edits, topK: 1 })).json()
    expect(lens.classes[0][0][0]).toMatchObject({ logit: null, probability: null })
    const query = 'query ($input: LogitLensInput!) { logitLens(input: $input) { classes { logit } } }'
    const { data, errors } = await graphql(server.app, query, { input: { ...base(), edits, topK: 1 } })
    expect([data.logitLens.classes[0][0][0].logit, errors]).toEqual([null, []])
    const drawn = { model: clip, image: images[0], classify: { labels }, edits }
    for (const kind of ['emoji', 'heatmap']) {
      const response = await post(server.app, '/v1/lens/picture', { ...drawn, kind })
      expect([kind, response.statusCode]).toEqual([kind, 400])
    }
  })

  test("reads a classifier's own classes, at any hook point of the residual stream and any positions", async () => {
    const body = {
      model: classifier,
      inputs: [{ image: images[0] }],
      hookPoints: ['blocks.*.hook_resid_*'],
      positions: [0, 2],
      logits: true,
      target: 1,
    }
    const lens = (await ask(body)).json()
    expect(lens.hookPoints.every((name: string) => name.includes('hook_resid_'))).toBe(true)
    expect(lens.positions).toEqual([0, 2])
    const [, nLayers, nPos, nClasses] = lens.tokens.logits.shape
    expect([nLayers, nPos, nClasses]).toEqual([lens.hookPoints.length, 2, lens.labels.length])
    const forward = (await post(server.app, '/v1/forward', { model: classifier, inputs: body.inputs })).json()
    const last = lens.pooled.logits.data[0].at(-1)
    for (const [at, logit] of forward.output.data[0].entries()) expect(last[at]).toBeCloseTo(logit, 4)
    expect(lens.targets).toEqual([lens.labels[1]])
  })

  test('is the same in GraphQL, and its tensors in npz', async () => {
    const body = { ...base(), topK: 2 }
    const json = (await ask(body)).json()
    const query = `query ($input: LogitLensInput!) { logitLens(input: $input) { hookPoints targets classes { label index logit probability } pooled { entropy { shape data } targetRank { data } } } }`
    const { data } = await graphql(server.app, query, { input: body })
    expect(data.logitLens).toMatchObject({ hookPoints: json.hookPoints, targets: json.targets, classes: json.classes })
    expect(data.logitLens.pooled.entropy.data).toEqual(json.pooled.entropy.data)
    for (const accept of [SAFETENSORS, ARROW]) {
      const { statusCode, headers } = await ask(body, { accept })
      expect([statusCode, headers['content-type']]).toEqual([200, accept])
    }
    const npz = await ask(body, { accept: NPZ })
    const tensors = await readNpz(bytesSource(npz.rawPayload), 'answer.npz')
    expect([...tensors.keys()]).toEqual(expect.arrayContaining(['pooled/topClasses', 'tokens/entropy', 'tokens/targetProbability']))
  })

  test('takes labels from a facet of a data set, in words', async () => {
    const lens = (await ask({ ...base(), classify: undefined, facet: { dataset: 'emoji-twemoji', facet: 'subcategory' } })).json()
    expect(lens.labels).toEqual(['animal-mammal', 'flag', 'heart'])
    const same = (await ask({ ...base(), classify: { labels: ['animal mammal', 'flag', 'heart'] } })).json()
    expect(lens.pooled.entropy).toEqual(same.pooled.entropy)
  })

  test.each([
    ['a model without labels', { classify: undefined }, 'classify'],
    ['labels of both kinds', { facet: { dataset: 'emoji-twemoji', facet: 'name' } }, 'facet'],
    ['a facet that is not known', { classify: undefined, facet: { dataset: 'emoji-twemoji', facet: 'subcategori' } }, 'facet.facet'],
    ['a target that is no label', { target: 'cot' }, 'target'],
    ['labels for a classifier', { model: classifier }, 'classify'],
    ['a model with neither classes nor texts', { model: noCls, classify: undefined }, 'classify'],
    ['a hook point beside the stream', { hookPoints: ['blocks.0.hook_mlp_out'] }, 'hookPoints'],
    ['a position out of range', { positions: [99] }, 'positions'],
    ['a data set that there is not', { classify: undefined, facet: { dataset: 'emojis', facet: 'name' } }, undefined],
  ])('refuses %s, and says where', async (_, change, at) => {
    const response = await ask({ ...base(), ...change })
    expect(response.statusCode).toBeGreaterThanOrEqual(400)
    expect(response.statusCode).toBeLessThan(500)
    if (at)
      expect(
        response
          .json()
          .errors.map(({ path }: { path: string }) => path)
          .join(),
      ).toContain(at)
  })

  test('says everything that is wrong at once', async () => {
    const response = await ask({ ...base(), target: 'cot', hookPoints: ['blocks.0.hook_mlp_out'], positions: [99] })
    expect(response.json().errors.length).toBeGreaterThanOrEqual(2)
  })
})

describe('its pictures', () => {
  const draw = async (body: object, headers = {}) =>
    post(server.app, '/v1/lens/picture', { model: clip, image: images[0], classify: { labels }, size: 64, ...body }, headers)
  const json = { accept: 'application/json' }

  test('are PNGs of all layers side by side, in colours or with emoji', async () => {
    for (const kind of ['heatmap', 'emoji']) {
      const response = await draw({ kind })
      expect(response.headers['content-type']).toBe('image/png')
      const { width } = await sharp(response.rawPayload).metadata()
      expect(width).toBeGreaterThan(2 * 60)
    }
  })

  test("show the target's probability from one end of the range to the other", async () => {
    const answer = (await draw({ target: 'dog' }, json)).json()
    const lens = (await ask({ ...base(), target: 'dog', positions: 'patches' })).json()
    expect(answer.target).toBe('dog')
    expect(answer.high).toBeCloseTo(Math.max(...lens.tokens.targetProbability.data[0].flat()), 5)
    expect(answer.marks).toBeNull()
  })

  test('stand emoji for labels: given, by name, of a facet; else the label is written', async () => {
    const marks = async (body: object) =>
      Object.fromEntries(
        (await draw({ kind: 'emoji', ...body }, json))
          .json()
          .marks.map(({ label, image }: { label: string; image: string | null }) => [label, image !== null]),
      )
    const plain = await marks({})
    for (const [label, hasPicture] of Object.entries(plain))
      expect([label, hasPicture]).toEqual([label, label === 'cat' || label === 'red heart'])
    const given = await marks({
      emoji: [
        { label: 'dog', emoji: '❤️' },
        { label: 'flag', emoji: '🚩' },
        { label: 'cat', emoji: '🐕' },
      ],
    })
    for (const [label, hasPicture] of Object.entries(given)) expect([label, hasPicture]).toEqual([label, label !== 'cat'])
    const facet = await marks({ classify: undefined, facet: { dataset: 'emoji-twemoji', facet: 'subcategory' } })
    expect(Object.values(facet).every(Boolean)).toBe(true)
  })

  test.each([
    [{ kind: 'emoji', colormap: 'magma' }, 'colormap'],
    [{ emoji: [{ label: 'cat', emoji: '🐈' }] }, 'emoji'],
    [{ kind: 'emoji', emoji: [{ label: 'cow', emoji: '🐄' }] }, 'emoji[0].label'],
    [{ low: 1, high: 0 }, 'high'],
  ])('refuse what does not belong together: %o', async (body, at) => {
    const response = await draw(body)
    expect(response.statusCode).toBe(400)
    expect(response.json().errors.map(({ path }: { path: string }) => path)).toContain(at)
  })
})
