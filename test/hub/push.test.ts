import { randomBytes } from 'node:crypto'
import fs from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Catalog } from '../../src/catalog/catalog.js'
import { importModel } from '../../src/catalog/import/import-model.js'
import { parseTarget } from '../../src/catalog/import/source.js'
import { type PushProgress, type PushRequest, pushFolder } from '../../src/catalog/push/push-folder.js'
import { describeModel, loadModel } from '../../src/engine/models/load.js'
import { modelToWrite, tokenizerFiles, writeModelFolder } from '../../src/engine/models/write.js'
import { createTestCatalog, type TestDatabase } from '../catalog/test-database.js'
import { COMMIT_A, type Hub, type Repo, sha256, startHub } from './stand-in.js'

let root: string
let hub: Hub
beforeEach(async () => {
  root = await fs.mkdtemp(path.join(os.tmpdir(), 'push-'))
})
afterEach(async () => {
  await hub?.close()
  await fs.rm(root, { recursive: true })
})

const weights = randomBytes(300_000)
const config = Buffer.from('{"model_type":"vit"}')

async function aFolder(files: Readonly<Record<string, Buffer | string>> = {}): Promise<string> {
  const folder = path.join(root, 'My model')
  for (const [name, bytes] of Object.entries({ 'config.json': config, 'model.safetensors': weights, ...files })) {
    await fs.mkdir(path.dirname(path.join(folder, name)), { recursive: true })
    await fs.writeFile(path.join(folder, name), bytes)
  }
  return folder
}

function pushing(folder: string, change: Partial<PushRequest> & { token?: string } = {}) {
  const { token = 'hf_granted', ...rest } = change
  const hubConfig = { hubEndpoint: hub.url, hubToken: token, hubHome: path.join(root, 'hf'), hubCache: path.join(root, 'hf/hub') }
  return pushFolder({ folder, repo: 'org/new', config: hubConfig, retryDelayMs: 1, ...rest })
}

function repo(change: Partial<Repo> = {}): Repo {
  return { id: 'org/there', branches: { main: COMMIT_A }, commits: { [COMMIT_A]: { 'LICENSE.txt': Buffer.from('MIT') } }, ...change }
}

const headOf = (id: string, branch = 'main') => {
  const found = hub.repos.find((each) => each.id === id)
  return found?.commits[found.branches[branch] ?? '']
}

async function refusal(attempt: Promise<unknown>): Promise<{ code: string; message: string }> {
  return attempt.then(
    () => expect.unreachable('it was not refused'),
    (error) => error,
  )
}

describe('a push', () => {
  test('makes the repository and puts the whole folder there in one commit', async () => {
    hub = await startHub([])
    const folder = await aFolder({ 'README.md': '# My model\n', 'curves/loss.json': '[1]', '.env': 'SECRET=1', '.git/config': 'x' })
    const pushed = await pushing(folder)
    const files = headOf('org/new')!
    expect(Object.keys(files).sort()).toEqual(['.gitattributes', 'README.md', 'config.json', 'curves/loss.json', 'model.safetensors'])
    expect(files['model.safetensors']!.equals(weights)).toBe(true)
    expect(files['config.json']!.equals(config)).toBe(true)
    expect(pushed).toMatchObject({ repo: 'org/new', branch: 'main', isNewRepo: true, bytes: weights.length + config.length + 14 })
    expect(hub.repos[0]).toMatchObject({ private: false, branches: { main: pushed.commit } })
    expect(hub.requests.filter((line) => line.includes('/commit/'))).toHaveLength(1)
  })

  test('of a folder without README.md brings one that names it', async () => {
    hub = await startHub([])
    await pushing(await aFolder())
    expect(headOf('org/new')!['README.md']!.toString()).toBe('# new\n')
  })

  test('makes a private repository when asked to', async () => {
    hub = await startHub([])
    await pushing(await aFolder(), { private: true })
    expect(hub.repos[0]).toMatchObject({ id: 'org/new', private: true })
  })

  test('to a repository that is there keeps what it has beside', async () => {
    hub = await startHub([repo()])
    const { isNewRepo } = await pushing(await aFolder(), { repo: 'org/there' })
    expect(isNewRepo).toBe(false)
    expect(Object.keys(headOf('org/there')!).sort()).toEqual(['LICENSE.txt', 'README.md', 'config.json', 'model.safetensors'])
  })

  test('to a branch makes it, and leaves main as it was', async () => {
    hub = await startHub([repo()])
    await pushing(await aFolder(), { repo: 'org/there', branch: 'step-100' })
    expect(Object.keys(headOf('org/there', 'step-100')!)).toContain('model.safetensors')
    expect(Object.keys(headOf('org/there')!)).toEqual(['LICENSE.txt'])
  })

  test('sends a large file in parts where the hub wants that', async () => {
    hub = await startHub([], { partBytes: 100_000 })
    await pushing(await aFolder({ 'big.bin': randomBytes(250_001) }))
    expect(headOf('org/new')!['model.safetensors']!.equals(weights)).toBe(true)
    expect(hub.requests.filter((line) => line.startsWith('PUT /lfs/'))).toHaveLength(6)
  })

  test('twice sends no large file twice', async () => {
    hub = await startHub([])
    const folder = await aFolder()
    await pushing(folder)
    await pushing(folder)
    expect(hub.requests.filter((line) => line.startsWith('PUT'))).toHaveLength(1)
  })

  test('works with a token that does not begin with hf_', async () => {
    hub = await startHub([])
    // refused for what it is, and not for how it is spelt
    expect((await refusal(pushing(await aFolder(), { token: 'private-hub-token' }))).message).toMatch(/token is not valid/)
  })

  test('takes the token that a login left behind', async () => {
    hub = await startHub([])
    await fs.mkdir(path.join(root, 'hf'))
    await fs.writeFile(path.join(root, 'hf/token'), 'hf_granted\n')
    await pushing(await aFolder(), { token: '' })
    expect(headOf('org/new')).toBeDefined()
  })

  test.each([undefined, 100_000])('counts every byte of large files once, parts of %s bytes', async (partBytes) => {
    hub = await startHub([], partBytes === undefined ? {} : { partBytes })
    const seen: PushProgress[] = []
    await pushing(await aFolder({ 'big.bin': randomBytes(150_000) }), { onProgress: (progress) => seen.push(progress) })
    const total = weights.length + 150_000
    for (const step of ['hash', 'upload'] as const) {
      expect(seen.filter((each) => each.step === step).at(-1)).toMatchObject({ doneBytes: total, totalBytes: total })
    }
    expect(seen.every(({ doneBytes, totalBytes }) => doneBytes <= totalBytes)).toBe(true)
    expect([...new Set(seen.map(({ step }) => step))]).toEqual(['prepare', 'hash', 'upload', 'commit'])
  })
})

describe('a network that breaks', () => {
  test.each([
    { kind: 'cut', after: 50_000 },
    { kind: 'status', status: 503 },
  ] as const)('while a large file goes up ($kind) is tried again', async (fault) => {
    hub = await startHub([])
    hub.faults.set('upload', [fault, fault])
    await pushing(await aFolder())
    expect(headOf('org/new')!['model.safetensors']!.equals(weights)).toBe(true)
    expect(hub.requests.filter((line) => line.startsWith('PUT'))).toHaveLength(3)
  })

  test('for good leaves the repository as it was, and the next push sends what is missing', async () => {
    hub = await startHub([repo()])
    const big = randomBytes(200_000)
    const folder = await aFolder({ 'big.bin': big })
    const before = { ...hub.repos[0]!.branches }
    hub.faults.set('commit', [{ kind: 'cut', after: 0 }])
    const error = await refusal(pushing(folder, { repo: 'org/there' }))
    expect(error.code).toBe('HUB_UNAVAILABLE')
    expect(hub.repos[0]!.branches).toEqual(before)
    expect([...hub.store.keys()].sort()).toEqual([sha256(big), sha256(weights)].sort())
    const uploads = () => hub.requests.filter((line) => line.startsWith('PUT')).length
    const sent = uploads()
    await pushing(folder, { repo: 'org/there' })
    expect(uploads()).toBe(sent)
    expect(headOf('org/there')!['big.bin']!.equals(big)).toBe(true)
  })

  test('in every try of an upload says so, and commits nothing', async () => {
    hub = await startHub([repo()])
    hub.faults.set(
      'upload',
      Array.from({ length: 9 }, () => ({ kind: 'cut', after: 10 }) as const),
    )
    expect(await refusal(pushing(await aFolder(), { repo: 'org/there' }))).toMatchObject({ code: 'HUB_UNAVAILABLE' })
    expect(hub.repos[0]!.branches.main).toBe(COMMIT_A)
    expect(hub.requests.filter((line) => line.includes('/commit/'))).toEqual([])
  })

  test('is not waited for by who is stopped', async () => {
    hub = await startHub([repo()])
    const stop = new AbortController()
    hub.faults.set(
      'upload',
      Array.from({ length: 9 }, () => ({ kind: 'status', status: 503 }) as const),
    )
    const onProgress = ({ step }: PushProgress) => step === 'upload' && stop.abort(new Error('stopped by SIGINT'))
    const attempt = pushing(await aFolder(), { repo: 'org/there', retryDelayMs: 60_000, onProgress, signal: stop.signal })
    await expect(attempt).rejects.toThrow('stopped by SIGINT')
    expect(hub.repos[0]!.branches.main).toBe(COMMIT_A)
  })

  test('with nobody at the other end is told', async () => {
    hub = await startHub([])
    await hub.close()
    expect(await refusal(pushing(await aFolder()))).toMatchObject({
      code: 'HUB_UNAVAILABLE',
      message: expect.stringContaining('ECONNREFUSED'),
    })
  })
})

describe('the hub says no', () => {
  test.each<[string, Partial<PushRequest> & { token?: string }, RegExp]>([
    ['no token', { token: '' }, /pushing wants a token\. Set HF_TOKEN/],
    ['a wrong token', { token: 'hf_wrong' }, /token is not valid.*Set another HF_TOKEN/],
    [
      'a token that may only read',
      { token: 'hf_reader', repo: 'org/there' },
      /may not write to org; it says: You need a token with write access.*HF_TOKEN/,
    ],
    ['a token that may not write there', { repo: 'other/new' }, /may not write to other.*rights to create/],
    ['a name that a data set has', { repo: 'org/pictures' }, /taken by what is no repository of models.*another name/],
    ['a public repository that should be private', { repo: 'org/there', private: true }, /it is public.*without --private/],
  ])('%s', async (_, change, message) => {
    hub = await startHub([repo(), repo({ id: 'org/pictures', isDataset: true })])
    const error = await refusal(pushing(await aFolder(), change))
    expect(error.code).toBe('HUB_REFUSED')
    expect(error.message.replaceAll('\n', ' ')).toMatch(message)
    expect(hub.repos.map(({ branches }) => branches)).toEqual([{ main: COMMIT_A }, { main: COMMIT_A }])
  })

  test('somebody else was faster', async () => {
    hub = await startHub([repo()])
    const onProgress = ({ step }: PushProgress) => {
      if (step !== 'commit') return
      const there = hub.repos[0]!
      there.commits['c'.repeat(40)] = there.commits[COMMIT_A]!
      there.branches.main = 'c'.repeat(40)
    }
    const error = await refusal(pushing(await aFolder(), { repo: 'org/there', onProgress }))
    expect(error.message).toMatch(/somebody else changed the repository.*push again/)
    expect(hub.repos[0]!.branches.main).toBe('c'.repeat(40))
  })

  test('weights are there that would be read in the place of those pushed', async () => {
    hub = await startHub([repo({ commits: { [COMMIT_A]: { 'model.safetensors': randomBytes(9) } } })])
    const folder = await aFolder({ 'pytorch_model.bin': randomBytes(9) })
    await fs.rm(path.join(folder, 'model.safetensors'))
    const error = await refusal(pushing(folder, { repo: 'org/there' }))
    expect(error.message).toMatch(/holds model\.safetensors, which would be read in the place of pytorch_model\.bin/)
  })
})

describe('a folder', () => {
  test('without files is refused', async () => {
    hub = await startHub([])
    await fs.mkdir(path.join(root, 'empty'))
    await fs.writeFile(path.join(root, 'empty/.hidden'), 'x')
    expect(await refusal(pushing(path.join(root, 'empty')))).toMatchObject({
      code: 'INPUT_INVALID',
      message: expect.stringContaining('no files'),
    })
    expect(await refusal(pushing(path.join(root, 'nowhere')))).toMatchObject({ code: 'INPUT_INVALID' })
    expect(hub.requests).toEqual([])
  })

  test('with a link out of it is refused', async () => {
    hub = await startHub([])
    const folder = await aFolder()
    await fs.symlink('/etc/hostname', path.join(folder, 'vocab.json'))
    expect(await refusal(pushing(folder))).toMatchObject({ code: 'FILE_UNSAFE', message: expect.stringContaining('out of the folder') })
    expect(hub.repos).toEqual([])
  })
})

test.each([
  ['org/name', { repo: 'org/name', branch: 'main' }],
  ['org/name@step-100', { repo: 'org/name', branch: 'step-100' }],
  ['https://hub.example/org/name/tree/a%2Fb', { repo: 'org/name', branch: 'a/b' }],
])('%s is where to push to', (target, parsed) => {
  expect(parseTarget(target)).toEqual(parsed)
})

test.each(['', 'name', 'a/b/c', 'org/name@', 'org/name@../x', `org/name@${COMMIT_A}`, './folder/x'])(
  '%j is nowhere to push to',
  (target) => {
    expect(() => parseTarget(target)).toThrow(/target/)
  },
)

describe('a model that is written, pushed and imported', () => {
  let catalog: Catalog
  let database: TestDatabase
  let close: () => Promise<void>
  beforeAll(async () => {
    ;({ catalog, database, close } = await createTestCatalog())
  })
  afterAll(() => close())

  test('is the same model', async () => {
    hub = await startHub([])
    const fixture = path.resolve(import.meta.dirname, '../fixtures/models/hf-clip')
    const original = await loadModel(fixture)
    const folder = path.join(root, 'written')
    await writeModelFolder(folder, modelToWrite(original), {
      files: await tokenizerFiles(fixture),
      card: { body: '# Tiny', license: 'mit' },
    })
    await pushing(folder, { repo: 'org/Tiny.CLIP', private: true })
    const { model } = await importModel({
      source: 'org/Tiny.CLIP',
      catalog,
      config: { dataDir: database.dataDir, hubEndpoint: hub.url, hubToken: 'hf_granted', hubHome: root, hubCache: path.join(root, 'hub') },
      inspect: ({ folder: where }) => describeModel(where),
    })
    const imported = await loadModel(model.folder)
    expect(imported.description).toEqual(original.description)
    expect(imported.towers.vision.weights).toEqual(original.towers.vision.weights)
    expect(imported.towers.text!.weights).toEqual(original.towers.text!.weights)
    expect(imported.tokenizer!.encode(['a red cat'])).toEqual(original.tokenizer!.encode(['a red cat']))
  })
})
