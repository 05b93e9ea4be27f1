/** What is said of features, and directions that are kept: over REST and GraphQL. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { addIndexedSae, INDEXED_SAE, PUBLISHED_SAE } from './indexed-sae.js'
import { get, graphql, post, startTestServer, type TestServer, testModels } from './test-server.js'

let server: TestServer
beforeAll(async () => {
  server = await startTestServer()
  await addIndexedSae(server.catalog)
})
afterAll(() => server.close())

const remove = (url: string, headers = {}) => server.app.inject({ method: 'DELETE', url, headers })
const explain = (index: number, body: object, headers = {}) =>
  post(server.app, `/v1/saes/${INDEXED_SAE}/features/${index}/explanations`, { author: 'bob', ...body }, headers)

describe('explanations', () => {
  test('are written, found by their words, shown with the feature, and taken away', async () => {
    const written = await explain(5, { text: 'wheels of bicycles', method: 'llm: describe', score: 0.25 })
    expect(written.statusCode).toBe(201)
    const made = written.json()
    expect(made).toMatchObject({
      sae: INDEXED_SAE,
      index: 5,
      feature: `${INDEXED_SAE}/5`,
      author: 'bob',
      method: 'llm: describe',
      score: 0.25,
    })
    expect(written.headers.location).toBe(`/v1/explanations/${made.id}`)
    expect((await get(server.app, `/v1/explanations/${made.id}`)).json()).toEqual(made)

    const found = await get(server.app, '/v1/explanations?text=bicycle%20wheel')
    expect(found.json()).toMatchObject({ totalCount: 1, items: [made] })
    expect((await get(server.app, `/v1/saes/${INDEXED_SAE}/features/5`)).json().explanations).toMatchObject([{ id: made.id }])

    expect((await remove(`/v1/explanations/${made.id}`)).json()).toEqual(made)
    expect((await remove(`/v1/explanations/${made.id}`)).json()).toMatchObject({ code: 'EXPLANATION_UNKNOWN', status: 404 })
    expect((await get(server.app, '/v1/explanations?text=bicycle')).json().totalCount).toBe(0)
  })

  test('of a person have the method "human" and no score', async () => {
    const made = (await explain(6, { text: 'stripes' })).json()
    expect(made).toMatchObject({ method: 'human', score: null })
    await remove(`/v1/explanations/${made.id}`)
  })

  test('are listed by feature, author and SAE, newest first, page by page without repeating or leaving out', async () => {
    const ids: string[] = []
    for (let n = 0; n < 5; n++) ids.unshift((await explain(7, { text: `striped thing ${n}`, author: 'carol' })).json().id)
    const seen: string[] = []
    let cursor = ''
    do {
      const page = (await get(server.app, `/v1/explanations?sae=${INDEXED_SAE}&index=7&author=carol&limit=2${cursor}`)).json()
      expect(page.totalCount).toBe(5)
      seen.push(...page.items.map(({ id }: { id: string }) => id))
      cursor = page.nextCursor === null ? '' : `&cursor=${page.nextCursor}`
    } while (cursor)
    expect([...seen].sort()).toEqual([...ids].sort())
    const words: string[] = []
    do {
      const page = (await get(server.app, `/v1/explanations?text=thing&limit=2${cursor}`)).json()
      words.push(...page.items.map(({ id }: { id: string }) => id))
      cursor = page.nextCursor === null ? '' : `&cursor=${page.nextCursor}`
    } while (cursor)
    expect([...words].sort()).toEqual([...ids].sort())
    expect((await get(server.app, '/v1/explanations?model=elsewhere')).json().totalCount).toBe(0)
    expect((await get(server.app, '/v1/explanations?model=dino-vitb16&author=carol')).json().totalCount).toBe(5)
  })

  test('with an Idempotency-Key are written once, and the key is held to its content', async () => {
    const headers = { 'idempotency-key': 'once' }
    const first = (await explain(8, { text: 'dots' }, headers)).json()
    expect((await explain(8, { text: 'dots' }, headers)).json()).toEqual(first)
    expect((await explain(8, { text: 'other dots' }, headers)).json()).toMatchObject({ code: 'IDEMPOTENCY_KEY_INVALID', status: 422 })
    expect((await get(server.app, '/v1/explanations?text=dots')).json().totalCount).toBe(1)
  })

  test('of what does not exist are refused', async () => {
    expect((await explain(40, { text: 'x' })).json()).toMatchObject({ code: 'FEATURE_UNKNOWN', status: 404 })
    expect((await post(server.app, '/v1/saes/nothing/features/1/explanations', { text: 'x', author: 'a' })).json().code).toBe('SAE_UNKNOWN')
    expect((await explain(1, { text: '' })).json().errors[0].path).toBe('text')
    expect((await post(server.app, `/v1/saes/${PUBLISHED_SAE}/features/1/explanations`, { text: 'x' })).json().errors).toEqual([
      { path: 'author', message: 'is missing' },
    ])
  })

  test('a body is not converted, and does not say again what the path says', async () => {
    expect((await explain(1, { text: 'x', score: '0.5' })).json().errors[0].path).toBe('score')
    expect((await explain(1, { text: 'x', index: 2 })).json()).toMatchObject({
      code: 'INPUT_INVALID',
      detail: expect.stringContaining('index (body)'),
    })
  })

  test('are the same in GraphQL', async () => {
    const { data, errors } = await graphql(
      server.app,
      `mutation ($sae: ID!) { createExplanation(sae: $sae, index: 9, text: "branches", author: "dora", score: 1) { id feature text method score } }`,
      { sae: INDEXED_SAE },
    )
    expect(errors).toEqual([])
    const { id } = data.createExplanation
    const listed = await graphql(server.app, '{ explanations(text: "branch", first: 1) { totalCount edges { node { id author } } } }')
    expect(listed.data.explanations).toEqual({ totalCount: 1, edges: [{ node: { id, author: 'dora' } }] })
    expect((await graphql(server.app, `mutation { deleteExplanation(id: "${id}") { text } }`)).data).toEqual({
      deleteExplanation: { text: 'branches' },
    })
  })
})

describe('vectors', () => {
  const model = testModels.clip
  const hookPoint = 'blocks.1.hook_resid_post'
  let width: number
  beforeAll(async () => {
    const hooks = (await get(server.app, `/v1/models/${model}/hooks`)).json().items as { name: string; shape: number[] }[]
    width = hooks.find(({ name }) => name === hookPoint)!.shape.at(-1)!
  })
  const numbers = (seed: number) => Array.from({ length: width }, (_, d) => Math.fround(Math.sin(seed + d)))
  const create = (body: object) => post(server.app, '/v1/vectors', { model, hookPoint, ...body })

  test('are kept, listed, read back to the bit, and forgotten', async () => {
    const made = await create({ id: 'red', values: numbers(1), description: 'red less green' })
    expect(made.statusCode).toBe(201)
    expect(made.headers.location).toBe('/v1/vectors/red')
    expect(made.json()).toMatchObject({ id: 'red', model, hookPoint, length: width, description: 'red less green' })
    expect(made.json().norm).toBeCloseTo(Math.hypot(...numbers(1)), 4)
    const read = (await get(server.app, '/v1/vectors/red')).json()
    expect(read.values).toMatchObject({ shape: [width], dtype: 'float32' })
    expect(read.values.data.map(Math.fround)).toEqual(numbers(1))
    expect((await get(server.app, '/v1/vectors/red', { accept: 'application/x-npz' })).statusCode).toBe(200)
    expect((await get(server.app, `/v1/vectors?model=${model}&hookPoint=${hookPoint}`)).json()).toMatchObject({
      totalCount: 1,
      items: [made.json()],
    })
    expect((await remove('/v1/vectors/red')).json()).toEqual(made.json())
    expect((await get(server.app, '/v1/vectors/red')).json()).toMatchObject({ code: 'VECTOR_UNKNOWN', status: 404 })
  })

  test('without an id have one that follows from their content, and the same twice is one', async () => {
    const first = (await create({ values: numbers(2) })).json()
    expect((await create({ values: numbers(2) })).json().id).toBe(first.id)
    expect((await create({ values: numbers(3) })).json().id).not.toBe(first.id)
    expect((await create({ id: first.id, values: numbers(4) })).json()).toMatchObject({ code: 'INPUT_INVALID', status: 400 })
  })

  test('that fit no hook point are refused', async () => {
    expect((await create({ values: [1, 2, 3] })).json().errors[0]).toMatchObject({
      path: 'values',
      message: expect.stringContaining(`needs ${width}`),
    })
    expect((await create({ values: numbers(1), hookPoint: 'blocks.1.hook_resid_pots' })).json()).toMatchObject({
      code: 'HOOK_POINT_UNKNOWN',
    })
    expect((await create({ values: numbers(1), id: 'Not a slug' })).json().errors[0].path).toBe('id')
    expect((await create({ values: numbers(1), model: 'nothing' })).json().code).toBe('MODEL_UNKNOWN')
  })

  test('are the same in GraphQL', async () => {
    const { data, errors } = await graphql(
      server.app,
      'mutation ($model: ID!, $hookPoint: String!, $values: [Float!]!) { createVector(id: "green", model: $model, hookPoint: $hookPoint, values: $values) { id length } }',
      { model, hookPoint, values: numbers(5) },
    )
    expect(errors).toEqual([])
    expect(data.createVector).toEqual({ id: 'green', length: width })
    const read = await graphql(server.app, '{ vector(id: "green") { values { data } } vectors(first: 5) { edges { node { id } } } }')
    expect(read.data.vector.values.data.map(Math.fround)).toEqual(numbers(5))
    expect(read.data.vectors.edges).toContainEqual({ node: { id: 'green' } })
    expect((await graphql(server.app, 'mutation { deleteVector(id: "green") { id } }')).data).toEqual({ deleteVector: { id: 'green' } })
  })
})

test('to write and to take away needs a key with that right, where there are keys', async () => {
  const keys = { read: await server.addKey('read'), write: await server.addKey('write', 'read') }
  const app = await server.another({})
  const as = (key: keyof typeof keys) => ({ authorization: `Bearer ${keys[key]}` })
  const url = `/v1/saes/${INDEXED_SAE}/features/1/explanations`
  expect((await post(app, url, { text: 'x', author: 'a' }, as('read'))).json().code).toBe('FORBIDDEN')
  const made = await post(app, url, { text: 'allowed', author: 'a' }, as('write'))
  expect(made.statusCode).toBe(201)
  const takeAway = (key: keyof typeof keys) => app.inject({ method: 'DELETE', url: `/v1/explanations/${made.json().id}`, headers: as(key) })
  expect((await takeAway('read')).json().code).toBe('FORBIDDEN')
  expect((await takeAway('write')).statusCode).toBe(200)
  expect((await post(app, '/v1/vectors', { model: testModels.clip, hookPoint: 'x', values: [1] }, as('read'))).json().code).toBe(
    'FORBIDDEN',
  )
})
