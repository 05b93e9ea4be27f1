/** The catalog of SAEs at both doors: lists, features with their pictures, metrics, data sets. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { metricDefinitions } from '../../src/engine/evaluation/metric-definitions.js'
import { aFeature, features } from '../catalog/a-feature.js'
import { countingStatements } from './counting-statements.js'
import { addIndexedSae, PUBLISHED_SAE as PUBLISHED, INDEXED_SAE as SAE } from './indexed-sae.js'
import { get, graphql, startTestServer, type TestServer } from './test-server.js'

let server: TestServer
beforeAll(async () => {
  server = await startTestServer()
  await addIndexedSae(server.catalog)
})
afterAll(() => server.close())

const answer = async (url: string) => {
  const response = await get(server.app, url)
  expect(response.statusCode, response.body).toBe(200)
  return response.json()
}
const refusal = async (url: string) => {
  const response = await get(server.app, url)
  return { status: response.statusCode, ...response.json() }
}

describe('SAEs', () => {
  test('are listed with their numbers, what these are, and how to fetch what is not here', async () => {
    const page = await answer('/v1/saes?model=clip-vit-b-32-datacomp-xl&layer=9&sort=explainedVariance&order=desc&limit=3')
    expect(page.totalCount).toBe(7)
    expect(page.items).toHaveLength(3)
    const numbers = page.items.map((sae: { headlines: { explainedVariance: { value: number } } }) => sae.headlines.explainedVariance.value)
    expect(numbers).toEqual([...numbers].sort((a, b) => b - a))
    expect(await answer(`/v1/saes/${PUBLISHED}`)).toMatchObject({
      ...{
        id: PUBLISHED,
        model: 'clip-vit-b-32-datacomp-xl',
        status: 'published',
        architecture: 'standard',
        positions: 'all',
        width: 49_152,
      },
      headlines: { explainedVariance: { value: 98.2, metric: 'prisma/explained-variance', source: 'published' } },
      provenance: { kind: 'hub', revision: '9ec4ff364c08d2413b59e8e87b55c07bd4f1096a' },
      fetch: { command: `refract import ${PUBLISHED}`, source: PUBLISHED },
      ...{ weightsSha256: null, files: [], rulesUsed: [], featureSets: [] },
    })
  })

  test('that were published are no models that can be run', async () => {
    const { items } = await answer('/v1/models?limit=100')
    expect(items.map(({ id }: { id: string }) => id)).not.toContain('clip-vit-b-32-datacomp-xl')
    expect(await refusal('/v1/models/clip-vit-b-32-datacomp-xl')).toMatchObject({
      ...{ status: 409, code: 'MODEL_NOT_DOWNLOADED' },
      detail: expect.stringContaining('refract import laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K'),
    })
  })

  test('follow each other by cursor, the same in GraphQL', async () => {
    const first = await answer('/v1/saes?suite=clip-b32-vanilla-cls&sort=l0&limit=5')
    const second = await answer(`/v1/saes?suite=clip-b32-vanilla-cls&sort=l0&limit=5&cursor=${first.nextCursor}`)
    const query = `query ($after: String) { saes(suite: "clip-b32-vanilla-cls", sort: l0, first: 5, after: $after) {
      totalCount pageInfo { hasNextPage } edges { cursor node { id headlines { l0 { value } } } } } }`
    const { data, errors } = await graphql(server.app, query, { after: first.nextCursor })
    expect(errors).toEqual([])
    expect(data.saes.edges.map(({ node }: { node: { id: string } }) => node.id)).toEqual(second.items.map(({ id }: { id: string }) => id))
    expect(data.saes).toMatchObject({ totalCount: 12, pageInfo: { hasNextPage: true } })
  })

  test.each([
    ['/v1/saes?minExplainedVariance=0.9', /minExplainedVariance.*less than 1/],
    ['/v1/saes?architecture=vanilla', /architecture.*"standard"/],
    ['/v1/saes?layr=9', /layr.*Did you mean "layer"/],
    ['/v1/saes?sort=explained', /sort.*explainedVariance/],
    ['/v1/saes?cursor=abc', /not a cursor/],
  ])('%s is refused', async (url, message) => {
    const problem = await refusal(url)
    expect(problem.status).toBe(400)
    expect(problem.detail).toMatch(message)
  })

  test('that nobody knows are refused with the nearest that are', async () => {
    for (const id of [PUBLISHED.replace('resid', 'reside'), 'x', `${PUBLISHED}\u0000`]) {
      expect(await refusal(`/v1/saes/${encodeURIComponent(id)}`)).toMatchObject({ status: 404, code: 'SAE_UNKNOWN' })
    }
    expect((await refusal(`/v1/saes/${PUBLISHED.replace('resid', 'reside')}`)).detail).toContain(PUBLISHED)
  })
})

describe('features', () => {
  const url = `/v1/saes/${SAE}/features`

  test('are sorted and filtered by statistics, with their top pictures', async () => {
    const all = [...features()]
    const bound = all[5]!.mean!
    const page = await answer(`${url}?sort=max&order=desc&minMean=${bound}&examples=2&limit=5`)
    const wanted = all.filter(({ mean }) => mean !== null && mean >= bound).sort((a, b) => b.max! - a.max! || a.index - b.index)
    expect(page.totalCount).toBe(wanted.length)
    expect(page.items.map(({ index }: { index: number }) => index)).toEqual(wanted.slice(0, 5).map(({ index }) => index))
    const [{ id, examples }] = page.items
    expect(id).toBe(`${SAE}/${wanted[0]!.index}`)
    const top = wanted[0]!.examples.filter(({ kind, token }) => kind === 'top' && token === 'patch')
    expect(examples).toEqual(
      top.slice(0, 2).map(({ item, position, score }, n) => ({
        imageUrl: `/v1/images/sha256:${item}`,
        heatmapUrl: `/v1/saes/${id}/examples/${n}/heatmap.png?kind=top&token=patch&dataset=pictures`.replace(`${SAE}/`, `${SAE}/features/`),
        ...{ kind: 'top', token: 'patch', score, position, item, name: `${item}.png`, image: `sha256:${item}` },
        patch: { row: Math.floor((position - 1) / 7), col: (position - 1) % 7 },
        label: ['cat', 'dog'][item % 2],
      })),
    )
  })

  test('are found by what is said of them', async () => {
    const { items } = await answer(`${url}?text=apple`)
    expect(items).toMatchObject([{ index: 3, explanations: [{ text: 'red apples', author: 'ada', method: 'human', score: 0.5 }] }])
  })

  test('say everything one by one, in both doors', async () => {
    const feature = await answer(`${url}/7`)
    const given = aFeature(7)
    expect(feature.statistics.density).toBe(given.density)
    expect(feature.examples).toHaveLength(given.examples.length)
    expect(feature.neighbours).toEqual(given.neighbours.map(({ index, value }) => ({ id: `${SAE}/${index}`, index, value })))
    expect(feature.histogram).toEqual({
      edges: [0.03125, 0.0390625, 0.046875, 0.0546875, 0.0625, 0.078125, 0.09375],
      counts: [1, 2, 3, 4, 5, 6],
    })
    const query = '{ node(id: "ID") { __typename ... on Feature { id index histogram { edges counts } labels { name value } } } }'
    const { data, errors } = await graphql(server.app, query.replace('ID', `${SAE}/7`))
    expect(errors).toEqual([])
    expect(data.node).toMatchObject({ __typename: 'Feature', id: `${SAE}/7`, index: 7, histogram: feature.histogram })
  })

  test.each([
    [`${url}/40`, 404, 'FEATURE_UNKNOWN', '0 to 39'],
    [`${url}/-1`, 400, 'INPUT_INVALID', 'less than 0'],
    [`${url}?dataset=other`, 404, 'FEATURES_UNKNOWN', '"pictures"'],
    [`/v1/saes/${PUBLISHED}/features`, 404, 'FEATURES_UNKNOWN', 'Index it'],
    ['/v1/saes/a.b.c/features', 404, 'SAE_UNKNOWN', 'a.b.c'],
    [`${url}?sort=maximum`, 400, 'INPUT_INVALID', 'max'],
    [`${url}?minDensty=1`, 400, 'INPUT_INVALID', 'Did you mean "minDensity"'],
  ])('%s is refused', async (path, status, code, detail) => {
    expect(await refusal(path)).toMatchObject({ status, code, detail: expect.stringContaining(detail) })
  })

  test('of an SAE with examples take at most four statements in one query, the first time', async () => {
    const statements = await countingStatements(async () => {
      const query = `query ($id: ID!) { sae(id: $id) { id metrics { metric value } featureSets { dataset }
        features(first: 40, sort: max, order: desc, minDensity: 0, examples: 8) { totalCount edges { node {
          id index statistics { density max mean labelEntropy } explanations { text }
          examples { image score label patch { row col } } } } } } }`
      const { data, errors } = await graphql(server.app, query, { id: SAE })
      expect(errors).toEqual([])
      expect(data.sae.features.edges).toHaveLength(40)
      expect(data.sae.features.edges[0].node.examples).toHaveLength(4)
    })
    expect(statements.length, statements.join('\n')).toBeLessThanOrEqual(4)
    expect(statements.length).toBeGreaterThan(1)
  })
})

test('the registry says what every number is, to the formula', async () => {
  const { items } = await answer('/v1/metrics')
  expect(items.map(({ id }: { id: string }) => id)).toEqual(metricDefinitions.map(({ id }) => id))
  const { data, errors } = await graphql(server.app, '{ metrics { items { id version formula unit family inferred } } }')
  expect(errors).toEqual([])
  const asRest = ({ unit, family, ...rest }: { unit: string; family: string }) => ({
    ...rest,
    ...{ unit: unit.replaceAll('_', '-'), family: family.replaceAll('_', '-') },
  })
  expect(items).toMatchObject(data.metrics.items.map(asRest))
})

test('data sets are listed, and one that is only known by name says so', async () => {
  expect((await answer('/v1/datasets')).items.map(({ id }: { id: string }) => id)).toEqual(['imagenet-1k-validation', 'pictures'])
  expect(await answer('/v1/datasets/imagenet-1k-validation')).toMatchObject({ hash: null, nItems: 50_000, nClasses: 0 })
  expect(await answer('/v1/datasets/pictures')).toMatchObject({ classNames: ['cat', 'dog'], nItems: 100 })
  expect(await refusal('/v1/datasets/picture')).toMatchObject({
    status: 404,
    code: 'DATASET_UNKNOWN',
    detail: expect.stringContaining('"pictures"'),
  })
})
