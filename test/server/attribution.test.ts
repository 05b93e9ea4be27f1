/** Direct logit attribution and feature attribution over REST and GraphQL. (That the numbers are right is shown in test/engine/analyses.) */

import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { importSae } from '../../src/catalog/import/import-sae.js'
import { bytesSource } from '../../src/engine/io/byte-source.js'
import { readNpz } from '../../src/engine/io/npz.js'
import { describeSae } from '../../src/engine/saes/load-sae.js'
import { NPZ, SVG } from '../../src/server/negotiate.js'
import { featureFolder } from '../engine/saes/feature-goldens.js'
import { get, graphql, picture, post, startTestServer, type TestServer, testModels, upload } from './test-server.js'

const { clip, classifier } = testModels
const relu = `${clip}.1-resid-post.relu`
const embed = `${clip}.embed.patches`

let server: TestServer
let images: string[]

beforeAll(async () => {
  server = await startTestServer()
  images = await Promise.all([1, 2].map(async (seed) => (await upload(server.app, await picture(seed))).json().id))
  const hub = { hubEndpoint: '', hubToken: '', hubHome: '', hubCache: '' }
  for (const [name, id] of [
    ['relu', relu],
    ['patches', embed],
  ] as const) {
    await importSae({
      source: path.join(featureFolder, name),
      id,
      model: clip,
      catalog: server.catalog,
      config: { dataDir: server.config.dataDir, ...hub },
      inspectSae: (sae) => describeSae(sae.folder, { overrides: sae.overrides }),
    })
  }
})
afterAll(() => server.close())

const ask = (input: object = {}) => ({
  model: clip,
  inputs: images.map((image) => ({ image })),
  targets: [{ text: 'a' }, { difference: [{ text: 'a' }, { text: 'b', templates: ['the {}', '{}'] }] }],
  ...input,
})

async function attribution(input: object = {}) {
  const response = await post(server.app, '/v1/attribution', ask(input))
  expect(response.json()).not.toHaveProperty('code')
  return response.json()
}

async function refusal(input: object) {
  const response = await post(server.app, '/v1/attribution', ask(input))
  return { ...response.json(), status: response.statusCode } as {
    status: number
    code: string
    detail: string
    errors?: { path: string; message: string }[]
  }
}

const sum = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b, 0)

describe('attribution', () => {
  test('scores texts as zero-shot classification does, and its parts sum to the scores', async () => {
    const { score, components, parts, targets, remainder } = await attribution()
    expect(targets).toEqual(['a', 'a minus b'])
    const run = { model: clip, inputs: images.map((image) => ({ image })), topK: 2 }
    const plain = (await post(server.app, '/v1/forward', { ...run, classify: { labels: ['a'] } })).json().classes
    const averaged = (await post(server.app, '/v1/forward', { ...run, classify: { labels: ['b'], templates: ['the {}', '{}'] } })).json()
      .classes
    for (const image of [0, 1]) {
      const [a, b] = [plain[image][0].logit, averaged[image][0].logit]
      expect(score.data[image][0]).toBeCloseTo(a, 4)
      expect(score.data[image][1]).toBeCloseTo(a - b, 4)
      for (const target of [0, 1]) {
        expect(components.data[image][target]).toHaveLength(parts.length)
        expect(sum(components.data[image][target])).toBeCloseTo(score.data[image][target], 4)
        expect(Math.abs(remainder.data[image][target])).toBeLessThan(1e-4)
      }
    }
    expect(parts[0]).toEqual({ name: 'embed', kind: 'embedding', layer: null })
    expect(parts.map(({ name }: { name: string }) => name)).toContain('blocks.1.mlp.b_out')
  })

  test('of a classifier takes classes by index and name', async () => {
    const answer = await attribution({
      model: classifier,
      targets: [{ class: 0 }, { difference: [{ class: 0 }, { class: 1 }] }],
      by: ['token'],
    })
    const forward = await post(server.app, '/v1/forward', { model: classifier, inputs: images.map((image) => ({ image })) })
    for (const image of [0, 1]) {
      const logits = forward.json().output.data[image]
      expect(answer.score.data[image][0]).toBeCloseTo(logits[0], 4)
      expect(answer.score.data[image][1]).toBeCloseTo(logits[0] - logits[1], 4)
    }
    expect(answer.tokens.data[0][0].length).toBeLessThan(answer.parts.length)
    expect(answer.heads).toBeNull()
  })

  test('goes down to heads, source tokens, neurons and features', async () => {
    const { components, parts, heads, sources, neurons, saes } = await attribution({
      by: ['head', 'source', 'neuron'],
      saes: [relu],
      topK: 3,
    })
    const names: string[] = parts.map(({ name }: { name: string }) => name)
    const part = (name: string) => components.data[1][0][names.indexOf(name)]
    expect(sum(heads.data[1][0][1])).toBeCloseTo(part('blocks.1.attn'), 4)
    expect(sum(sources.data[1][0][1][0])).toBeCloseTo(heads.data[1][0][1][0], 4)
    expect(neurons[1][0]).toHaveLength(2 * 3)
    expect(neurons[1][0][0]).toEqual({ layer: 0, neuron: expect.any(Number), value: expect.any(Number), activation: expect.any(Number) })
    const [found] = saes
    expect(found).toMatchObject({ sae: relu, hookPoint: 'blocks.1.hook_resid_post' })
    expect(found.features[1][0]).toHaveLength(3)
    const upTo = names.slice(0, names.indexOf('blocks.1.mlp.b_out') + 1)
    const total = found.sum.data[1][0] + found.bias.data[1][0] + found.error.data[1][0]
    expect(total).toBeCloseTo(sum(upTo.map(part)), 3)
  })

  test('comes as npz, too', async () => {
    const body = ask({ by: ['head'], saes: [relu] })
    const response = await post(server.app, '/v1/attribution', body, { accept: NPZ })
    const tensors = await readNpz(bytesSource(response.rawPayload), 'x.npz')
    expect([...tensors.keys()]).toEqual(['score', 'components', 'remainder', 'heads', `${relu}.sum`, `${relu}.bias`, `${relu}.error`])
    expect(tensors.get('heads')!.shape).toEqual([2, 2, 2, 4])
  })

  test('is the same over GraphQL', async () => {
    const query = `query ($input: AttributionInput!) {
      attribution(input: $input) {
        targets score { data } parts { name kind } neurons { layer neuron value }
      }
    }`
    const rest = await attribution({ by: ['neuron'], topK: 2 })
    const { data, errors } = await graphql(server.app, query, { input: ask({ by: ['neuron'], topK: 2 }) })
    expect(errors).toEqual([])
    expect(data.attribution.score.data).toEqual(rest.score.data)
    expect(data.attribution.targets).toEqual(rest.targets)
    expect(data.attribution.neurons[1][1][0].value).toBe(rest.neurons[1][1][0].value)
  })
})

describe('feature attribution', () => {
  const about = () => ({ model: clip, inputs: [{ image: images[0] }], target: { text: 'a' }, saes: [relu] })
  const asked = async (input: object) => {
    const response = await post(server.app, '/v1/attribution/features', { ...about(), ...input })
    return response.json()
  }
  /** The graph of the one input. */
  const graphOf = async (input: object) => (await asked(input)).graphs[0]

  test('of a text says what the score depends on: nodes in order, edges between them', async () => {
    const { target, graphs } = await asked({ nodes: { most: 20, share: 1 } })
    const [answer] = graphs
    const { score } = await attribution({ inputs: [{ image: images[0] }], targets: [{ text: 'a' }] })
    expect(answer.value).toBeCloseTo(score.data[0][0], 4)
    expect(target).toBe('a')
    expect(answer.nodes).toHaveLength(20)
    const { tokens, errors, biases, remainder } = answer.sources
    expect(tokens + errors + biases + remainder).toBeCloseTo(answer.value, 3)
    expect(answer.features).toEqual([
      { sae: relu, hookPoint: 'blocks.1.hook_resid_post', sum: expect.any(Number), size: expect.any(Number) },
    ])
    const kinds = new Set(answer.nodes.map(({ kind }: { kind: string }) => kind))
    expect(kinds.has('feature')).toBe(true)
    for (const { from, to } of answer.edges) {
      expect(from).toBeGreaterThanOrEqual(0)
      expect(to === -1 || to > from).toBe(true)
    }
    expect(answer.completeness).toBeCloseTo(answer.inputs.fromKept / answer.inputs.value, 6)
    expect(answer.nodes.every(({ hookPoint }: { hookPoint: string }) => typeof hookPoint === 'string')).toBe(true)
  })

  test('of a feature at a position', async () => {
    const first = (await graphOf({ nodes: { most: 20, share: 1 }, heads: false })).nodes.find(
      ({ kind }: { kind: string }) => kind === 'feature',
    )
    const { sae, index, position } = first
    const { target, graphs } = await asked({ target: undefined, saes: undefined, feature: { sae, index, position } })
    const [answer] = graphs
    expect(target).toBe(`${relu}/${index} at ${position}`)
    expect(answer.value).toBeCloseTo(first.inputs.value, 3)
    expect(answer.nodes.every(({ kind }: { kind: string }) => kind === 'token' || kind === 'head')).toBe(true)
  })

  test('of several pictures is that of each', async () => {
    const inputs = images.map((image) => ({ image }))
    const { graphs } = await asked({ inputs })
    expect(graphs).toEqual(await Promise.all(inputs.map((input) => graphOf({ inputs: [input] }))))
    expect(graphs[0].value).not.toBe(graphs[1].value)
    const drawing = await post(server.app, '/v1/attribution/features', { ...about(), inputs }, { accept: SVG })
    expect(drawing.body.match(/<g transform=/g)).toHaveLength(2)
    const tooMany = await asked({ inputs: Array.from({ length: 33 }, () => inputs[0]) })
    expect(tooMany).toMatchObject({ code: 'LIMIT_EXCEEDED', limit: { name: 'attributedInputs', value: 32, given: 33 } })
  })

  test('comes as a drawing', async () => {
    const response = await post(server.app, '/v1/attribution/features', about(), { accept: SVG })
    expect(response.headers['content-type']).toMatch(/^image\/svg\+xml/)
    expect(response.body).toMatch(/^<svg [^>]*>\n<title>What a depends on<\/title>/)
    expect(response.body).toContain('>blocks.1.hook_resid_post<')
  })

  test('is the same over GraphQL', async () => {
    const query = `query ($input: FeatureAttributionInput!) {
      featureAttribution(input: $input) { target graphs { value edges { from to weight } nodes { kind sae } } }
    }`
    const { data, errors } = await graphql(server.app, query, { input: about() })
    expect(errors).toEqual([])
    const rest = await graphOf({})
    expect(data.featureAttribution.graphs[0].edges).toEqual(rest.edges.map(({ influence: _, ...edge }: { influence: number }) => edge))
  })

  test('is refused without a question, with two, and of what is not there, at once', async () => {
    expect(await asked({ target: undefined })).toMatchObject({ detail: expect.stringMatching(/name a target, or a feature/) })
    const feature = { sae: relu, index: 40, position: 99 }
    const { errors } = await asked({ feature, target: { class: 1 } })
    expect(errors.map((error: { path: string }) => error.path)).toEqual(['target', 'target.class', 'feature.index', 'feature.position'])
    expect(await asked({ saes: [embed] })).toMatchObject({ detail: expect.stringMatching(/saes\[0\]: writes to hook_embed/) })
  })
})

describe('attribution is refused', () => {
  test('for targets and SAEs that the model does not have, all at once', async () => {
    const { status, errors } = await refusal({ model: classifier, targets: [{ text: 'a' }, { class: 99 }], saes: [relu] })
    expect(status).toBe(400)
    expect(errors!.map((error) => error.path)).toEqual(['targets[0].text', 'targets[1].class', 'saes[0]'])
  })

  test('of an SAE that is not there, and of one that no score reads', async () => {
    expect(await refusal({ saes: ['none'] })).toMatchObject({ status: 404, code: 'SAE_UNKNOWN' })
    expect(await refusal({ saes: [embed] })).toMatchObject({ status: 400, detail: expect.stringMatching(/writes to hook_embed/) })
  })

  test('of too many targets, and of an answer that GraphQL has no room for', async () => {
    const direction = Array.from({ length: 12 }, (_, at) => at + 1)
    const targets = Array.from({ length: 32 }, () => ({ direction }))
    const { status, detail } = await refusal({ targets: [...targets, ...targets] })
    expect(status).toBe(422)
    expect(detail).toMatch(/limit "targets" of 32/)
    const inputs = Array.from({ length: 16 }, () => ({ image: images[0] }))
    const query = 'query ($input: AttributionInput!) { attribution(input: $input) { sources { data } } }'
    const { errors } = await graphql(server.app, query, { input: ask({ inputs, targets, by: ['source', 'token'] }) })
    expect(errors[0]!.message).toMatch(/limit "graphqlNumbers"/)
  })

  test('of unknown fields and kinds', async () => {
    expect((await refusal({ by: ['heads'] })).errors![0]!.path).toBe('by[0]')
    expect((await refusal({ target: [] })).errors![0]!.message).toMatch(/Did you mean "targets"/)
    expect((await refusal({ inputs: [{ text: 'a' }] })).status).toBe(400)
  })

  test('by GET', async () => {
    expect((await get(server.app, '/v1/attribution')).statusCode).toBe(405)
  })
})
