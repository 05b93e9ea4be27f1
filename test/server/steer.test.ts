/** Edits on SAE features, directions that are described, and steering, over REST and GraphQL. */

import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { importSae } from '../../src/catalog/import/import-sae.js'
import { bytesSource } from '../../src/engine/io/byte-source.js'
import { fromJsonTensor } from '../../src/engine/io/json-tensor.js'
import { readNpz } from '../../src/engine/io/npz.js'
import { describeSae, loadSae } from '../../src/engine/saes/load-sae.js'
import type { Tensor } from '../../src/engine/tensor.js'
import { NPZ } from '../../src/server/negotiate.js'
import { featureFolder } from '../engine/saes/feature-goldens.js'
import { graphql, picture, post, startTestServer, type TestServer, testModels, upload } from './test-server.js'

const { clip, classifier } = testModels
const resid = 'blocks.1.hook_resid_post'
const gated = `${clip}.1-resid-post.gated`
const topk = `${clip}.0-mlp-out.topk`

let server: TestServer
let images: string[]
beforeAll(async () => {
  server = await startTestServer()
  images = await Promise.all([1, 2, 3].map(async (seed) => (await upload(server.app, await picture(seed))).json().id))
  const hub = { hubEndpoint: '', hubToken: '', hubHome: '', hubCache: '' }
  for (const [name, id] of [
    ['gated', gated],
    ['topk', topk],
  ] as const) {
    await importSae({
      ...{ source: path.join(featureFolder, name), id, model: clip, catalog: server.catalog },
      config: { dataDir: server.config.dataDir, ...hub },
      inspectSae: (sae) => describeSae(sae.folder, { overrides: sae.overrides }),
    })
  }
})
afterAll(() => server.close())

const inputs = () => images.map((image) => ({ image }))

async function forward(edits: object[], read = [resid]): Promise<Tensor<'float32'>> {
  const response = await post(server.app, '/v1/forward', { model: clip, inputs: inputs(), read, edits })
  expect(response.json()).not.toHaveProperty('code')
  return fromJsonTensor(response.json().activations[read[0]!], 'it') as Tensor<'float32'>
}

interface Refusal {
  readonly status: number
  readonly code: string
  readonly detail: string
  readonly errors?: readonly { readonly path: string; readonly message: string }[]
}

async function refused(edits: object[], more: object = {}): Promise<Refusal> {
  const response = await post(server.app, '/v1/forward', { model: clip, inputs: inputs(), edits, ...more })
  return { ...response.json(), status: response.statusCode }
}

const add = { op: 'feature-add', sae: gated, features: [{ feature: 4, strength: 2 }] }

describe('edits on features', () => {
  test('add the decoder row where the SAE writes, without saying where that is', async () => {
    const [before, after] = [await forward([]), await forward([add])]
    const { weights } = await loadSae(path.join(featureFolder, 'gated'))
    const width = before.shape[2]!
    const row = weights.W_dec!.data.slice(4 * width, 5 * width) as Float32Array
    for (const [at, value] of after.data.entries()) expect(value).toBeCloseTo(before.data[at]! + 2 * row[at % width]!, 4)
    expect((await forward([{ ...add, hookPoint: resid }])).data).toEqual(after.data)
    const direct = { hookPoint: resid, op: 'add', vector: { sae: gated, feature: 4 }, strength: 2 }
    for (const [at, value] of (await forward([direct])).data.entries()) expect(value).toBeCloseTo(after.data[at]!, 5)
  })

  test('are the same over both doors, several SAEs at once, read by an SAE', async () => {
    const edits = [
      add,
      { op: 'feature-ablate', sae: topk, features: [{ feature: 0 }, { feature: 7 }], keepError: false, positions: 'patches' },
    ]
    const rest = await post(server.app, '/v1/features', { saes: [gated], inputs: inputs(), edits, topK: 3 })
    expect(rest.statusCode).toBe(200)
    const query = `query ($input: FeaturesInput!) { features(input: $input) { saes { perPosition { features activations } } } }`
    const graphqlEdits = [
      { ...edits[0], op: 'feature_add' },
      { ...edits[1], op: 'feature_ablate' },
    ]
    const { data, errors } = await graphql(server.app, query, { input: { saes: [gated], inputs: inputs(), edits: graphqlEdits, topK: 3 } })
    expect(errors).toEqual([])
    expect(data.features.saes[0].perPosition).toEqual(rest.json().saes[0].perPosition)
    const plain = await post(server.app, '/v1/features', { saes: [gated], inputs: inputs(), topK: 3 })
    expect(plain.json().saes[0].perPosition).not.toEqual(rest.json().saes[0].perPosition)
  })

  test('run together with others of other features and strengths, and compile nothing anew', async () => {
    await forward([add])
    const { compiled } = server.host.status().programs
    await Promise.all([1, 2, 3].map((feature) => forward([{ ...add, features: [{ feature, strength: feature }] }])))
    await forward([{ ...add, features: [{ feature: 30, strength: -1 }], positions: [true, ...Array(9).fill(false)] }])
    expect(server.host.status().programs.compiled).toBe(compiled)
  })

  test.each<[string, object, string, string, RegExp]>([
    [
      'at another hook point',
      { ...add, hookPoint: 'blocks.0.hook_resid_post' },
      'EDIT_INVALID',
      'edits[0].hookPoint',
      /writes "blocks.1.hook_resid_post"/,
    ],
    ['of an SAE that is not there', { ...add, sae: 'nothing' }, 'SAE_UNKNOWN', 'edits[0].sae', /nothing/],
    [
      'of a feature that the SAE does not have',
      { ...add, features: [{ feature: 40, strength: 1 }] },
      'EDIT_INVALID',
      'edits[0].features[0].feature',
      /features 0 to 39/,
    ],
    [
      'of a feature twice',
      {
        ...add,
        features: [
          { feature: 4, strength: 1 },
          { feature: 4, strength: 2 },
        ],
      },
      'EDIT_INVALID',
      'edits[0].features[1].feature',
      /there already \(features\[0\]\)/,
    ],
    ['without strength', { ...add, features: [{ feature: 4 }] }, 'INPUT_INVALID', 'edits[0].features[0].strength', /missing/],
    [
      'with a strength of another operation',
      { ...add, features: [{ feature: 4, strength: 1, value: 1 }] },
      'INPUT_INVALID',
      'edits[0].features[0].value',
      /unknown field/,
    ],
    [
      'with bounds upside down',
      { ...add, op: 'feature-clamp', features: [{ feature: 4, min: 2, max: 1 }] },
      'EDIT_INVALID',
      'edits[0].features[0]',
      /more than "max"/,
    ],
    ['in multiples of what was never indexed', { ...add, unit: 'maxActivation' }, 'FEATURES_UNKNOWN', 'edits[0].unit', /not indexed/],
    [
      'with a mask of another length',
      { ...add, positions: [true, false] },
      'EDIT_INVALID',
      'edits[0].positions',
      /2 truth values, and there are 10 positions/,
    ],
    ['with a mask of nothing', { ...add, positions: Array(10).fill(false) }, 'EDIT_INVALID', 'edits[0].positions', /no position/],
    ['with heads', { ...add, heads: [0] }, 'INPUT_INVALID', 'edits[0].heads', /unknown field/],
  ])('%s are refused', async (_what, edit, code, where, message) => {
    const refusal = await refused([edit])
    expect(refusal.code).toBe(code)
    expect(refusal.errors![0]!.path).toBe(where)
    expect(refusal.errors![0]!.message).toMatch(message)
  })

  test('of an SAE of another model are refused, even where it would fit', async () => {
    const response = await post(server.app, '/v1/forward', { model: classifier, inputs: inputs(), edits: [add] })
    expect(response.json()).toMatchObject({
      code: 'INPUT_INVALID',
      errors: [{ path: 'edits[0].sae', message: expect.stringMatching(/is of hf-clip/) }],
    })
  })

  test('for texts are refused', async () => {
    const refusal = await refused([add], { inputs: [{ text: 'a cat' }] })
    expect(refusal).toMatchObject({ code: 'EDIT_INVALID', errors: [{ message: expect.stringMatching(/read pictures/) }] })
  })

  test('that contradict each other are refused: both say what a value is', async () => {
    const set = (value: number, positions: unknown = 'all') => ({
      op: 'feature-set',
      sae: gated,
      features: [{ feature: 1, value }],
      positions,
    })
    expect(await refused([set(1), set(2)])).toMatchObject({
      code: 'EDIT_INVALID',
      errors: [{ path: 'edits[1]', message: expect.stringMatching(/contradicts edits\[0\]: both say what feature 1 is/) }],
    })
    const zero = { hookPoint: resid, op: 'zero', positions: [3, 4] }
    expect(await refused([zero, { hookPoint: resid, op: 'set', value: 2, positions: [4] }])).toMatchObject({
      errors: [{ path: 'edits[1]' }],
    })
    expect((await refused([set(1, 'cls'), set(2, 'patches')])).status).toBe(200)
    expect((await refused([set(1), set(1)])).status).toBe(200)
  })
})

describe('directions', () => {
  const along = (vector: unknown, more: object = {}) => ({ hookPoint: resid, op: 'add', vector, strength: 1, ...more })

  test('of a text are where the score of the text grows', async () => {
    const classify = { labels: ['a cat', 'a dog'] }
    const score = async (edits: object[]) => {
      const answer = await post(server.app, '/v1/forward', { model: clip, inputs: inputs(), edits, classify, topK: 2 })
      expect(answer.json()).not.toHaveProperty('code')
      return answer
        .json()
        .classes.map((classes: { label: string; logit: number }[]) => classes.find(({ label }) => label === 'a cat')!.logit)
    }
    const before = await score([])
    const after = await score([along({ text: 'a cat' }, { unit: 'norm', strength: 2, positions: 'cls' })])
    for (const [at, logit] of after.entries()) expect(logit).toBeGreaterThan(before[at])
    const against = await score([along({ text: 'a dog', minus: 'a cat' }, { unit: 'norm', strength: 2, positions: 'cls' })])
    expect(against).not.toEqual(after)
  })

  test('of two sets of pictures are the difference of their means, at the positions of the edit', async () => {
    const before = await forward([])
    const [width, length] = [before.shape[2]!, before.shape[1]!]
    const difference = { of: [images[0], images[1]], from: [images[2]] }
    const after = await forward([along({ difference }, { positions: 'patches' })])
    const meanOf = (pictures: number[], d: number) => {
      const values = pictures.flatMap((image) =>
        Array.from({ length: length - 1 }, (_, patch) => before.data[(image * length + 1 + patch) * width + d]!),
      )
      return values.reduce((sum, value) => sum + value, 0) / values.length
    }
    for (let d = 0; d < width; d++) {
      expect(after.data[width + d]! - before.data[width + d]!).toBeCloseTo(meanOf([0, 1], d) - meanOf([2], d), 4)
      expect(after.data[d]).toBe(before.data[d])
    }
  })

  test.each<[string, object, string, RegExp]>([
    [
      'a text at a head',
      { ...along({ text: 'a cat' }), hookPoint: 'blocks.0.attn.hook_z' },
      'edits[0].vector',
      /residual stream.*not of "blocks.0.attn.hook_z"/,
    ],
    ['a text minus itself', along({ text: 'a cat', minus: 'a cat' }), 'edits[0].vector', /minus itself/],
    [
      'a picture that is not there',
      along({ difference: { of: [`sha256:${'0'.repeat(64)}`], from: [`sha256:${'0'.repeat(64)}`] } }),
      'edits[0].vector.difference.of[0]',
      /no image/,
    ],
    [
      'multiples of the largest activation of a text',
      along({ text: 'a cat' }, { unit: 'maxActivation' }),
      'edits[0].unit',
      /is of a feature/,
    ],
  ])('of %s are refused', async (_what, edit, where, message) => {
    const refusal = await refused([edit])
    expect(refusal.errors![0]!.path).toBe(where)
    expect(refusal.errors![0]!.message).toMatch(message)
  })

  test('of more pictures than one request may name are refused', async () => {
    const side = Array.from({ length: 300 }, () => images[0])
    const refusal = await refused([along({ difference: { of: side, from: side } })])
    expect(refusal).toMatchObject({
      code: 'LIMIT_EXCEEDED',
      detail: expect.stringMatching(/600 is more than the limit "differenceImages" of 512/),
    })
  })

  test('of a text are refused where there is no text tower', async () => {
    const edits = [{ ...along({ text: 'a cat' }), hookPoint: 'blocks.0.hook_resid_post' }]
    const response = await post(server.app, '/v1/forward', { model: classifier, inputs: inputs(), edits })
    expect(response.json()).toMatchObject({ errors: [{ path: 'edits[0].vector', message: expect.stringMatching(/no text tower/) }] })
  })
})

describe('steering', () => {
  const ask = (more: object = {}) => ({
    model: clip,
    inputs: inputs(),
    edits: [add],
    classify: { labels: ['a cat', 'a dog', 'a flag'] },
    ...more,
  })

  test('answers what two runs answer, and what changed between them', async () => {
    const response = await post(
      server.app,
      '/v1/steer',
      ask({ topK: 3, read: ['blocks.*.hook_resid_post'], positions: 'cls', values: true }),
    )
    const steered = response.json()
    expect(steered).not.toHaveProperty('code')
    const run = async (edits: object[]) => {
      const { model, inputs, classify } = ask()
      return (await post(server.app, '/v1/forward', { model, inputs, classify, edits, topK: 3 })).json()
    }
    const [before, after] = [await run([]), await run([add])]
    for (const [index, image] of steered.images.entries()) {
      for (const [which, classes] of [
        ['default', before.classes[index]],
        ['steered', after.classes[index]],
      ] as const) {
        expect(image.classes[which].map(({ label }: { label: string }) => label)).toEqual(
          classes.map(({ label }: { label: string }) => label),
        )
        for (const [at, { logit }] of classes.entries()) expect(image.classes[which][at].logit).toBeCloseTo(logit, 3)
      }
      expect(image.isFlipped).toBe(before.classes[index][0].label !== after.classes[index][0].label)
      const p = before.classes[index].map(({ probability }: { probability: number }) => probability) as number[]
      expect(image.entropy.default).toBeCloseTo(-p.reduce((sum, each) => sum + each * Math.log(each), 0), 4)
      const q = new Map(after.classes[index].map((each: { label: string; probability: number }) => [each.label, each.probability]))
      const kl = before.classes[index].reduce(
        (sum: number, each: { label: string; probability: number }) =>
          sum + each.probability * Math.log(each.probability / (q.get(each.label) as number)),
        0,
      )
      expect(image.divergence).toBeCloseTo(kl, 4)
      const [first] = image.moved
      expect(Math.abs(first.logit.change)).toBe(
        Math.max(...image.moved.map(({ logit }: { logit: { change: number } }) => Math.abs(logit.change))),
      )
    }
    expect(steered.changes.map(({ hookPoint }: { hookPoint: string }) => hookPoint)).toEqual(['blocks.0.hook_resid_post', resid])
    expect(steered.changes[0].size.data.flat()).toEqual([0, 0, 0])
    expect(steered.changes[1].values.steered.shape).toEqual([3, 1, 16])
    expect(steered.perturbations).toMatchObject([{ hookPoint: resid, size: { shape: [3, 10] } }])
  })

  test('says which share of random directions of equal length moves the targets less', async () => {
    const targets = [{ text: 'a cat' }, { difference: [{ text: 'a cat' }, { text: 'a dog' }] }]
    const { images: answers } = (await post(server.app, '/v1/steer', ask({ targets, controls: { n: 6, seed: 1 } }))).json()
    for (const { controls, targets: changes } of answers) {
      expect(controls.map(({ target }: { target: string }) => target)).toEqual(['a cat', 'a cat minus a dog'])
      for (const [at, { effect, controls: others, share }] of controls.entries()) {
        expect(effect).toBeCloseTo(changes[at].score.change, 4)
        expect(others).toHaveLength(6)
        expect(share).toBe(others.filter((other: number) => Math.abs(other) < Math.abs(effect)).length / 6)
      }
    }
  })

  test('is the same over GraphQL, and in npz', async () => {
    const input = ask({ targets: [{ text: 'a cat' }], read: [resid] })
    const rest = (await post(server.app, '/v1/steer', input)).json()
    const query = `query ($input: SteerInput!) { steer(input: $input) {
      images { divergence isFlipped entropy { default steered change } targets { target score { default steered change } } }
      changes { hookPoint size { shape data } } perturbations { hookPoint mean } } }`
    const { data, errors } = await graphql(server.app, query, { input: { ...input, edits: [{ ...add, op: 'feature_add' }] } })
    expect(errors).toEqual([])
    for (const [at, image] of data.steer.images.entries()) expect(rest.images[at]).toMatchObject(image)
    expect(data.steer.changes[0].size.data).toEqual(rest.changes[0].size.data)
    const npz = await post(server.app, '/v1/steer', input, { accept: NPZ })
    const tensors = await readNpz(bytesSource(npz.rawPayload), 'steer')
    expect([...tensors.keys()]).toEqual([
      'output.default',
      'output.steered',
      `${resid}.size`,
      `${resid}.relative`,
      `${resid}.cosine`,
      `${resid}.perturbation`,
    ])
  })

  test('of a classifier is of its own classes', async () => {
    const edits = [{ hookPoint: 'blocks.0.hook_resid_post', op: 'scale', strength: 0 }]
    const { images: answers } = (
      await post(server.app, '/v1/steer', { model: classifier, inputs: inputs(), edits, targets: [{ class: 0 }] })
    ).json()
    for (const { classes, targets } of answers) {
      expect(classes.default.length).toBeGreaterThan(1)
      expect(targets[0].score.change).not.toBe(0)
    }
  })

  test.each<[string, object, string, RegExp]>([
    ['nothing', { edits: [] }, 'edits', /at least one/],
    [
      'by labels without a text tower',
      { model: classifier, edits: [{ hookPoint: 'blocks.0.hook_resid_post', op: 'zero' }] },
      'classify',
      /no text tower/,
    ],
    ['more random directions than there is time for', { controls: { n: 600 } }, '', /1800 is more than the limit "controls"/],
    ['other inputs of the request', { edits: [{ hookPoint: resid, op: 'mean' }] }, 'edits[0]', /stored mean/],
    ['texts', { inputs: [{ text: 'a cat' }] }, 'inputs[0].text', /unknown field/],
  ])('%s is refused', async (_what, more, where, message) => {
    const answer = (await post(server.app, '/v1/steer', ask(more))).json() as Refusal
    expect(`${answer.detail} ${answer.errors?.map((each) => each.message).join()}`).toMatch(message)
    if (where !== '') expect(answer.errors?.[0]?.path ?? answer.detail).toContain(where)
  })
})
