/** Comparisons and weights over both doors. (That the numbers are SciPy's and NumPy's is shown in test/engine/analyses.) */

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { saeSource } from '../../src/catalog/sae-source.js'
import { bytesSource } from '../../src/engine/io/byte-source.js'
import { readNpz } from '../../src/engine/io/npz.js'
import type { Tensor } from '../../src/engine/tensor.js'
import type { ComparedFeature } from '../../src/operations/schemas/compare.js'
import { NPZ } from '../../src/server/negotiate.js'
import { addGoldenSaes } from './golden-saes.js'
import { get, graphql, picture, post, startTestServer, type TestServer, testModels, upload } from './test-server.js'

const { clip } = testModels
const saes = {
  relu: `${clip}.1-resid-post.relu`,
  gated: `${clip}.1-resid-post.gated`,
  topk: `${clip}.0-mlp-out.topk`,
  jumprelu: `${clip}.0-attn-z.jumprelu`,
}
const WIDTH = 40

let server: TestServer
let images: string[]

beforeAll(async () => {
  server = await startTestServer()
  images = []
  for (const seed of [1, 2, 3, 4, 5, 6, 7, 8, 9]) images.push((await upload(server.app, await picture(seed))).json().id)
  await addGoldenSaes(server, saes)
  const items = images.map((imageId, index) => ({
    name: `${index}.png`,
    imageId,
    label: index % 2,
    facets: { group: index < 4 ? 'first' : 'second', index },
  }))
  const about = { description: null, license: null, classNames: ['even', 'odd'] }
  await server.catalog.datasets.register({ id: 'pictures', name: 'Pictures', hash: 'd'.repeat(64), items, ...about })
  const many = Array.from({ length: 600 }, (_, index) => ({ name: `${index}.png`, imageId: images[index % 9]!, label: 0 }))
  await server.catalog.datasets.register({ id: 'many', name: 'Many', hash: 'e'.repeat(64), items: many, ...about })
  await server.catalog.explanations.add({ saeId: saes.relu, index: 0, text: 'zeroth', author: 'ada', method: 'human', score: null })
})
afterAll(() => server.close())

const sets = () => ({ a: { images: images.slice(0, 4) }, b: { images: images.slice(4, 9) } })

async function ask(url: string, body: object) {
  const response = await post(server.app, url, body)
  expect(response.json()).not.toHaveProperty('code')
  return response.json()
}

async function refusal(url: string, body: object): Promise<{ status: number; code: string; detail: string; errors?: { path: string }[] }> {
  const response = await post(server.app, url, body)
  return { ...response.json(), status: response.statusCode }
}

/** `[image][feature]`: the largest activation over all positions. */
async function largestActivations(sae: string): Promise<number[][]> {
  const answer = await ask('/v1/features', {
    saes: [sae],
    inputs: images.map((image) => ({ image })),
    positions: 'all',
    topK: 0,
    imageTopK: WIDTH,
  })
  return answer.saes[0].perImage.map((row: { feature: number; activation: number }[]) => {
    const dense = Array<number>(WIDTH).fill(0)
    for (const { feature, activation } of row) dense[feature] = activation
    return dense
  })
}

async function decoderOf(id: string): Promise<Tensor<'float32'>> {
  const { download } = (await server.catalog.saes.get(id))!
  const latents = Array.from({ length: WIDTH }, (_, latent) => latent)
  return server.host.decoderRows({ sae: saeSource({ id, download: download! }), latents })
}

const rowOf = ({ shape, data }: Tensor<'float32'>, row: number) => data.subarray(row * shape[1]!, (row + 1) * shape[1]!)

function addTo(sum: Float64Array, vector: ArrayLike<number>, factor: number): void {
  for (let at = 0; at < sum.length; at++) sum[at]! += factor * vector[at]!
}

describe('two sets of images', () => {
  test('are told apart by features whose numbers are those of their activations', async () => {
    const answer = await ask('/v1/compare/images', { saes: [saes.relu], ...sets(), positions: 'all', topK: WIDTH, minFrequency: 0 })
    const [found] = answer.saes
    const values = await largestActivations(saes.relu)
    expect(answer.images).toEqual({ a: 4, b: 5 })
    expect(found.features.length).toBe(found.nTested)
    for (const { index, auroc, a, b } of found.features as ComparedFeature[]) {
      const [ofA, ofB] = [values.slice(0, 4).map((row) => row[index]!), values.slice(4).map((row) => row[index]!)]
      const wins: number[] = ofA.flatMap((x) => ofB.map((y) => (x > y ? 1 : x === y ? 0.5 : 0)))
      expect(auroc).toBeCloseTo(wins.reduce((sum, each) => sum + each, 0) / 20, 6)
      expect(a.mean).toBeCloseTo(ofA.reduce((sum, each) => sum + each, 0) / 4, 4)
      expect(b.frequency).toBeCloseTo(ofB.filter((each) => each > 0).length / 5, 6)
    }
    const distances = found.features.map(({ auroc }: ComparedFeature) => Math.abs(auroc - 0.5))
    expect(distances).toEqual(distances.toSorted((x: number, y: number) => y - x))
    const zeroth = found.features.find(({ index }: ComparedFeature) => index === 0)
    if (zeroth) expect(zeroth.explanations).toMatchObject([{ text: 'zeroth' }])
  })

  test('the other way round are told apart by the same features', async () => {
    const { a, b } = sets()
    const input = { saes: [saes.relu, saes.topk], topK: WIDTH, recipe: 0 }
    const [there, back] = [await ask('/v1/compare/images', { ...input, a, b }), await ask('/v1/compare/images', { ...input, a: b, b: a })]
    for (const [at, { features }] of there.saes.entries()) {
      for (const feature of features as ComparedFeature[]) {
        const other = back.saes[at].features.find(({ index }: ComparedFeature) => index === feature.index)
        expect(other.auroc).toBeCloseTo(1 - feature.auroc, 9)
      }
    }
  })

  test('make a recipe that a run takes as it is, and whose effect is judged on the images that it was not made of', async () => {
    const answer = await ask('/v1/compare/images', { saes: [saes.gated], ...sets(), recipe: 3, check: true, pooling: 'mean' })
    const [{ recipe, check, features }] = answer.saes
    expect(recipe.map(({ vector }: { vector: { feature: number } }) => vector.feature)).toEqual(
      features.slice(0, 3).map(({ index }: ComparedFeature) => index),
    )
    for (const [at, { strength }] of recipe.entries())
      expect(Math.sign(strength)).toBe(Math.sign(features[at].a.mean - features[at].b.mean))
    const edited = await ask('/v1/forward', { model: clip, inputs: [{ image: images[5] }], edits: recipe })
    const plain = await ask('/v1/forward', { model: clip, inputs: [{ image: images[5] }] })
    expect(edited.output.data).not.toEqual(plain.output.data)
    expect(check.heldOut).toEqual({ a: 2, b: 2 })
    expect(check.features.length).toBeGreaterThan(0)
    expect(check.doses.map(({ scale }: { scale: number }) => scale)).toEqual([1, 4, 16])
    for (const { score, moved } of check.doses) expect(moved).toBeCloseTo((score - check.b) / (check.a - check.b), 6)
  })

  test('make a recipe of all features that adds up to what the SAE makes of the mean of A, less that of B', async () => {
    const input = { saes: [saes.gated], ...sets(), positions: 'all', minFrequency: 0, recipe: WIDTH }
    const [{ recipe }] = (await ask('/v1/compare/images', input)).saes
    const run = { saes: [saes.gated], inputs: images.map((image) => ({ image })), positions: 'all', topK: WIDTH }
    const [{ perPosition }] = (await ask('/v1/features', run)).saes
    const rows = await decoderOf(saes.gated)
    const decoded = (some: { features: number[]; activations: number[] }[][]) => {
      const sum = new Float64Array(rows.shape[1]!)
      for (const { features, activations } of some.flat()) {
        for (const [at, feature] of features.entries()) addTo(sum, rowOf(rows, feature), activations[at]! / some.flat().length)
      }
      return sum
    }
    const expected = decoded(perPosition.slice(0, 4))
    addTo(expected, decoded(perPosition.slice(4)), -1)
    const sum = new Float64Array(expected.length)
    for (const { vector, strength } of recipe) {
      const row = rowOf(rows, vector.feature)
      addTo(sum, row, strength / Math.hypot(...row))
    }
    for (const [at, value] of expected.entries()) expect(sum[at]).toBeCloseTo(value, 4)
  })

  test('are items of a data set by facet, class and index, and samples of them the same again', async () => {
    const input = { saes: [saes.relu], topK: 5 }
    const byFacet = await ask('/v1/compare/images', {
      ...input,
      a: { dataset: 'pictures', facets: { group: 'first' } },
      b: { dataset: 'pictures', facets: { group: ['second'] } },
    })
    expect(byFacet).toEqual(await ask('/v1/compare/images', { ...input, ...sets() }))
    const byClass = { a: { dataset: 'pictures', class: 'even' }, b: { dataset: 'pictures', items: [1, 3] } }
    expect((await ask('/v1/compare/images', { ...input, ...byClass })).images).toEqual({ a: 5, b: 2 })
    const drawn = { ...input, a: { dataset: 'pictures', class: 'even', sample: 3 }, b: { dataset: 'pictures', class: 'odd' } }
    const twice = [await ask('/v1/compare/images', drawn), await ask('/v1/compare/images', drawn)]
    expect(twice[0]).toEqual(twice[1])
    expect(twice[0].images).toEqual({ a: 3, b: 4 })
  })

  test.each([
    ['a facet that nothing has', { dataset: 'pictures', facets: { gruop: 'first' } }, /did you mean "group"/],
    ['a value that nothing has', { dataset: 'pictures', facets: { group: 'fist' } }, /did you mean "first"/],
    ['a class that there is not', { dataset: 'pictures', class: 'evn' }, /did you mean "even"/],
    ['an item beyond the last', { dataset: 'pictures', items: [0, 9] }, /9 is out of range; pictures has items 0 to 8/],
    ['a single image', { dataset: 'pictures', facets: { index: 0 } }, /selects one image/],
    ['images of the other set', { dataset: 'pictures', facets: { group: 'second' } }, /2 of its 2 images are in set "a" as well/],
  ])('with %s are refused', async (_, a, message) => {
    const { status, detail } = await refusal('/v1/compare/images', { saes: [saes.relu], a, b: { images: images.slice(4, 6) } })
    expect([status, detail]).toEqual([400, expect.stringMatching(message)])
  })

  test('that are too large are refused with the numbers, unless a sample is drawn', async () => {
    const b = { images: images.slice(4, 6) }
    const tooMany = await refusal('/v1/compare/images', { saes: [saes.relu], a: { dataset: 'many' }, b })
    expect(tooMany).toMatchObject({ code: 'LIMIT_EXCEEDED', limit: { name: 'comparedImages', value: 512, given: 600 } })
    const some = await refusal('/v1/compare/images', { saes: [saes.relu], a: { dataset: 'many', items: [0, 1], sample: 2 }, b })
    expect(some.status).toBe(200)
  })

  test('that share a picture are refused, sent as a file or by its id', async () => {
    const base64 = (await picture(1)).toString('base64')
    const { detail } = await refusal('/v1/compare/images', {
      saes: [saes.relu],
      a: { images: images.slice(0, 2) },
      b: { images: [{ base64 }, images[5]] },
    })
    expect(detail).toMatch(/1 of its 2 images are in set "a" as well/)
  })

  test('of which two things are wrong are refused for both', async () => {
    const { errors } = await refusal('/v1/compare/images', {
      saes: [saes.relu],
      a: { dataset: 'nothing' },
      b: { dataset: 'pictures', class: 'x' },
    })
    expect(errors!.map((each) => each.path).sort()).toEqual(['a', 'b.class'])
  })

  test('answer the same over GraphQL', async () => {
    const query = `query ($input: CompareImagesInput!) { compareImages(input: $input) { images { a b } saes { sae nTested features { id auroc falseDiscoveryRate } recipe { vector { feature } strength unit } } } }`
    const { data, errors } = await graphql(server.app, query, { input: { saes: [saes.relu], ...sets() } })
    expect(errors).toEqual([])
    const rest = await ask('/v1/compare/images', { saes: [saes.relu], ...sets() })
    expect(data.compareImages.saes[0].features.map(({ id, auroc }: ComparedFeature) => [id, auroc])).toEqual(
      rest.saes[0].features.map(({ id, auroc }: ComparedFeature) => [id, auroc]),
    )
    expect(data.compareImages.saes[0].recipe[0].strength).toBe(rest.saes[0].recipe[0].strength)
  })
})

describe('SAEs', () => {
  test('are matched, with how stable they are, and when matched features are active', async () => {
    const answer = await ask('/v1/compare/saes', { saes: [saes.relu, saes.gated, saes.topk], images: { images }, topK: 3, full: true })
    expect(answer.pairs.map(({ a, b }: { a: string; b: string }) => [a, b])).toEqual([
      [saes.relu, saes.gated],
      [saes.relu, saes.topk],
      [saes.gated, saes.topk],
    ])
    const [pair] = answer.pairs
    expect([pair.sameHookPoint, pair.nMatched, pair.matches.length, pair.correlation.nImages]).toEqual([true, WIDTH, 3, 9])
    expect(new Set(pair.matchedLatents.data).size).toBe(WIDTH)
    expect(pair.matches[0].cosine).toBeCloseTo(Math.max(...pair.matchedCosines.data), 6)
    expect(pair.forth.meanCosine).toBeGreaterThanOrEqual(pair.matched.meanCosine)
    const cosines = [pair.forthCosines.data, answer.pairs[1].forthCosines.data]
    const mean = cosines.flat().reduce((sum: number, each: number) => sum + each, 0) / (2 * WIDTH)
    expect(answer.stability[0].mean).toBeCloseTo(mean, 6)
  })

  test('come as arrays, too', async () => {
    const response = await post(server.app, '/v1/compare/saes', { saes: [saes.relu, saes.gated], full: true }, { accept: NPZ })
    const arrays = await readNpz(bytesSource(response.rawPayload), 'x.npz')
    const found = arrays.get(`${saes.relu}/${saes.gated}/matchedLatents`)
    expect([found?.dtype, found?.shape]).toEqual(['int32', [WIDTH]])
    const without = await post(server.app, '/v1/compare/saes', { saes: [saes.relu, saes.gated] }, { accept: NPZ })
    expect([without.statusCode, without.json().errors[0].path]).toEqual([400, 'full'])
  })

  test('that there are not are refused', async () => {
    const { code, errors } = await refusal('/v1/compare/saes', { saes: [saes.relu, saes.topk, saes.jumprelu, 'none'] })
    expect(code).toBe('SAE_UNKNOWN')
    expect(errors).toHaveLength(1)
  })
})

describe('two images', () => {
  test('that are one are alike in everything', async () => {
    const answer = await ask('/v1/compare/pair', { model: clip, a: images[0], b: images[0], saes: [saes.relu] })
    expect(answer.output).toBeCloseTo(1, 6)
    expect(answer.layers.map(({ hookPoint }: { hookPoint: string }) => hookPoint)).toEqual([
      'blocks.0.hook_resid_pre',
      'blocks.0.hook_resid_post',
      'blocks.1.hook_resid_post',
    ])
    for (const { mean, byPosition } of answer.layers) for (const cosine of [mean, ...byPosition]) expect(cosine).toBeCloseTo(1, 6)
    expect(answer.saes[0]).toMatchObject({ onlyInA: 0, onlyInB: 0 })
    for (const { difference } of answer.saes[0].features) expect(difference).toBe(0)
  })

  test('differ by the features whose activations do', async () => {
    const input = { model: clip, a: images[0], b: images[1], saes: [saes.relu], positions: 'all', topK: WIDTH }
    const answer = await ask('/v1/compare/pair', input)
    const values = await largestActivations(saes.relu)
    for (const { index, a, b, difference } of answer.saes[0].features) {
      expect(a).toBeCloseTo(values[0]![index]!, 4)
      expect(b).toBeCloseTo(values[1]![index]!, 4)
      expect(difference).toBeCloseTo(a - b, 6)
    }
    const { data } = await graphql(
      server.app,
      'query ($input: CompareImagePairInput!) { compareImagePair(input: $input) { output layers { mean byPosition } } }',
      { input },
    )
    expect(data.compareImagePair.layers).toEqual(
      answer.layers.map(({ mean, byPosition }: { mean: number; byPosition: number[] }) => ({ mean, byPosition })),
    )
  })
})

describe('weights', () => {
  test('of heads: circuits of those that are asked for', async () => {
    const response = await get(server.app, `/v1/models/${clip}/weights/circuits?layer=1&head=0,3`)
    const { heads } = response.json()
    expect(heads.map(({ layer, head }: { layer: number; head: number }) => [layer, head])).toEqual([
      [1, 0],
      [1, 3],
    ])
    expect(heads[0].ov.singularValues).toHaveLength(4)
    expect((await get(server.app, `/v1/models/${clip}/weights/circuits?layer=2,1&head=4`)).json().errors).toHaveLength(2)
  })

  test('of heads: composition, with the strongest first', async () => {
    const answer = (await get(server.app, `/v1/models/${clip}/weights/composition?from=0&to=1`)).json()
    expect(answer.v.shape).toEqual([1, 4, 1, 4])
    const { from, to, kind, score, ratio } = answer.strongest[0]
    expect([from.layer, to.layer]).toEqual([0, 1])
    expect(answer[kind].data[0][to.head][0][from.head]).toBeCloseTo(score, 6)
    expect(ratio).toBeCloseTo(score * 4, 6)
  })

  test('of a decoder: its geometry, with neurons where it writes what an MLP does', async () => {
    const answer = (await get(server.app, `/v1/saes/${saes.topk}/geometry?full=true`)).json()
    expect(answer).toMatchObject({ width: WIDTH, hookPoint: 'blocks.0.hook_mlp_out', neurons: { layer: 0 } })
    expect(answer.nearest.max).toBeCloseTo(Math.max(...answer.nearestCosines.data), 6)
    expect((await get(server.app, `/v1/saes/${saes.relu}/geometry`)).json()).toMatchObject({ neurons: null, rowNorms: null })
    expect((await get(server.app, `/v1/saes/${saes.relu}/geometry?mlpLayer=7`)).json().detail).toMatch(/blocks 0 to 1/)
  })

  test('between features, and to heads', async () => {
    const edges = await ask('/v1/weights/virtual', { upstream: saes.topk, downstream: saes.relu, features: [3, 4], topK: 2 })
    expect(edges.edges.map(({ from }: { from: number }) => from)).toEqual([3, 3, 4, 4])
    const heads = await ask('/v1/weights/virtual', { upstream: saes.topk, heads: [1], features: [3], topK: 4 })
    expect(heads.readings).toHaveLength(4)
    expect(heads.q.shape).toEqual([1, 1, 4])
    const { data } = await graphql(
      server.app,
      'query ($input: VirtualWeightsInput!) { virtualWeights(input: $input) { edges { from to weight } readings { layer } } }',
      { input: { upstream: saes.topk, downstream: saes.relu, features: [3, 4], topK: 2 } },
    )
    expect(data.virtualWeights.edges.map(({ weight }: { weight: number }) => weight)).toEqual(
      edges.edges.map(({ weight }: { weight: number }) => weight),
    )
    expect(data.virtualWeights.readings).toBeNull()
  })

  test('that make no path are refused, everything at once', async () => {
    const late = await refusal('/v1/weights/virtual', { upstream: saes.relu, heads: [1, 5], features: [3, 99] })
    expect(late.errors!.map((each) => each.path).sort()).toEqual(['features[1]', 'heads', 'heads[1]'])
    expect((await refusal('/v1/weights/virtual', { upstream: saes.relu, downstream: saes.topk })).code).toBe('SAE_MISFIT')
    expect((await refusal('/v1/weights/virtual', { upstream: saes.topk })).detail).toMatch(/name an SAE that reads/)
  })
})
