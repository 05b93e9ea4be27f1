/** SAEs from folders and from a hub on this machine, over real HTTP, in every layout that they are published in. */

import { createHash } from 'node:crypto'
import fs from 'node:fs/promises'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { modelSource } from '../../src/catalog/catalog.js'
import { type AnyImportRequest, importAny } from '../../src/catalog/import/import-any.js'
import { importSae, type SaeImportRequest } from '../../src/catalog/import/import-sae.js'
import { saeSource } from '../../src/catalog/sae-source.js'
import { createReferenceBackend } from '../../src/engine/backends/reference/backend.js'
import type { ErrorCode } from '../../src/engine/errors.js'
import { measureSkip } from '../../src/engine/host/measure-skip.js'
import { torchChunks } from '../../src/engine/io/torch-writer.js'
import { describeModel } from '../../src/engine/models/load.js'
import { describeSae, loadSae } from '../../src/engine/saes/load-sae.js'
import type { Tensor } from '../../src/engine/tensor.js'
import { createTestCatalog, type TestDatabase } from '../catalog/test-database.js'
import { folderOf } from '../engine/models/fixtures.js'
import { featureFolder } from '../engine/saes/feature-goldens.js'
import { fixtureFolder as saeFolder } from '../engine/saes/fixtures.js'
import { COMMIT_A, COMMIT_B, type Hub, type Repo, startHub } from './stand-in.js'

let catalog: Awaited<ReturnType<typeof createTestCatalog>>['catalog']
let database: TestDatabase
let close: () => Promise<void>
let hub: Hub
let cache: string
const DATACOMP = 'clip-vit-b-32-datacomp-xl'

beforeAll(async () => {
  ;({ catalog, database, close } = await createTestCatalog())
  const folder = folderOf('hf-clip')
  await catalog.models.register({
    id: 'hf-clip',
    name: 'openai/hf-clip',
    description: await describeModel(folder),
    provenance: { kind: 'folder', name: 'hf-clip' },
    license: null,
    files: [{ path: 'config.json', bytes: 1, sha256: 'c'.repeat(64) }],
    weightsSha256: 'd'.repeat(64),
    weightBytes: 1000,
    folder,
    processing: [],
  })
  const alias = 'open-clip:laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K'
  await catalog.baseModels.add([
    { id: DATACOMP, name: 'CLIP', repo: alias.slice(10), aliases: [alias], license: 'mit' },
    { id: 'hf-clip', name: 'openai/hf-clip', repo: null, aliases: ['openai/hf-clip'], license: null },
  ])
})
afterAll(() => close())
beforeEach(async () => {
  cache = await fs.mkdtemp(path.join(database.dataDir, 'hub-'))
  hub = await startHub([])
})
afterEach(() => hub.close())

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

/** A repository with the files of a folder. */
async function repo(folder: string, change: Partial<Repo> & { more?: Record<string, Buffer> } = {}): Promise<Repo> {
  const { more, ...rest } = change
  const names = await fs.readdir(folder)
  const files = Object.fromEntries(
    await Promise.all(names.map(async (name) => [name, await fs.readFile(path.join(folder, name))] as const)),
  )
  return { id: 'org/An-SAE', branches: { main: COMMIT_A }, commits: { [COMMIT_A]: { ...files, ...more } }, ...rest }
}

const publish = async (folder: string, change: Parameters<typeof repo>[1] = {}) => {
  const made = await repo(folder, change)
  hub.repos.push(made)
  return made.id
}

function options({ token = '' } = {}) {
  return {
    catalog,
    config: { dataDir: database.dataDir, hubEndpoint: hub.url, hubToken: token, hubHome: cache, hubCache: path.join(cache, 'hub') },
    inspect: ({ folder }: { folder: string }) => describeModel(folder),
    inspectSae: (source: Parameters<SaeImportRequest['inspectSae']>[0]) => describeSae(source.folder, { overrides: source.overrides }),
    retryDelayMs: 1,
  }
}

let counter = 0
/** Under an id of its own, so that tests do not meet. */
function importing(source: string, { token, ...change }: Partial<AnyImportRequest> & { token?: string } = {}) {
  const id = change.id ?? `${change.model ?? DATACOMP}.t${counter++}.test`
  return importSae({ source, ...options(token === undefined ? {} : { token }), ...change, id })
}

async function refusal(attempt: Promise<unknown>): Promise<{ code: ErrorCode; message: string }> {
  return attempt.then(
    () => expect.unreachable('it was not refused'),
    (error) => error,
  )
}

const layouts = [
  ['prisma-plain', 'weights.pt', 'plain'],
  ['prisma-images', 'n_images_2600058.pt', 'with configuration'],
  ['prisma-old', 'n_images_1300.pt', 'plain'],
  ['prisma-gated', 'weights.pt', 'plain'],
  ['prisma-transcoder', 'weights.pt', 'with configuration'],
  ['saelens-2', 'n_images_260000.pt', 'SAELens 2'],
  ['saelens-5', 'sae_weights.safetensors', 'safetensors'],
  ['saelens-topk', 'sae_weights.safetensors', 'safetensors'],
  ['saelens-jumprelu_skip_transcoder', 'sae_weights.safetensors', 'safetensors'],
] as const

describe('every layout', () => {
  test.each(layouts)('%s: the files that are needed and no others, and an entry with what they say', async (name, weights, form) => {
    const folder = path.join(saeFolder, name)
    const id = await publish(folder, { license: 'mit', more: { 'README.md': Buffer.from('# SAE'), 'preview.png': Buffer.alloc(1000) } })
    const { sae, isNew } = await importing(id, { model: DATACOMP })
    const fetched = hub.requests.filter((line) => line.includes('/resolve/')).map((line) => line.split('/').at(-1))
    const expected = await describeSae(folder)
    expect(isNew).toBe(true)
    expect(fetched.sort()).toEqual(Object.values(expected.files).sort())
    expect(sae).toMatchObject({
      modelId: DATACOMP,
      license: 'mit',
      file: weights,
      hookPointIn: expected.config.hookPoint,
      width: expected.config.dSae,
      provenance: { kind: 'hub', repo: 'org/An-SAE', revision: COMMIT_A, requestedRevision: 'main', endpoint: hub.url },
    })
    expect(expected.form.startsWith(form)).toBe(true)
    expect(sae.download.description).toEqual(expected)
    expect(sae.download.weightsSha256).toBe(sha256(await fs.readFile(path.join(folder, weights))))
    const [given, original] = [await loadSae(saeSource(sae).folder), await loadSae(folder)]
    expect(given).toEqual(original)
  })

  test('from a folder: copied with its sparsity, and loaded from the copy', async () => {
    const { sae } = await importing(path.join(saeFolder, 'prisma-images'), { model: DATACOMP })
    expect(sae.provenance).toEqual({ kind: 'folder', name: 'prisma-images' })
    expect(sae.download.folder.startsWith(path.join(database.dataDir, 'saes', sae.id))).toBe(true)
    expect((await fs.readdir(sae.download.folder)).sort()).toEqual([
      'config.json',
      'n_images_2600058.pt',
      'n_images_2600058_log_feature_sparsity.pt',
    ])
    expect((await loadSae(sae.download.folder)).logFeatureSparsity!.shape).toEqual([16])
  })
})

describe('refract import', () => {
  test('finds out from the files whether it is a model or an SAE', async () => {
    const model = await importAny({ source: folderOf('hf-vit'), id: 'some-vit', ...options() })
    const sae = await importAny({ source: path.join(featureFolder, 'relu'), ...options() })
    const bare = await importAny({ source: await publish(path.join(saeFolder, 'prisma-transcoder')), model: DATACOMP, ...options() })
    expect([model.kind, sae.kind, bare.kind]).toEqual(['model', 'sae', 'sae'])
  })

  test('of weights.pt with a configuration that is no SAE is of a model', async () => {
    const folder = await fs.mkdtemp(path.join(database.dataDir, 'odd-'))
    await fs.copyFile(path.join(saeFolder, 'prisma-plain/weights.pt'), path.join(folder, 'weights.pt'))
    await fs.writeFile(path.join(folder, 'config.json'), '{"model_type":"vit"}')
    const inspect = () => Promise.reject(new Error('it was looked at as a model'))
    await expect(importAny({ source: folder, ...options(), inspect })).rejects.toThrow('looked at as a model')
  })

  test('says which option is not for what it found', async () => {
    const processing = ['fold-layer-norm'] as const
    expect((await refusal(importAny({ source: path.join(featureFolder, 'relu'), processing, ...options() }))).message).toMatch(
      /this is an SAE/,
    )
    expect((await refusal(importAny({ source: folderOf('hf-vit'), model: 'x', ...options() }))).message).toMatch(/this is a model/)
  })

  test('of the id of a published SAE fetches it, and the entry has its files and its published facts', async () => {
    const id = `${DATACOMP}.9-mlp-out.vanilla-published`
    const repoId = await publish(path.join(saeFolder, 'prisma-plain'), { id: 'Prisma-Multimodal/plain', branches: { main: COMMIT_B } })
    await catalog.saes.create({
      ...{ id, modelId: DATACOMP, release: 'prisma', suite: 'the-suite', architecture: 'standard', isPublished: true },
      ...{ hookPointIn: 'blocks.9.hook_mlp_out', hookPointOut: 'blocks.9.hook_mlp_out', layer: 9, positions: 'all', trainedOn: 'imagenet' },
      ...{ width: null, dIn: null, dOut: null, k: null, l1Coefficient: null, file: null, license: null, note: 'a note' },
      provenance: { kind: 'hub', repo: 'prisma-multimodal/plain', revision: COMMIT_A, requestedRevision: null, endpoint: null },
    })
    hub.repos[0] = { ...hub.repos[0]!, id: 'prisma-multimodal/plain' }
    const imported = await importAny({ source: id, ...options() })
    expect(imported).toMatchObject({
      kind: 'sae',
      isNew: true,
      sae: { id, suite: 'the-suite', note: 'a note', width: 16, provenance: { revision: COMMIT_A } },
    })
    expect(repoId).toBe('Prisma-Multimodal/plain')

    // by its repository, in any spelling of the owner: the same entry
    hub.repos[0] = { ...hub.repos[0]!, id: 'Prisma-Multimodal/plain', branches: { main: COMMIT_A } }
    const again = await importAny({ source: 'Prisma-Multimodal/plain', ...options() })
    expect(again).toMatchObject({ kind: 'sae', isNew: false, sae: { id } })
  })

  test('makes the id from what the SAE is, and the same import twice changes nothing', async () => {
    const source = path.join(featureFolder, 'topk')
    const first = await importSae({ source, ...options() })
    expect(first.sae.id).toBe('hf-clip.0-mlp-out.topk-6-w40-all')
    const second = await importSae({ source, ...options() })
    expect(second).toEqual({ sae: first.sae, isNew: false })
  })

  test('of two SAEs that differ only in their L1 coefficient gives both an id', async () => {
    const twin = await fs.mkdtemp(path.join(database.dataDir, 'twin-'))
    await fs.cp(path.join(featureFolder, 'gated'), twin, { recursive: true })
    const config = JSON.parse(await fs.readFile(path.join(twin, 'config.json'), 'utf8'))
    await fs.writeFile(path.join(twin, 'config.json'), JSON.stringify({ ...config, l1_coefficient: 5e-5 }))
    const { weights } = await loadSae(path.join(featureFolder, 'gated'))
    const other = { ...weights, b_gate: { ...weights.b_gate!, data: weights.b_gate!.data.map((value) => value + 1) } }
    await fs.writeFile(path.join(twin, 'weights.pt'), Buffer.concat(torchChunks(Object.entries(other))))
    const first = await importSae({ source: path.join(featureFolder, 'gated'), ...options() })
    const second = await importSae({ source: twin, ...options() })
    expect([first.sae.id, second.sae.id]).toEqual(['hf-clip.1-resid-post.gated-w40-cls', 'hf-clip.1-resid-post.gated-w40-cls-l1-5e-5'])
    expect((await importSae({ source: twin, ...options() })).isNew).toBe(false)
  })
})

describe('the model', () => {
  test('is the one that the files name, by any of its names', async () => {
    const source = path.join(saeFolder, 'prisma-plain')
    expect((await importing(source)).sae.modelId).toBe(DATACOMP)
    expect((await importing(path.join(featureFolder, 'relu'), { id: 'hf-clip.1-x.by-name' })).sae.modelId).toBe('hf-clip')
  })

  test('that nobody has heard of, and whose name is no repository, is asked for', async () => {
    const error = await refusal(importing(path.join(saeFolder, 'saelens-5')))
    expect(error.code).toBe('INPUT_INVALID')
    expect(error.message).toMatch(/trained on "a-vit", which nothing here is called; name the model \(--model\)/)
    const unknown = await refusal(importing(path.join(saeFolder, 'saelens-5'), { model: 'clip-vit-b-32-datacomp' }))
    expect(unknown.code).toBe('BASE_MODEL_UNKNOWN')
  })

  test('whose name is a repository is known from then on, here or not', async () => {
    const folder = await fs.mkdtemp(path.join(database.dataDir, 'far-'))
    await fs.cp(path.join(saeFolder, 'saelens-topk'), folder, { recursive: true })
    const cfg = JSON.parse(await fs.readFile(path.join(folder, 'cfg.json'), 'utf8'))
    await fs.writeFile(path.join(folder, 'cfg.json'), JSON.stringify({ ...cfg, metadata: { ...cfg.metadata, model_name: 'far/Away-ViT' } }))
    const { sae } = await importSae({ source: folder, ...options() })
    expect(sae.modelId).toBe('away-vit')
    expect(await catalog.baseModels.get('away-vit')).toMatchObject({ repo: 'far/Away-ViT' })
    expect(await catalog.models.get('away-vit')).toBeUndefined()
  })

  test('of another width, or without the hook point, is refused with both numbers', async () => {
    const wide = await refusal(importing(path.join(saeFolder, 'prisma-plain'), { model: 'hf-clip' }))
    expect(wide.code).toBe('SAE_MISFIT')
    expect(wide.message).toMatch(/it reads "blocks\.9\.hook_mlp_out", which the model does not have/)
    const overrides = { hookPoint: 'blocks.1.hook_mlp_out' }
    const narrow = await refusal(importing(path.join(saeFolder, 'prisma-plain'), { model: 'hf-clip', overrides }))
    expect(narrow.message).toMatch(/it reads 8 numbers at "blocks\.1\.hook_mlp_out", which has 16/)
    expect(
      (await catalog.saes.list({ limit: 100 })).items.every(
        ({ hookPointIn, modelId }) => modelId !== 'hf-clip' || hookPointIn !== 'blocks.9.hook_mlp_out',
      ),
    ).toBe(true)
  })
})

describe('what the files leave open', () => {
  test('is decided by rules that the entry has, and what the caller knows better stays known', async () => {
    const overrides = { normalization: 'layer_norm' } as const
    const plain = await importing(path.join(saeFolder, 'prisma-old'))
    const told = await importing(path.join(saeFolder, 'prisma-old'), { overrides })
    expect(plain.sae.download.description.resolvedBy.map(({ field }) => field)).toContain('normalize_activations')
    expect(saeSource(plain.sae).overrides).toEqual({})
    const stored = (await catalog.saes.get(told.sae.id))!
    expect(saeSource({ ...stored, download: stored.download! })).toMatchObject({ overrides })
    expect(stored.download!.description.config.normalization).toBe('layer_norm')
  })

  /** Predicts what it reads: blocks.1.hook_resid_pre is blocks.0.hook_resid_post. */
  const identityTranscoder = async (skip: 'linear' | 'linear-and-identity') => {
    const folder = await fs.mkdtemp(path.join(database.dataDir, 'skip-'))
    const zeros = (...shape: number[]): Tensor => ({ dtype: 'float32', shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)) })
    const weights = {
      W_skip: zeros(16, 16),
      W_dec: zeros(32, 16),
      W_enc: zeros(16, 32),
      b_enc: zeros(32),
      b_dec: zeros(16),
      b_dec_out: zeros(16),
    }
    if (skip === 'linear') for (let at = 0; at < 16; at++) (weights.W_skip.data as Float32Array)[at * 17] = 1
    const config = {
      ...{
        model_name: 'openai/hf-clip',
        is_transcoder: true,
        hook_point_layer: 0,
        layer_subtype: 'hook_resid_post',
        architecture: 'standard',
      },
      ...{ out_hook_point_layer: 1, layer_out_subtype: 'hook_resid_pre', activation_fn_str: 'relu', normalize_activations: null },
    }
    await fs.writeFile(path.join(folder, 'weights.pt'), Buffer.concat(torchChunks(Object.entries(weights))))
    await fs.writeFile(path.join(folder, 'config.json'), JSON.stringify(config))
    return folder
  }
  const measuring: Partial<AnyImportRequest> = { measureSkip: (request) => measureSkip(createReferenceBackend(), request) }

  test.each(['linear', 'linear-and-identity'] as const)(
    'a skip that is %s is found by measuring, and the numbers are kept',
    async (skip) => {
      const id = `hf-clip.0-resid-post.transcoder-${skip}`
      const { sae } = await importing(await identityTranscoder(skip), { id, ...measuring })
      const { config, resolvedBy } = sae.download.description
      expect(config.transcoder!.skip).toBe(skip)
      const rules = resolvedBy.filter(({ field }) => field === 'W_skip' || field === 'skip')
      expect(rules).toHaveLength(1)
      expect(rules[0]!.rule).toMatch(/^measured on 8 generated pictures: x .+ explains 100\.0 % of the variance, x .+ explains -?\d/)
      // whoever loads it loads the same
      const source = saeSource(sae)
      expect((await describeSae(source.folder, { overrides: source.overrides })).config.transcoder!.skip).toBe(skip)
    },
  )

  test('a formula that the caller gives is not measured, nor is one where the model is not here', async () => {
    const never: Partial<AnyImportRequest> = { measureSkip: () => Promise.reject(new Error('it was measured')) }
    const given = await importing(await identityTranscoder('linear'), {
      id: 'hf-clip.0-resid-post.given',
      overrides: { skip: 'linear-and-identity' },
      ...never,
    })
    expect(given.sae.download.description.config.transcoder!.skip).toBe('linear-and-identity')
    const far = await importing(path.join(saeFolder, 'prisma-transcoder'), { model: DATACOMP, ...never })
    expect(far.sae.download.description.resolvedBy.map(({ field }) => field)).toContain('W_skip')
  })

  test('a skip is measured with the model as it is catalogued', async () => {
    const model = modelSource((await catalog.models.get('hf-clip'))!)
    const folder = await identityTranscoder('linear')
    const measured = await measureSkip(createReferenceBackend(), { model, sae: { key: 'x', folder, overrides: {} } })
    expect(measured.explainedVariance.linear).toBeCloseTo(1, 5)
    expect(measured.explainedVariance['linear-and-identity']).toBeLessThan(0.5)
  })
})

describe('what goes wrong', () => {
  const source = path.join(saeFolder, 'prisma-plain')

  test('a repository that is not there, is gated, or is private', async () => {
    await publish(source, { id: 'org/gated', gated: true })
    await publish(source, { id: 'org/private', private: true })
    expect((await refusal(importing('org/nowhere'))).message).toMatch(/no such repository/)
    expect((await refusal(importing('org/gated'))).message).toMatch(/it is gated.*Accept its terms at .*then set HF_TOKEN/)
    expect((await refusal(importing('org/private'))).code).toBe('HUB_REFUSED')
    expect((await importing('org/gated', { token: 'hf_granted' })).isNew).toBe(true)
  })

  test('a repository without an SAE says what it holds', async () => {
    hub.repos.push({ id: 'org/empty', branches: { main: COMMIT_A }, commits: { [COMMIT_A]: { 'README.md': Buffer.from('x') } } })
    expect((await refusal(importing('org/empty'))).message).toMatch(/holds no SAE .*weights\.pt.*It holds README\.md/)
  })

  test('a file that was cut short on the hub, and one that is not what the hub announced', async () => {
    const bytes = await fs.readFile(path.join(source, 'weights.pt'))
    const id = await publish(source, { more: { 'weights.pt': bytes.subarray(0, 2000) } })
    expect((await refusal(importing(id))).code).toBe('FILE_INVALID')
    hub.repos[0] = await repo(source)
    hub.faults.set('weights.pt', [{ kind: 'damage' }])
    expect((await refusal(importing(id))).code).toBe('DOWNLOAD_INVALID')
    expect((await importing(id)).isNew).toBe(true)
  })

  test('a connection that breaks: the download goes on where it was', async () => {
    const id = await publish(source)
    hub.faults.set('weights.pt', [{ kind: 'hang', after: 1500 }])
    const onProgress: SaeImportRequest['onProgress'] = ({ what, doneBytes }) => {
      if (what === 'weights.pt' && doneBytes >= 1500) hub.drop()
    }
    await importing(id, { onProgress })
    expect(hub.downloads('weights.pt').at(-1)).toMatch(/\[bytes=1500-\]/)
  })

  test('sizes that the weights contradict leave no entry and no copy', async () => {
    const folder = await fs.mkdtemp(path.join(database.dataDir, 'sizes-'))
    await fs.cp(source, folder, { recursive: true })
    const config = JSON.parse(await fs.readFile(path.join(folder, 'config.json'), 'utf8'))
    await fs.writeFile(path.join(folder, 'config.json'), JSON.stringify({ ...config, d_in: 768, expansion_factor: 64 }))
    const id = `${DATACOMP}.sizes.test`
    expect((await refusal(importing(folder, { id }))).message).toMatch(/d_in is 768, and W_enc says 8/)
    expect(await catalog.saes.get(id)).toBeUndefined()
    expect(await fs.readdir(path.join(database.dataDir, 'saes')).catch(() => [])).not.toContain(id)
  })

  test('two at once download once and are one entry', async () => {
    const name = await publish(path.join(saeFolder, 'saelens-topk'), { id: 'org/twice' })
    const request = { source: name, model: DATACOMP, ...options() }
    const [one, other] = await Promise.all([importSae(request), importSae(request)])
    expect(one.sae).toEqual(other.sae)
    expect(hub.downloads('sae_weights.safetensors')).toHaveLength(1)
    expect((await catalog.saes.list({ limit: 100 })).items.filter(({ id }) => id === one.sae.id)).toHaveLength(1)
  })

  test('an id that is taken by other weights is refused before the download', async () => {
    const id = `${DATACOMP}.taken.test`
    await importing(source, { id })
    const name = await publish(path.join(saeFolder, 'prisma-gated'))
    const error = await refusal(importing(name, { id }))
    expect(error.code).toBe('SAE_CONFLICT')
    expect(hub.downloads('weights.pt')).toEqual([])
  })

  test('an id that is none, or of another model', async () => {
    expect((await refusal(importing(source, { id: 'Not An Id' }))).code).toBe('INPUT_INVALID')
    expect((await refusal(importing(source, { id: 'hf-clip.9-mlp-out.x' }))).message).toMatch(/cannot be the id of an SAE of clip-vit-b-32/)
  })

  test('a link out of the folder is not followed', async () => {
    const folder = await fs.mkdtemp(path.join(database.dataDir, 'link-'))
    await fs.cp(source, folder, { recursive: true })
    await fs.rm(path.join(folder, 'weights.pt'))
    await fs.symlink(path.join(source, 'weights.pt'), path.join(folder, 'weights.pt'))
    expect((await refusal(importing(folder))).code).toBe('FILE_UNSAFE')
  })
})
