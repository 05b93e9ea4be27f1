/** The two interfaces as they are committed, and what they promise held against real answers. */

import { Compile } from 'typebox/compile'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { printedSchema } from '../../src/graphql/schema.js'
import { operations } from '../../src/operations/operations.js'
import { openApiDocument } from '../../src/server/openapi.js'
import { routes } from '../../src/server/routes.js'
import { addGoldenSaes } from './golden-saes.js'
import { addIndexedSae, INDEXED_SAE } from './indexed-sae.js'
import { get, picture, post, startTestServer, type TestServer, testModels, upload } from './test-server.js'

type Json = Record<string, unknown>

// `npm run docs` writes both files anew
test('openapi.json is what the routes and operations say', async () => {
  await expect(`${JSON.stringify(openApiDocument(), null, 2)}\n`).toMatchFileSnapshot('../../openapi.json')
})

test('schema.graphql is what the operations say', async () => {
  await expect(printedSchema()).toMatchFileSnapshot('../../schema.graphql')
})

test('every operation is in both, under its own name', () => {
  const openapi = JSON.stringify(openApiDocument())
  const graphql = printedSchema()
  const files = new Set([
    'imageFile',
    'jobArtifact',
    ...routes.flatMap(({ file, download, operation }) => (file || download ? [operation.name] : [])),
  ])
  for (const { name } of Object.values(operations)) {
    // what is known of an image is one of the forms of its URL
    if (name !== 'image') expect(openapi).toContain(`"operationId":"${name}"`)
    // files are not GraphQL's: a client follows their URL
    if (!files.has(name)) expect(graphql).toMatch(new RegExp(`^  ${name}[(:]`, 'm'))
  }
})

describe('answers are of the schema that OpenAPI promises', () => {
  const saes = { relu: 'hf-clip.1-resid-post.relu', gated: 'hf-clip.1-resid-post.gated', topk: 'hf-clip.0-mlp-out.topk' }

  let server: TestServer
  let image: string
  beforeAll(async () => {
    server = await startTestServer()
    image = (await upload(server.app, await picture())).json().id
    await addIndexedSae(server.catalog)
    await addGoldenSaes(server, saes)
  })
  afterAll(() => server.close())

  const document = openApiDocument() as { paths: Record<string, Record<string, Json>>; components: { schemas: Json } }

  /** Refuses fields that are not declared, too. */
  function expectOf(schema: unknown, value: unknown) {
    const compiled = Compile(resolve(schema) as never)
    expect(compiled.Check(value) ? [] : compiled.Errors(value)).toEqual([])
  }
  const resolve = (schema: unknown): unknown => {
    if (Array.isArray(schema)) return schema.map(resolve)
    if (typeof schema !== 'object' || schema === null) return schema
    const reference = (schema as { $ref?: string }).$ref
    if (reference !== undefined) return resolve(document.components.schemas[reference.slice('#/components/schemas/'.length)])
    return Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, resolve(value)]))
  }
  const schemaOf = (route: string, method: string, status: string, type = 'application/json') => {
    const responses = document.paths[route]![method]!.responses as Record<string, { content: Record<string, { schema: unknown }> }>
    return responses[status]!.content[type]!.schema
  }

  test('for every route that answers JSON', async () => {
    const forward = await post(server.app, '/v1/forward', { model: testModels.classifier, inputs: [{ image }], read: ['hook_embed'] })
    expectOf(schemaOf('/v1/forward', 'post', '200'), forward.json())
    const base64 = { model: testModels.clip, inputs: [{ text: 'a' }], read: ['hook_embed'], encoding: 'base64' }
    expectOf(schemaOf('/v1/forward', 'post', '200'), (await post(server.app, '/v1/forward', base64)).json())
    const { cache } = forward.json()
    const made = await post(server.app, '/v1/jobs', { kind: 'import', input: { source: 'org/name' } })
    expectOf(schemaOf('/v1/jobs', 'post', '201'), made.json())
    const job = made.json().id
    const kept = await post(server.app, '/v1/runs', { kind: 'forward', input: { model: testModels.classifier, inputs: [{ image }] } })
    expectOf(schemaOf('/v1/runs', 'post', '201'), kept.json())
    const run = kept.json().id
    const [explanation] = await server.catalog.explanations.search({ text: 'apples', limit: 1 })
    const vector = { id: 'apples', modelId: testModels.clip, hookPoint: 'hook_embed', values: Float32Array.of(1), description: null }
    await server.catalog.vectors.create(vector)
    const urls: Record<string, string> = {
      '/v1/capabilities': '/v1/capabilities',
      '/v1/models': '/v1/models',
      '/v1/models/{id}': `/v1/models/${testModels.clip}`,
      '/v1/models/{model}/hooks': `/v1/models/${testModels.clip}/hooks?tower=text`,
      '/v1/models/{model}/weights/circuits': `/v1/models/${testModels.clip}/weights/circuits`,
      '/v1/models/{model}/weights/composition': `/v1/models/${testModels.clip}/weights/composition`,
      '/v1/saes': '/v1/saes?limit=100',
      '/v1/saes/{id}': `/v1/saes/${INDEXED_SAE}`,
      '/v1/saes/{sae}/features': `/v1/saes/${INDEXED_SAE}/features`,
      '/v1/saes/{sae}/features/{index}': `/v1/saes/${INDEXED_SAE}/features/3`,
      '/v1/saes/{sae}/geometry': `/v1/saes/${saes.topk}/geometry?full=true`,
      '/v1/search/features': '/v1/search/features?explanation=apples',
      '/v1/explanations': '/v1/explanations',
      '/v1/explanations/{id}': `/v1/explanations/${explanation!.id}`,
      '/v1/vectors': '/v1/vectors',
      '/v1/vectors/{id}': '/v1/vectors/apples',
      '/v1/metrics': '/v1/metrics',
      '/v1/datasets': '/v1/datasets',
      '/v1/datasets/{id}': '/v1/datasets/pictures',
      '/v1/datasets/{dataset}/items': '/v1/datasets/pictures/items',
      '/v1/images': '/v1/images',
      '/v1/images/{id}': `/v1/images/${image}`,
      '/v1/jobs': '/v1/jobs',
      '/v1/jobs/{id}': `/v1/jobs/${job}`,
      '/v1/jobs/{id}/log': `/v1/jobs/${job}/log`,
      '/v1/runs': '/v1/runs',
      '/v1/runs/{id}': `/v1/runs/${run}`,
      '/v1/runs/{id}/result': `/v1/runs/${run}/result`,
      '/v1/caches/{id}': `/v1/caches/${cache}`,
      '/v1/caches/{cache}/{hookPoint}': `/v1/caches/${cache}/hook_embed`,
    }
    const described = Object.entries(document.paths).flatMap(([route, methods]) =>
      'get' in methods && !/(\.(png|svg)|\/events|\/graph|\/artifacts\/\{name\})$/.test(route) ? [route] : [],
    )
    expect(described.sort()).toEqual(Object.keys(urls).sort())
    for (const [route, url] of Object.entries(urls)) {
      const response = await get(server.app, url, { accept: 'application/json' })
      expect(response.statusCode).toBe(200)
      expectOf(schemaOf(route, 'get', '200'), response.json())
    }
    expectOf(schemaOf('/v1/images', 'post', '201'), (await upload(server.app, await picture())).json())
  })

  test('for comparisons, weights and attributions', async () => {
    const other = (await upload(server.app, await picture(2))).json().id
    const more = await Promise.all([3, 4].map(async (seed) => (await upload(server.app, await picture(seed))).json().id))
    const bodies: Record<string, object> = {
      '/v1/compare/images': { saes: [saes.relu], a: { images: [image, other] }, b: { images: more } },
      '/v1/compare/saes': { saes: [saes.relu, saes.gated], images: { images: more }, full: true },
      '/v1/compare/pair': { model: testModels.clip, a: image, b: other, saes: [saes.relu] },
      '/v1/weights/virtual': { upstream: saes.topk, downstream: saes.relu },
      '/v1/attribution': {
        model: testModels.clip,
        inputs: [{ image }],
        targets: [{ text: 'a' }],
        by: ['head', 'neuron'],
        saes: [saes.relu],
      },
      '/v1/attribution/features': {
        model: testModels.clip,
        inputs: [{ image }],
        target: { text: 'a' },
        saes: [saes.relu],
        nodes: { most: 10 },
      },
      '/v1/steer': {
        ...{
          model: testModels.clip,
          inputs: [{ image }],
          edits: [{ op: 'feature-add', sae: saes.relu, features: [{ feature: 1, strength: 2 }] }],
        },
        ...{
          classify: { labels: ['a', 'b'] },
          targets: [{ text: 'a' }],
          controls: { n: 2 },
          read: ['blocks.*.hook_resid_post'],
          values: true,
        },
      },
      '/v1/patching': {
        ...{ model: testModels.clip, clean: [image], corrupted: [other], metric: { kind: 'score', target: { text: 'a' } } },
        ...{ methods: ['patching', 'attribution', 'integrated-gradients'], steps: 2, plot: true },
      },
      '/v1/patching/paths': {
        ...{ model: testModels.clip, clean: [image], corrupted: [other], metric: { kind: 'cosine' } },
        ...{ senders: [{ component: 'embed' }], receivers: [{ component: 'output' }] },
      },
    }
    for (const [route, body] of Object.entries(bodies)) {
      const response = await post(server.app, route, body)
      expect(response.statusCode).toBe(200)
      expectOf(schemaOf(route, 'post', '200'), response.json())
    }
  })

  test('for refusals', async () => {
    const schema = schemaOf('/v1/forward', 'post', 'default', 'application/problem+json')
    for (const body of ['{', '{}', '{"model":"x","inputs":[{"text":"a"}]}'])
      expectOf(schema, (await post(server.app, '/v1/forward', body)).json())
  })

  test('and the documentation is served whole, from this server alone', async () => {
    expect((await get(server.app, '/openapi.json')).json()).toEqual(openApiDocument())
    for (const page of ['/docs', '/graphiql', '/']) {
      const { body } = await get(server.app, page)
      const urls = [...body.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, url]) => url!)
      for (const url of urls.filter((each) => !each.startsWith('data:'))) {
        expect(url).toMatch(/^\//)
        expect((await get(server.app, url)).statusCode).toBe(200)
      }
    }
  })
})
