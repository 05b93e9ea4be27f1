/** Sweeps over both doors, in every form. (That the numbers are those of edits is shown in test/engine/analyses/sweep.test.ts.) */

import path from 'node:path'
import { tableFromIPC } from 'apache-arrow'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { importSae } from '../../src/catalog/import/import-sae.js'
import { bytesSource } from '../../src/engine/io/byte-source.js'
import { readNpz } from '../../src/engine/io/npz.js'
import { describeSae } from '../../src/engine/saes/load-sae.js'
import { ARROW, NPZ, SVG } from '../../src/server/negotiate.js'
import { featureFolder } from '../engine/saes/feature-goldens.js'
import { graphql, picture, post, startTestServer, type TestServer, testModels, upload } from './test-server.js'

const { clip, classifier } = testModels
const sae = `${clip}.1-resid-post.relu`
const hookPoint = 'blocks.0.hook_resid_post'

let server: TestServer
let images: string[]

beforeAll(async () => {
  server = await startTestServer()
  images = await Promise.all([1, 2, 3].map(async (seed) => (await upload(server.app, await picture(seed))).json().id))
  await importSae({
    ...{ source: path.join(featureFolder, 'relu'), id: sae, model: clip, catalog: server.catalog },
    config: { dataDir: server.config.dataDir, hubEndpoint: '', hubToken: '', hubHome: '', hubCache: '' },
    inspectSae: (each) => describeSae(each.folder, { overrides: each.overrides }),
  })
})
afterAll(() => server.close())

const width = async (model: string) => {
  const { description } = (await server.catalog.models.get(model))!
  return description.vision.hookPoints.find(({ name }) => name === hookPoint)!.shape.at(-1) as number
}
const vector = async (model: string) => Array.from({ length: await width(model) }, (_, at) => Math.sin(at + 1))

const inputsOf = (ids: readonly string[]) => ids.map((image) => ({ image }))

async function request(more: object = {}): Promise<object> {
  return {
    model: clip,
    inputs: inputsOf(images.slice(0, 2)),
    directions: [{ vector: { sae, feature: 3 } }, { vector: await vector(clip), hookPoint, label: 'mine' }],
    strengths: [-2, 0, 1, 4],
    positions: ['all', 'cls'],
    classify: { labels: ['cat', 'dog', 'flag'] },
    controls: 5,
    ...more,
  }
}

async function sweep(more: object = {}) {
  const response = await post(server.app, '/v1/steer/sweep', await request(more))
  expect(response.json()).not.toHaveProperty('code')
  expect(response.statusCode).toBe(200)
  return response.json()
}

const problemsOf = async (more: object) => {
  const response = await post(server.app, '/v1/steer/sweep', await request(more))
  const { code, detail, errors = [] } = response.json()
  return { status: response.statusCode, code, detail, paths: errors.map((each: { path: string }) => each.path) }
}

describe('a sweep', () => {
  test('has a curve for each direction, choice of positions and target, and the scores of forward passes in it', async () => {
    const answer = await sweep({ controlImages: images.slice(2) })
    expect(answer.directions).toMatchObject([
      { label: `${sae}/3`, hookPoint: 'blocks.1.hook_resid_post' },
      { label: 'mine', hookPoint },
    ])
    expect(answer.targets).toEqual(['cat', 'dog', 'flag'])
    expect(answer.curves).toHaveLength(2 * 2 * 3)
    expect(answer.scores.shape).toEqual([2, 2, 2, 4, 3])
    expect(answer.estimate.points).toBe(2 * 2 * 2 * 4 + 2 * 2 * 5 * 2 * 4 + 2 * 2 * 4)
    const edit = { hookPoint, op: 'add', vector: await vector(clip), strength: 4, positions: 'cls' }
    const forward = await post(server.app, '/v1/forward', {
      ...{
        model: clip,
        inputs: inputsOf(images.slice(0, 2)),
        edits: [edit],
        classify: { labels: ['cat', 'dog', 'flag'] },
      },
    })
    const { classes } = forward.json()
    const logits = classes.map((of: { label: string; logit: number }[]) => of.find(({ label }) => label === 'dog')!.logit)
    for (const [image, logit] of logits.entries()) expect(answer.scores.data[image][1][1][3][1]).toBeCloseTo(logit, 3)
    const curve = answer.curves.find(
      ({ direction, positions, target }: Record<string, number>) => direction === 1 && positions === 1 && target === 1,
    )
    expect(curve.scores[3]).toBeCloseTo((logits[0] + logits[1]) / 2, 3)
    expect(curve.scores[1]).toBeCloseTo(curve.default, 5)
    expect(curve.controls.beaten.every((share: number) => share >= 0 && share <= 1)).toBe(true)
    expect(answer.collateral).toHaveLength(4)
    expect(answer.collateral[0].scoreChange[1]).toBeCloseTo(0, 5)
    expect(answer.collateral[0].scoreChange[3]).toBeGreaterThan(0)
  })

  test('is the same for the same seed, and compares with other directions for another', async () => {
    const [a, b, c] = [await sweep(), await sweep(), await sweep({ seed: 1 })]
    expect(b.curves).toEqual(a.curves)
    expect(c.curves[0].scores).toEqual(a.curves[0].scores)
    expect(c.curves[0].controls.median).not.toEqual(a.curves[0].controls.median)
  })

  test('comes as a table, as arrays and as a plot', async () => {
    const body = await request()
    const arrow = await post(server.app, '/v1/steer/sweep', body, { accept: ARROW })
    const table = tableFromIPC(arrow.rawPayload)
    expect(table.numRows).toBe(2 * 2 * 2 * 4 * 3)
    const row = table.get(table.numRows - 1)!.toJSON()
    expect(row).toMatchObject({ image: 1, direction: 'mine', positions: 'cls', strength: 4, target: 'flag' })
    const npz = await readNpz(bytesSource((await post(server.app, '/v1/steer/sweep', body, { accept: NPZ })).rawPayload), 'sweep.npz')
    expect(npz.get('score')!.data.at(-1)).toBe(row.score)
    expect(npz.get('direction')!.data.at(-1)).toBe(1)
    const svg = await post(server.app, '/v1/steer/sweep', body, { accept: SVG })
    expect(svg.headers['content-type']).toContain(SVG)
    expect(svg.body).toMatch(/^<svg/)
    expect(svg.body).toContain('mine')
  })

  test('of features moves their latents, as edits of them do', async () => {
    const directions = [{ vector: { sae, feature: 3 } }]
    const labels = ['cat', 'dog', 'flag']
    for (const op of ['feature-add', 'feature-set']) {
      const { curves } = await sweep({ op, directions, inputs: inputsOf(images.slice(0, 1)) })
      const edit = { sae, op, features: [op === 'feature-add' ? { feature: 3, strength: 4 } : { feature: 3, value: 4 }] }
      const body = { model: clip, inputs: [{ image: images[0] }], edits: [edit], classify: { labels } }
      const [classes] = (await post(server.app, '/v1/forward', body)).json().classes
      for (const [target, label] of labels.entries()) {
        expect(curves[target].scores[3]).toBeCloseTo(classes.find((each: { label: string }) => each.label === label).logit, 3)
      }
    }
  })

  test('says the same over GraphQL', async () => {
    const answer = await sweep()
    const { data, errors } = await graphql(
      server.app,
      `query ($input: SteerSweepInput!) {
        steerSweep(input: $input) {
          curves { direction positions target scores slope halfEffectStrength controls { shareBeaten } }
          estimate { points } plot
        }
      }`,
      { input: await request({ plot: true }) },
    )
    expect(errors).toEqual([])
    expect(data.steerSweep.curves[5]).toEqual({
      ...{ direction: answer.curves[5].direction, positions: answer.curves[5].positions, target: answer.curves[5].target },
      ...{ scores: answer.curves[5].scores, slope: answer.curves[5].slope, halfEffectStrength: answer.curves[5].halfEffectStrength },
      controls: { shareBeaten: answer.curves[5].controls.shareBeaten },
    })
    expect(data.steerSweep.plot).toContain('<svg')
  })

  test('of a classifier has the probabilities of its classes', async () => {
    const answer = await sweep({
      ...{ model: classifier, classify: undefined, targets: [{ class: 1 }, { difference: [{ class: 0 }, { class: 2 }] }] },
      directions: [{ vector: await vector(classifier), hookPoint }],
    })
    expect(answer.curves[0].probabilities).toHaveLength(4)
    expect(answer.curves[1].probabilities).toBeNull()
    expect(answer.divergences.shape).toEqual([2, 1, 2, 4])
  })
})

describe('numbers beyond bounds', () => {
  test('are null in curves and drawn as nothing, never an error', async () => {
    const answer = await sweep({ strengths: [1, 1e30], plot: true, controls: 2 })
    for (const { scores } of answer.curves) {
      expect(scores[0]).toEqual(expect.any(Number))
      expect(scores[1] === null || Number.isFinite(scores[1])).toBe(true)
    }
    expect(answer.plot).not.toContain('NaN')
    expect(answer.positions).toEqual(['all', 'cls'])
  })
})

describe('what a sweep refuses', () => {
  test('all that is wrong, at once, with paths', async () => {
    const { code, status, paths } = await problemsOf({
      directions: [
        { vector: [1, 2, 3], hookPoint },
        { vector: await vector(clip), hookPoint: 'blocks.7.hook_resid_post' },
        { vector: [1] },
      ],
      positions: ['all', [9999]],
      targets: [{ class: 'nothing' }],
    })
    expect(status).toBe(400)
    expect(code).toBe('INPUT_INVALID')
    expect(paths).toEqual(
      expect.arrayContaining([
        'directions[0].vector',
        'directions[1].hookPoint',
        'directions[2].hookPoint',
        'positions[1]',
        'targets[0].class',
      ]),
    )
  })

  test.each([
    ['a strength beyond float32', { strengths: [1, 3e38], directions: [{ vector: Array(16).fill(2), hookPoint }] }, 'strengths[1]'],
    ['norms of features', { op: 'feature-add', unit: 'norm', directions: [{ vector: { sae, feature: 3 } }] }, 'unit'],
    ['features that are none', { op: 'feature-set', directions: [{ vector: [1], hookPoint }] }, 'directions[0].vector'],
    ['labels of a model that reads no text', { model: classifier, directions: [{ vector: [1], hookPoint }] }, 'classify'],
    ['heads where there are none', { heads: [0] }, 'heads'],
    ['nothing to look at', { classify: undefined }, 'targets'],
  ])('%s', async (_, more, at) => {
    const { status, paths } = await problemsOf(more)
    expect(status).toBe(400)
    expect(paths).toContain(at)
  })

  test('a feature that its SAE does not have, and an SAE that is not there', async () => {
    expect(await problemsOf({ directions: [{ vector: { sae, feature: 10_000 } }] })).toMatchObject({ code: 'FEATURE_UNKNOWN' })
    expect(await problemsOf({ directions: [{ vector: { sae: 'nothing', feature: 1 } }] })).toMatchObject({ code: 'SAE_UNKNOWN' })
  })

  test('what would take too long, with what it would take', async () => {
    const strengths = Array.from({ length: 1001 }, (_, at) => at / 100)
    const slow = await server.another({
      host: {
        analyse: async (...given) => {
          await new Promise((resolve) => setTimeout(resolve, 100))
          return server.host.analyse(...given)
        },
      },
    })
    const response = await post(slow, '/v1/steer/sweep', await request({ strengths, controls: 100 }), { accept: NPZ })
    expect(response.statusCode).toBe(422)
    expect(response.json()).toMatchObject({ code: 'LIMIT_EXCEEDED' })
    expect(response.json().detail).toMatch(
      /Seconds that \d+ points would take, at [\d.]+ ms for each: [\d.]+ (minutes|hours).*"sweepSeconds" of 60.*job/,
    )
  })
})
