/** Attention over both doors. (The numbers themselves are compared in test/engine/analyses.) */

import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { bytesSource } from '../../src/engine/io/byte-source.js'
import { readNpz } from '../../src/engine/io/npz.js'
import { ARROW, NPZ, SAFETENSORS } from '../../src/server/negotiate.js'
import { addGoldenSaes } from './golden-saes.js'
import { graphql, picture, post, startTestServer, type TestServer, testModels, upload } from './test-server.js'

const { clip, noCls } = testModels
const sae = `${clip}.1-resid-post.relu`
const atMlp = `${clip}.0-mlp-out.topk`
let server: TestServer
let images: string[]

beforeAll(async () => {
  server = await startTestServer()
  images = await Promise.all([1, 2, 3].map(async (seed) => (await upload(server.app, await picture(seed))).json().id))
  await addGoldenSaes(server, { relu: sae, topk: atMlp })
  await server.catalog.datasets.register({
    id: 'pictures',
    name: 'Pictures',
    hash: 'a'.repeat(64),
    classNames: [],
    description: null,
    license: null,
    items: images.map((imageId, index) => ({ name: `${index}.png`, imageId, label: null })),
  })
})
afterAll(() => server.close())

const ask = async (body: object, headers = {}) => post(server.app, '/v1/attention', { model: clip, ...body }, headers)
const inputs = () => images.map((image) => ({ image }))

describe('attention', () => {
  test('answers patterns of chosen layers and heads, as forward does', async () => {
    const { patterns, heads, statistics, rollout } = (await ask({ inputs: inputs(), layers: [1], heads: [2, 0] })).json()
    const hookPoint = 'blocks.1.attn.hook_pattern'
    const forward = (await post(server.app, '/v1/forward', { model: clip, inputs: inputs(), read: [hookPoint], output: false })).json()
    expect(Object.keys(patterns)).toEqual([hookPoint])
    expect(heads).toEqual([2, 0])
    for (const [input, ofHeads] of forward.activations[hookPoint].data.entries()) {
      expect(patterns[hookPoint].data[input]).toEqual([ofHeads[2], ofHeads[0]])
    }
    expect([statistics, rollout]).toEqual([null, null])
  })

  test('answers statistics of pictures, or the same of a data set that has them', async () => {
    const of = async (body: object) => (await ask({ statistics: true, ...body })).json()
    const own = await of({ inputs: inputs() })
    expect(own).toMatchObject({ patterns: null, pictures: 3 })
    const { nLayers, nHeads } = (await server.catalog.models.get(clip))!.description.vision.config
    expect(own.statistics).toHaveLength(nLayers * nHeads)
    const dataset = await of({ dataset: { id: 'pictures', pictures: 10 } })
    expect(dataset.statistics).toEqual(own.statistics)
    const chosen = await of({ inputs: inputs(), layers: [1], heads: [1] })
    expect(chosen.statistics).toEqual([own.statistics[nHeads + 1]])
  })

  test('looks at an edited run: scores set to 0 make heads broad, and rollout even', async () => {
    const edits = [0, 1].map((layer) => ({ hookPoint: `blocks.${layer}.attn.hook_attn_scores`, op: 'zero' }))
    const { statistics, patterns, rollout } = (await ask({ inputs: inputs(), edits, statistics: true, patterns: true, rollout: {} })).json()
    const n = rollout.shape[2]
    for (const head of statistics) {
      expect(head.types).toEqual(['broad'])
      expect(head.entropy).toBeCloseTo(Math.log(n), 4)
    }
    for (const weight of patterns['blocks.1.attn.hook_pattern'].data.flat(3)) expect(weight).toBeCloseTo(1 / n, 5)
    expect(
      new Set(rollout.data[0].flatMap((row: number[], at: number) => row.filter((_, key) => key !== at)).map((w: number) => w.toFixed(5)))
        .size,
    ).toBe(1)
  })

  test('answers rollout, with rows that sum to 1', async () => {
    const { rollout } = (await ask({ inputs: inputs(), rollout: { heads: 'max', discardRatio: 0.3 } })).json()
    for (const row of rollout.data.flat()) expect(row.reduce((sum: number, weight: number) => sum + weight, 0)).toBeCloseTo(1, 4)
  })

  test('takes a feature apart: parts sum to the pre-activation, whose positive part is the activation', async () => {
    const found = (
      await post(server.app, '/v1/features', { saes: [sae], inputs: inputs(), topK: 0, imageTopK: 1, positions: 'all' })
    ).json()
    for (const [input, [top]] of found.saes[0].perImage.entries()) {
      const contributions = { sae, feature: top.feature }
      const answer = (await ask({ inputs: [inputs()[input]], contributions, topK: 3 })).json().contributions
      expect(answer.positions).toEqual([top.position])
      expect(answer.preActivations[0]).toBeCloseTo(top.activation, 3)
      const numbers = (key: string) => answer[key].data.flat(9) as number[]
      const sum = ['heads', 'attnBias', 'mlp', 'embed', 'bias'].flatMap(numbers).reduce((a, b) => a + b, 0)
      expect(sum).toBeCloseTo(answer.preActivations[0], 3)
      expect(Math.abs(numbers('remainder')[0]!)).toBeLessThan(1e-3)
      const best = answer.top[0][0]
      expect(answer.heads.data[0][best.layer][best.head]).toBe(best.contribution)
      expect(Math.abs(best.contribution)).toBe(Math.max(...numbers('heads').map(Math.abs)))
      expect(answer.top[0]).toHaveLength(3)
    }
  })

  test('is the same in GraphQL, and its tensors in npz', async () => {
    const body = { inputs: inputs(), layers: [0], statistics: true, patterns: true, rollout: {}, contributions: { sae, feature: 3 } }
    const json = (await ask(body)).json()
    const query = `query ($input: AttentionInput!) { attention(input: $input) { patterns { hookPoint tensor { shape } } statistics { layer head entropy types neighbour { row col share } } rollout { shape } contributions { positions top { layer head contribution } heads { data } } } }`
    const { data, errors } = await graphql(server.app, query, { input: { model: clip, ...body } })
    expect(errors).toEqual([])
    const named = json.statistics.map(({ types }: { types: string[] }) => types.map((type) => type.replaceAll('-', '_')))
    expect(data.attention.statistics.map(({ types }: { types: string[] }) => types)).toEqual(named)
    expect(data.attention.contributions).toMatchObject({ positions: json.contributions.positions, top: json.contributions.top })
    for (const accept of [SAFETENSORS, ARROW]) {
      const { statusCode, headers } = await ask(body, { accept })
      expect([statusCode, headers['content-type']]).toEqual([200, accept])
    }
    const npz = await ask(body, { accept: NPZ })
    const tensors = await readNpz(bytesSource(npz.rawPayload), 'answer.npz')
    expect([...tensors.keys()]).toEqual(expect.arrayContaining(['blocks.0.attn.hook_pattern', 'rollout', 'contributions/sources']))
  })

  test.each([
    ['nothing to look at', {}, 'inputs'],
    ['statistics of nothing', { statistics: true }, 'inputs'],
    ['nothing to answer', { inputs: [{ image: 'x' }], patterns: false }, undefined],
    ['a layer out of range', { layers: [9] }, 'layers[0]'],
    ['a head out of range', { heads: [0, 99] }, 'heads[1]'],
    ['a layer of rollout out of range', { rollout: { throughLayer: 9 } }, 'rollout.throughLayer'],
    ['a ratio of 1', { rollout: { discardRatio: 1 } }, 'rollout.discardRatio'],
    ['a data set without statistics', { dataset: { id: 'pictures' } }, 'dataset'],
    ['edits of a data set', { statistics: true, dataset: { id: 'pictures' }, edits: [{ hookPoint: 'hook_embed', op: 'zero' }] }, 'edits'],
    ['statistics of what is no number', { statistics: true, edits: [{ hookPoint: 'hook_embed', op: 'scale', strength: 3e38 }] }, 'edits'],
    ['edits of contributions', { contributions: { sae, feature: 0 }, edits: [{ hookPoint: 'hook_embed', op: 'zero' }] }, 'edits'],
    ['an SAE that no head writes to', { contributions: { sae: atMlp, feature: 0 } }, 'contributions.sae'],
    ['a feature that there is not', { contributions: { sae, feature: 4000 } }, 'contributions.feature'],
    ['a position that there is not', { contributions: { sae, feature: 0, position: 400 } }, 'contributions.position'],
    ['an SAE of another model', { model: noCls, contributions: { sae, feature: 0 } }, 'contributions.sae'],
  ])('refuses %s, and says where', async (_, body, at) => {
    const response = await ask({ ...(at !== 'inputs' && { inputs: inputs() }), ...body })
    expect(Math.floor(response.statusCode / 100)).toBe(4)
    if (at)
      expect(
        response
          .json()
          .errors.map(({ path }: { path: string }) => path)
          .join(' '),
      ).toContain(at)
  })
})

describe('its pictures', () => {
  const draw = async (body: object, headers = {}) =>
    post(server.app, '/v1/attention/picture', { model: clip, image: images[0], ...body }, headers)
  const json = { accept: 'application/json' }

  test.each([
    [{ layers: [1], heads: [2], queryPatch: { row: 0, col: 1 } }, ['L1 H2']],
    [{ layers: [0, 1], heads: [1, 3], size: 32 }, ['L0 H1', 'L0 H3', 'L1 H1', 'L1 H3']],
    [{ kind: 'rollout', rollout: { heads: 'max' } }, ['rollout, max, L0-L1']],
  ])('%o', async (body, captions) => {
    expect((await draw(body, json)).json().captions).toEqual(captions)
    const png = await draw(body)
    expect(png.headers['content-type']).toBe('image/png')
    expect((await sharp(png.rawPayload).metadata()).format).toBe('png')
  })

  test('show where heads took a feature from, the largest first', async () => {
    const { captions } = (await draw({ kind: 'contributions', contributions: { sae, feature: 5 }, topK: 2 }, json)).json()
    const { top } = (await ask({ inputs: [{ image: images[0] }], contributions: { sae, feature: 5 }, topK: 2 })).json().contributions
    expect(captions[0]).toMatch(/^all heads [+-]/)
    expect(captions.slice(1).map((caption: string) => caption.split(' ').slice(0, 2).join(' '))).toEqual(
      top[0].map(({ layer, head }: { layer: number; head: number }) => `L${layer} H${head}`),
    )
  })

  test('of a model without CLS show the mean of all patches unless one is asked for', async () => {
    const mean = await draw({ model: noCls, layers: [0], heads: [0] })
    const one = await draw({ model: noCls, layers: [0], heads: [0], query: 1 })
    expect([mean.statusCode, one.statusCode]).toEqual([200, 200])
    expect(mean.rawPayload.equals(one.rawPayload)).toBe(false)
  })

  test.each([
    [{ query: 0, queryPatch: { row: 0, col: 0 } }, 'queryPatch'],
    [{ queryPatch: { row: 99, col: 0 } }, 'queryPatch'],
    [{ query: 99 }, 'query'],
    [{ kind: 'rollout', layers: [0] }, 'layers'],
    [{ kind: 'contributions' }, 'contributions'],
    [{ topK: 3 }, 'topK'],
    [{ low: 2, high: 1 }, 'high'],
  ])('refuse what does not belong together: %o', async (body, at) => {
    const response = await draw(body)
    expect(response.statusCode).toBe(400)
    expect(response.json().errors.map(({ path }: { path: string }) => path)).toContain(at)
  })
})
