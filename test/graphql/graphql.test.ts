/** What is GraphQL's own: Relay, nodes, limits, introspection. */

import { getIntrospectionQuery } from 'graphql'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { checkDocument } from '../../src/graphql/check-document.js'
import { get, graphql, picture, post, startTestServer, type TestServer, testModels, upload } from '../server/test-server.js'

let server: TestServer
beforeAll(async () => {
  server = await startTestServer()
})
afterAll(() => server.close())
afterEach(async () => {
  expect((await graphql(server.app, '{ capabilities { version } }')).errors).toEqual([])
})

describe('models', () => {
  test('come as in REST, field by field', async () => {
    const rest = (await get(server.app, `/v1/models/${testModels.clip}`)).json()
    const query = `query ($id: ID!) { model(id: $id) {
      id name layout status logitScale logitBias classLabels processing license weightsSha256 weightBytes createdAt
      files { path bytes sha256 } provenance { kind name repo revision }
      vision { nHookPoints nParameters output { axes shape } config { nLayers dModel nHeads dHead dMlp hasCls imageSize { height width } head { kind dOut } biases { qkv } } }
      text { config { contextLength pooling { kind eosTokenId } } }
      preprocessing { resize { kind size height width fill } crop { height width } mean std mode }
    } }`
    const { data, errors } = await graphql(server.app, query, { id: testModels.clip })
    expect(errors).toEqual([])
    const withoutNulls = (value: unknown): unknown =>
      Array.isArray(value) || typeof value !== 'object' || value === null
        ? value
        : Object.fromEntries(Object.entries(value).flatMap(([key, item]) => (item === null ? [] : [[key, withoutNulls(item)]])))
    expect(rest).toMatchObject(withoutNulls(data.model) as object)
  })

  test('page forward, filter and count', async () => {
    const query =
      'query ($first: Int, $after: String, $text: String) { models(first: $first, after: $after, text: $text) { totalCount pageInfo { hasNextPage endCursor } edges { cursor node { id } } } }'
    const first = (await graphql(server.app, query, { first: 2 })).data.models
    expect(first).toMatchObject({ totalCount: 3, pageInfo: { hasNextPage: true } })
    const second = (await graphql(server.app, query, { first: 2, after: first.edges[0].cursor })).data.models
    expect(second.edges[0].node).toEqual(first.edges[1].node)
    expect((await graphql(server.app, query, { text: 'CLIP' })).data.models.edges.map((edge: { node: object }) => edge.node)).toEqual([
      { id: 'hf-clip' },
    ])
    expect((await graphql(server.app, query, { first: 1000 })).errors[0]!.extensions.code).toMatch(/INPUT_INVALID|LIMIT_EXCEEDED/)
    expect((await graphql(server.app, query, { first: 0 })).errors[0]!.extensions).toMatchObject({ code: 'INPUT_INVALID' })
  })

  test('are nodes, found again by their id, as images are', async () => {
    const { id } = (await upload(server.app, await picture())).json()
    const query =
      'query ($a: ID!, $b: ID!) { a: node(id: $a) { __typename id } b: node(id: $b) { __typename ... on Image { width } } nodes(ids: [$a, $b]) { id } }'
    expect((await graphql(server.app, query, { a: testModels.clip, b: id })).data).toEqual({
      a: { __typename: 'Model', id: testModels.clip },
      b: { __typename: 'Image', width: 20 },
      nodes: [{ id: testModels.clip }, { id }],
    })
    const unknown = await graphql(server.app, '{ node(id: "hf-clp") { id } capabilities { version } }')
    expect(unknown.data).toMatchObject({ node: null, capabilities: { version: expect.any(String) } })
    expect(unknown.errors[0]).toMatchObject({
      message: expect.stringContaining('Did you mean "hf-clip"'),
      extensions: { code: 'MODEL_UNKNOWN', status: 404 },
    })
  })

  test('have hook points in firing order', async () => {
    const rest = (await get(server.app, `/v1/models/${testModels.clip}/hooks`)).json()
    const { data } = await graphql(server.app, '{ hookPoints(model: "hf-clip") { tower items { name axes shape meaning optional } } }')
    expect(data.hookPoints).toEqual({ tower: 'vision', items: rest.items })
  })
})

describe('limits', () => {
  const nested = (depth: number) => `${'{ a '.repeat(depth)}${'}'.repeat(depth)}`
  const types = (depth: number) => `{ __schema { types { ${'fields { type { '.repeat(depth)} name ${'} }'.repeat(depth)} } } }`

  test('a document that nests 50 deep is refused by its depth', async () => {
    for (const query of [
      nested(50),
      types(25),
      `query { ...f0 } ${Array.from({ length: 50 }, (_, i) => `fragment f${i} on Query { a { ...f${i + 1} } }`).join(' ')}`,
    ]) {
      const { status, errors } = await graphql(server.app, query)
      expect(status).toBe(422)
      expect(errors).toHaveLength(1)
      expect(errors[0]!.extensions).toMatchObject({ code: 'LIMIT_EXCEEDED', status: 422, limit: { name: 'graphqlDepth', value: 16 } })
    }
  })

  test('100,000 brackets do not exhaust the stack', async () => {
    for (const query of ['{'.repeat(60_000), '{a('.repeat(15_000), `{ a(x: ${'['.repeat(50_000)}`]) {
      const { errors } = await graphql(server.app, query)
      expect(errors[0]!.extensions).toMatchObject({ limit: { name: 'graphqlDepth' } })
    }
    expect((await graphql(server.app, '{'.repeat(100_000))).errors[0]!.extensions).toMatchObject({ limit: { name: 'graphqlCharacters' } })
  })

  test('fragments that contain one another are refused, and do not hang', async () => {
    const { errors } = await graphql(server.app, '{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }')
    expect(errors[0]).toMatchObject({ message: expect.stringContaining('Cannot spread fragment'), extensions: { code: 'GRAPHQL_INVALID' } })
    const wide = `{ ${'...f0 '.repeat(50)} } ${Array.from({ length: 30 }, (_, i) => `fragment f${i} on Query { ...f${i + 1} ...f${i + 1} }`).join(' ')} fragment f30 on Query { __typename }`
    const started = performance.now()
    checkDocument(wide)
    expect(performance.now() - started).toBeLessThan(1000)
  })

  test('a query that costs too much is refused before it runs', async () => {
    const runs = Array.from({ length: 8 }, (_, i) => `r${i}: forward(input: $input) { cache }`).join(' ')
    const { errors, data } = await graphql(server.app, `query ($input: ForwardInput!) { ${runs} }`, {
      input: { model: 'hf-clip', inputs: [{ text: 'a' }] },
    })
    expect(errors[0]!.extensions).toMatchObject({ code: 'LIMIT_EXCEEDED', status: 422, limit: { name: 'graphqlComplexity', value: 2000 } })
    expect(Object.values(data ?? {}).every((value) => value === null)).toBe(true)
    const wide = await graphql(
      server.app,
      `{ models(first: 100) { edges { node { ${Array.from({ length: 20 }, (_, i) => `n${i}: name`).join(' ')} } } } }`,
    )
    expect(wide.errors[0]!.extensions).toMatchObject({ limit: { name: 'graphqlComplexity' } })
  })

  test('several queries in one request are refused', async () => {
    const response = await post(server.app, '/graphql', [{ query: '{ __typename }' }, { query: '{ __typename }' }])
    expect([response.statusCode, response.json().errors[0].extensions.code]).toEqual([400, 'GRAPHQL_INVALID'])
  })

  test('introspection, as GraphiQL asks for it, is within them', async () => {
    const { data, errors } = await graphql(server.app, getIntrospectionQuery({ inputValueDeprecation: true, schemaDescription: true }))
    expect(errors).toEqual([])
    expect(data.__schema.queryType.name).toBe('Query')
  })
})

describe('a request that is wrong', () => {
  test.each([
    ['syntax', { query: '{ models(' }, 'Syntax Error'],
    ['an unknown field', { query: '{ modles { totalCount } }' }, 'Did you mean "models"'],
    ['an unknown argument', { query: '{ models(frist: 3) { totalCount } }' }, 'Did you mean "first"'],
    [
      'a variable of the wrong type',
      { query: 'query ($first: Int) { models(first: $first) { totalCount } }', variables: { first: 'many' } },
      'Int cannot represent',
    ],
    ['an unknown operation', { query: 'query A { __typename } query B { __typename }', operationName: 'C' }, 'Unknown operation'],
    ['no query', {}, 'needs "query"'],
    ['a query that is none', { query: 5 }, 'needs "query"'],
    ['a query as a syntax tree', { query: '{"kind":"Document","definitions":[]}' }, 'Syntax Error'],
    ['variables that are none', { query: '{ __typename }', variables: 'x' }, 'variables'],
  ])('by %s is told so', async (_, body, message) => {
    const response = await post(server.app, '/graphql', body)
    expect(response.statusCode).toBe(400)
    expect(response.json()).toMatchObject({
      data: null,
      errors: [{ message: expect.stringContaining(message), extensions: { code: 'GRAPHQL_INVALID', status: 400 } }],
    })
  })

  test('by its JSON, its type, or its method is told so in the same shape', async () => {
    const send = async (payload: string, type: string) =>
      (await server.app.inject({ method: 'POST', url: '/graphql', payload, headers: { 'content-type': type } })).json().errors[0].extensions
    expect(await send('{', 'application/json')).toMatchObject({ code: 'BODY_MALFORMED', status: 400 })
    expect(await send('{}', 'text/plain')).toMatchObject({ code: 'MEDIA_TYPE_UNSUPPORTED', status: 415 })
    const read = await get(server.app, '/graphql?query={__typename}')
    expect([read.statusCode, read.json().errors[0].extensions.code]).toEqual([405, 'METHOD_NOT_ALLOWED'])
  })

  test('mutations are not taken for queries', async () => {
    expect((await graphql(server.app, '{ uploadImage(file: null) { id } }')).errors[0]!.message).toContain('Cannot query field')
  })
})
