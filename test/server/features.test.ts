/** What SAEs find in pictures, over REST and GraphQL. (That the numbers are PyTorch's is shown in test/engine/host/codes.test.ts.) */

import path from 'node:path'
import { tableFromIPC } from 'apache-arrow'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { importSae } from '../../src/catalog/import/import-sae.js'
import { bytesSource } from '../../src/engine/io/byte-source.js'
import { fromJsonTensor } from '../../src/engine/io/json-tensor.js'
import { readNpz } from '../../src/engine/io/npz.js'
import { readSafetensor, readSafetensorsHeader } from '../../src/engine/io/safetensors.js'
import { describeSae, loadSae } from '../../src/engine/saes/load-sae.js'
import { encoderGraph } from '../../src/engine/saes/sae-graph.js'
import { elementCount, float32, type Tensor } from '../../src/engine/tensor.js'
import type { SaeFeatures } from '../../src/operations/schemas/features.js'
import { ARROW, NPZ, SAFETENSORS } from '../../src/server/negotiate.js'
import { reference, runOnce } from '../engine/each-backend.js'
import { featureFolder } from '../engine/saes/feature-goldens.js'
import { get, graphql, picture, post, startTestServer, type TestServer, testModels, upload } from './test-server.js'

const { clip } = testModels
const saes = {
  relu: `${clip}.1-resid-post.relu`,
  topk: `${clip}.0-mlp-out.topk`,
  gated: `${clip}.1-resid-post.gated`,
  patches: `${clip}.embed.patches`,
}
const WIDTH = 40

let server: TestServer
let images: string[]
const backend = await reference.create()

beforeAll(async () => {
  server = await startTestServer()
  images = await Promise.all([1, 2].map(async (seed) => (await upload(server.app, await picture(seed))).json().id))
  const hub = { hubEndpoint: '', hubToken: '', hubHome: '', hubCache: '' }
  for (const [name, id] of Object.entries(saes)) {
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

interface Answer {
  readonly model: string
  readonly saes: SaeFeatures[]
}

const ask = (input: object) => ({ saes: [saes.relu], inputs: images.map((image) => ({ image })), ...input })

async function features(input: object = {}): Promise<Answer> {
  const response = await post(server.app, '/v1/features', ask(input))
  expect(response.json()).not.toHaveProperty('code')
  return response.json()
}

async function refusal(input: object) {
  const response = await post(server.app, '/v1/features', ask(input))
  return { ...response.json(), status: response.statusCode } as {
    status: number
    code: string
    detail: string
    errors?: { path: string; message: string }[]
  }
}

/** `[batch, pos, dSae]` by reading the hook point and encoding it apart. */
async function latentsOf(name: keyof typeof saes, hookPoint: string, edits: object[] = []): Promise<Tensor<'float32'>> {
  const run = await post(server.app, '/v1/forward', { model: clip, inputs: images.map((image) => ({ image })), read: [hookPoint], edits })
  const x = fromJsonTensor(run.json().activations[hookPoint], hookPoint) as Tensor<'float32'>
  const { description, weights } = await loadSae(path.join(featureFolder, name))
  const rows = float32([elementCount(x.shape.slice(0, 2)), x.shape[2]!], x.data)
  const graph = encoderGraph(description.config)
  const { [graph.outputs[0]!]: latents } = await runOnce(backend, graph, { inputs: { x: rows }, weights })
  return { ...(latents as Tensor<'float32'>), shape: [...x.shape.slice(0, 2), WIDTH] }
}

/** The active ones of a row, largest first. */
function ranked(latents: Tensor<'float32'>, row: number, k: number) {
  return Array.from(latents.data.subarray(row * WIDTH, (row + 1) * WIDTH), (activation, feature) => ({ feature, activation }))
    .filter(({ activation }) => activation > 0)
    .sort((a, b) => b.activation - a.activation)
    .slice(0, k)
}

describe('features of pictures', () => {
  test('of each position are the largest latents of the hook point that the SAE reads', async () => {
    const latents = await latentsOf('relu', 'blocks.1.hook_resid_post')
    const { model, saes: answers } = await features({ topK: 6 })
    expect(model).toBe(clip)
    const [answer] = answers
    expect(answer).toMatchObject({
      sae: saes.relu,
      hookPoint: 'blocks.1.hook_resid_post',
      width: WIDTH,
      positions: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    })
    for (const [input, positions] of answer!.perPosition!.entries()) {
      for (const [position, row] of positions.entries()) {
        const expected = ranked(latents, input * 10 + position, 6)
        expect(row.features).toEqual(expected.map(({ feature }) => feature))
        for (const [at, { activation }] of expected.entries()) expect(row.activations[at]).toBeCloseTo(activation, 4)
      }
    }
  })

  test('of each image are the largest of all positions, with the patch where each is', async () => {
    const latents = await latentsOf('relu', 'blocks.1.hook_resid_post')
    const {
      saes: [answer],
    } = await features({ topK: 0, imageTopK: 5, positions: 'patches' })
    expect(answer!.perPosition).toBeNull()
    for (const [input, row] of answer!.perImage!.entries()) {
      const best = Array.from({ length: WIDTH }, (_, feature) => {
        const values = Array.from({ length: 9 }, (_, patch) => latents.data[(input * 10 + 1 + patch) * WIDTH + feature]!)
        const activation = Math.max(...values)
        const patch = values.indexOf(activation)
        return { feature, activation, position: patch + 1, patch: { row: Math.floor(patch / 3), col: patch % 3 } }
      })
      const expected = best.sort((a, b) => b.activation - a.activation).slice(0, 5)
      expect(row.map(({ activation: _, ...where }) => where)).toEqual(expected.map(({ activation: _, ...where }) => where))
      for (const [at, { activation }] of expected.entries()) expect(row[at]!.activation).toBeCloseTo(activation, 4)
    }
  })

  test('of several SAEs in one run are those of each by itself', async () => {
    const before = server.host.status().runs.count
    const together = await features({ saes: Object.values(saes), topK: 3 })
    expect(server.host.status().runs.count).toBe(before + 1)
    for (const [index, sae] of Object.values(saes).entries()) {
      const [alone] = (await features({ saes: [sae], topK: 3 })).saes
      expect(together.saes[index]!.perPosition!.flat().map((row) => row.features)).toEqual(
        alone!.perPosition!.flat().map((row) => row.features),
      )
    }
  })

  test('are at the positions that the SAE was trained on, unless positions are given', async () => {
    expect((await features({ saes: [saes.gated] })).saes[0]!.positions).toEqual([0])
    expect((await features({ saes: [saes.gated], positions: [4, 2] })).saes[0]!.positions).toEqual([4, 2])
    const {
      saes: [patches],
    } = await features({ saes: [saes.patches], topK: 1 })
    expect(patches!.positions).toHaveLength(9)
    expect(patches!.perImage![0]![0]!.patch).toEqual({
      row: Math.floor(patches!.perImage![0]![0]!.position / 3),
      col: patches!.perImage![0]![0]!.position % 3,
    })
  })

  test('are those after edits, at the edited hook point too', async () => {
    const edits = [{ hookPoint: 'blocks.1.hook_resid_post', op: 'scale', strength: 0.25, positions: 'cls' }]
    const latents = await latentsOf('gated', 'blocks.1.hook_resid_post', edits)
    const {
      saes: [answer],
    } = await features({ saes: [saes.gated], edits, topK: 4 })
    expect(answer!.perPosition!.map(([row]) => row!.features)).toEqual(
      [0, 1].map((input) => ranked(latents, input * 10, 4).map(({ feature }) => feature)),
    )
  })

  test('of a top-k SAE are at most k, however many are asked for', async () => {
    const {
      saes: [answer],
    } = await features({ saes: [saes.topk], topK: 1000 })
    const counts = answer!.perPosition!.flat().map((row) => row.features.length)
    expect(Math.max(...counts)).toBe(6)
  })

  test('are the same through GraphQL', async () => {
    const query = `query ($input: FeaturesInput!) { features(input: $input) { model saes {
      sae hookPoint width positions perPosition { features activations } perImage { feature activation position patch { row col } } } } }`
    const { data, errors } = await graphql(server.app, query, { input: ask({ saes: [saes.relu, saes.gated], topK: 4 }) })
    expect(errors).toEqual([])
    expect(data.features).toEqual(await features({ saes: [saes.relu, saes.gated], topK: 4 }))
  })
})

describe('the binary forms', () => {
  const names = ['data', 'indices', 'indptr', 'shape']
  const decode: Record<string, (bytes: Buffer) => Promise<Record<string, Tensor>>> = {
    [NPZ]: async (bytes) => Object.fromEntries(await readNpz(bytesSource(bytes), 'x.npz')),
    async [SAFETENSORS](bytes) {
      const header = await readSafetensorsHeader(bytesSource(bytes), 'x')
      const entries = [...header.entries.keys()].map(
        async (name) => [name, await readSafetensor(bytesSource(bytes), header, name)] as const,
      )
      return Object.fromEntries(await Promise.all(entries))
    },
    async [ARROW](bytes) {
      const table = tableFromIPC(bytes)
      return Object.fromEntries(
        [...table].map((row) => {
          const { name, dtype, shape, data } = row!.toJSON() as { name: string; dtype: string; shape: Iterable<number>; data: Uint8Array }
          const copy = data.slice().buffer
          const array = dtype === 'float32' ? new Float32Array(copy) : new Int32Array(copy)
          return [name, { dtype, shape: [...shape], data: array } as Tensor]
        }),
      )
    },
  }

  test.each([NPZ, SAFETENSORS, ARROW])('%s holds compressed sparse rows of what JSON says', async (type) => {
    const input = { saes: [saes.relu, saes.gated], topK: 5, imageTopK: 3 }
    const json = await features(input)
    const response = await post(server.app, '/v1/features', ask(input), { accept: type })
    expect(response.headers['content-type']).toContain(type)
    const tensors = await decode[type]!(response.rawPayload)
    for (const { sae, width, positions, perPosition, perImage } of json.saes) {
      expect(Array.from(tensors[`${sae}/positions`]!.data as Int32Array)).toEqual(positions)
      const matrix = (part: string) => names.map((name) => Array.from(tensors[`${sae}/${part}/${name}`]!.data as Float32Array, Number))
      const [data, indices, indptr, shape] = matrix('perPosition') as [number[], number[], number[], number[]]
      expect(shape).toEqual([2 * positions.length, width])
      expect(indptr).toHaveLength(shape[0]! + 1)
      const rows = perPosition!.flat()
      for (const [row, { features: found, activations }] of rows.entries()) {
        const columns = indices.slice(indptr[row], indptr[row + 1])
        expect(columns).toEqual(found.toSorted((a, b) => a - b))
        expect(data.slice(indptr[row], indptr[row + 1])).toEqual(columns.map((column) => activations[found.indexOf(column)]))
      }
      const [imageData, imageIndices, imageIndptr] = matrix('perImage') as [number[], number[], number[]]
      const where = Array.from(tensors[`${sae}/perImage/position`]!.data as Int32Array)
      for (const [image, row] of perImage!.entries()) {
        const got = imageIndices
          .map((feature, at) => ({ feature, activation: imageData[at], position: where[at] }))
          .slice(imageIndptr[image], imageIndptr[image + 1])
        expect(got).toEqual(row.toSorted((a, b) => a.feature - b.feature).map(({ patch: _, ...rest }) => rest))
      }
    }
  })
})

describe('what is refused', () => {
  test.each<[string, object, number, string, RegExp]>([
    ['an SAE that nobody knows', { saes: [`${clip}.1-resid-post.relo`] }, 404, 'SAE_UNKNOWN', /Did you mean "hf-clip\.1-resid-post\.relu"/],
    ['a text', { inputs: [{ text: 'a cat' }] }, 400, 'INPUT_INVALID', /SAEs here read pictures/],
    ['nothing to answer', { topK: 0, imageTopK: 0 }, 400, 'INPUT_INVALID', /nothing would be answered/],
    ['a position that is not there', { positions: [10] }, 400, 'POSITION_OUT_OF_RANGE', /positions 0 to 9/],
    ['CLS where there is none', { saes: [saes.patches], positions: 'cls' }, 400, 'INPUT_INVALID', /has only patches/],
    ['the same SAE twice', { saes: [saes.relu, saes.relu] }, 400, 'INPUT_INVALID', /twice/],
    ['a misspelt field', { topk: 3 }, 400, 'INPUT_INVALID', /Did you mean "topK"/],
    [
      'too many activations',
      { topK: 2 ** 20, saes: Object.values(saes), inputs: Array(17).fill({ image: `sha256:${'0'.repeat(64)}` }) },
      422,
      'LIMIT_EXCEEDED',
      /inputs/,
    ],
    [
      'an edit that no SAE sees',
      { saes: [saes.topk], edits: [{ hookPoint: 'blocks.1.hook_resid_post', op: 'zero' }] },
      400,
      'EDIT_INVALID',
      /comes after it/,
    ],
    [
      'an edit that makes everything infinite',
      { edits: [{ hookPoint: 'blocks.1.hook_resid_post', op: 'scale', strength: 3e38 }], saes: [saes.gated] },
      400,
      'EDIT_INVALID',
      /infinite/,
    ],
  ])('%s', async (_, input, status, code, message) => {
    const answer = await refusal(input)
    expect({ status: answer.status, code: answer.code }).toEqual({ status, code })
    expect([answer.detail, ...(answer.errors ?? []).map((each) => each.message)].join(' ')).toMatch(message)
  })

  test('a model that the SAE is not of', async () => {
    await server.catalog.baseModels.add([{ id: 'elsewhere', name: 'elsewhere', repo: 'org/elsewhere', aliases: [], license: null }])
    const id = 'elsewhere.7-resid-post.x'
    const hub = { hubEndpoint: '', hubToken: '', hubHome: '', hubCache: '' }
    await importSae({
      ...{ source: path.join(featureFolder, 'relu'), id, model: 'elsewhere', overrides: { hookPoint: 'blocks.7.hook_resid_post' } },
      ...{ catalog: server.catalog, config: { dataDir: server.config.dataDir, ...hub } },
      inspectSae: (sae) => describeSae(sae.folder, { overrides: sae.overrides }),
    })
    const misfit = await refusal({ saes: [id], model: clip })
    expect(misfit).toMatchObject({ status: 422, code: 'SAE_MISFIT' })
    expect(misfit.detail).toMatch(
      /"elsewhere\.7-resid-post\.x" is not one of hf-clip: it reads "blocks\.7\.hook_resid_post", which the model/,
    )
    expect((await refusal({ saes: [id] })).detail).toMatch(/refract import org\/elsewhere/)
    expect((await refusal({ saes: [saes.relu, id] })).detail).toMatch(/ask for one model at a time/)
  })

  test('more activations than one answer holds, before any picture is looked at', async () => {
    const app = await server.another({ config: { maxInputsPerRequest: 100_000, maxBodyBytes: 2 ** 24 } })
    const inputs = Array(20_000).fill({ image: `sha256:${'0'.repeat(64)}` })
    const response = await post(app, '/v1/features', { saes: [saes.relu], inputs, topK: 40 }, { accept: NPZ })
    expect(response.json()).toMatchObject({ code: 'LIMIT_EXCEEDED' })
    expect(response.json().detail).toMatch(/featureActivations/)
  })

  test('several problems are named together', async () => {
    const { errors } = await refusal({ inputs: [{ text: 'a' }], positions: [99], edits: [{ hookPoint: 'nowhere', op: 'zero' }] })
    expect(errors!.map(({ path: at }) => at)).toEqual(expect.arrayContaining(['inputs[0]', 'positions', 'edits[0].hookPoint']))
  })

  test('an SAE that is published and not here says what fetches it', async () => {
    await server.catalog.saes.create({
      ...{ id: `${clip}.1-mlp-out.published`, modelId: clip, release: 'x', suite: 'x', architecture: 'standard', isPublished: true },
      ...{ hookPointIn: 'blocks.1.hook_mlp_out', hookPointOut: 'blocks.1.hook_mlp_out', layer: 1, positions: 'all', trainedOn: null },
      ...{ width: null, dIn: null, dOut: null, k: null, l1Coefficient: null, file: null, license: null, note: null },
      provenance: { kind: 'hub', repo: 'org/published', revision: null, requestedRevision: null, endpoint: null },
    })
    const answer = await refusal({ saes: [`${clip}.1-mlp-out.published`] })
    expect(answer.code).toBe('SAE_NOT_DOWNLOADED')
    expect(answer.detail).toMatch(/refract import org\/published/)
  })
})

test('SAEs in memory are told by capabilities', async () => {
  await features({ saes: [saes.topk] })
  const { saes: loaded } = (await get(server.app, '/v1/capabilities')).json()
  expect(loaded.map(({ id }: { id: string }) => id)).toContain(saes.topk)
})
