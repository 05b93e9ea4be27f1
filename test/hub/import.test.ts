import { execFileSync, spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import fs from 'node:fs/promises'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Catalog } from '../../src/catalog/catalog.js'
import { type ImportRequest, importModel } from '../../src/catalog/import/import-model.js'
import type { ErrorCode } from '../../src/engine/errors.js'
import { aModel } from '../catalog/a-model.js'
import { createTestCatalog, type TestDatabase } from '../catalog/test-database.js'
import { COMMIT_A, COMMIT_B, type Hub, type Repo, startHub } from './stand-in.js'

let catalog: Catalog
let database: TestDatabase
let close: () => Promise<void>
let hub: Hub
let cache: string
beforeAll(async () => {
  ;({ catalog, database, close } = await createTestCatalog())
})
afterAll(() => close())
beforeEach(async () => {
  cache = await fs.mkdtemp(path.join(database.dataDir, 'hub-'))
})
afterEach(() => hub.close())

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
const config = Buffer.from('{"model_type":"vit"}')
const weights = randomBytes(300_000)
const description = aModel({ id: 'x' }).description

function repo(change: Partial<Repo> = {}): Repo {
  return {
    id: 'org/Tiny.ViT',
    branches: { main: COMMIT_A },
    commits: { [COMMIT_A]: { 'config.json': config, 'model.safetensors': weights, 'pytorch_model.bin': weights, 'README.md': config } },
    ...change,
  }
}

let counter = 0
/** Imports under a fresh id, so that tests do not meet in the catalog. */
function importing(source: string, change: Partial<ImportRequest> & { token?: string } = {}) {
  const { token = '', ...rest } = change
  const hubConfig = { hubEndpoint: hub.url, hubToken: token, hubHome: cache, hubCache: path.join(cache, 'hub') }
  return importModel({
    source,
    id: `import-${counter++}`,
    catalog,
    config: { dataDir: database.dataDir, ...hubConfig },
    inspect: async () => description,
    retryDelayMs: 1,
    ...rest,
  })
}

/** Breaks the connection each time that the weights have come so far: only what has arrived is sure to be kept. */
function breakingAt(...lengths: number[]): NonNullable<ImportRequest['onProgress']> {
  const parts = lengths.map((length, index) => length - (lengths[index - 1] ?? 0))
  hub.faults.set(
    'model.safetensors',
    parts.map((after) => ({ kind: 'hang', after })),
  )
  return ({ what, doneBytes }) => {
    if (what === 'model.safetensors' && lengths.includes(doneBytes - config.length)) hub.drop()
  }
}

async function refusal(attempt: Promise<unknown>): Promise<{ code: ErrorCode; message: string }> {
  return attempt.then(
    () => expect.unreachable('it was not refused'),
    (error) => error,
  )
}

describe('an import from the hub', () => {
  test('downloads what the model needs and nothing else, and records where it came from', async () => {
    hub = await startHub([repo({ license: 'mit' })])
    const { model, isNew } = await importing('org/Tiny.ViT')
    expect(isNew).toBe(true)
    expect(hub.requests.filter((line) => line.includes('/resolve/')).map((line) => line.split('/').at(-1))).toEqual([
      'config.json',
      'model.safetensors',
    ])
    expect(model).toMatchObject({
      name: 'org/Tiny.ViT',
      license: 'mit',
      provenance: { kind: 'hub', repo: 'org/Tiny.ViT', revision: COMMIT_A, requestedRevision: 'main', endpoint: hub.url },
      weightsSha256: sha256(weights),
      weightBytes: weights.length,
      files: [
        { path: 'config.json', bytes: config.length, sha256: sha256(config) },
        { path: 'model.safetensors', bytes: weights.length, sha256: sha256(weights) },
      ],
    })
    expect((await fs.readFile(path.join(model.folder, 'model.safetensors'))).equals(weights)).toBe(true)
  })

  test("leaves the cache as Python's library would", async () => {
    hub = await startHub([repo()])
    await importing('org/Tiny.ViT')
    const root = path.join(cache, 'hub/models--org--Tiny.ViT')
    expect(await fs.readFile(path.join(root, 'refs/main'), 'utf8')).toBe(COMMIT_A)
    expect(await fs.readlink(path.join(root, 'snapshots', COMMIT_A, 'model.safetensors'))).toBe(`../../blobs/${sha256(weights)}`)
    const git = createHash('sha1').update(`blob ${config.length}\0`).update(config).digest('hex')
    expect((await fs.readdir(path.join(root, 'blobs'))).sort()).toEqual([git, sha256(weights)].sort())
  })

  test('twice downloads once and changes nothing', async () => {
    hub = await startHub([repo()])
    const first = await importing('org/Tiny.ViT', { id: 'same-twice' })
    const second = await importing('org/Tiny.ViT@main', { id: 'same-twice' })
    expect(second).toEqual({ model: first.model, isNew: false })
    expect(hub.downloads('model.safetensors')).toHaveLength(1)
  })

  test('uses what Python downloaded', async () => {
    hub = await startHub([repo()])
    const root = path.join(cache, 'hub/models--org--Tiny.ViT')
    await fs.mkdir(path.join(root, 'blobs'), { recursive: true })
    await fs.mkdir(path.join(root, 'snapshots', COMMIT_A), { recursive: true })
    await fs.writeFile(path.join(root, 'blobs', sha256(weights)), weights)
    await fs.symlink(`../../blobs/${sha256(weights)}`, path.join(root, 'snapshots', COMMIT_A, 'model.safetensors'))
    await importing('org/Tiny.ViT')
    expect(hub.downloads('model.safetensors')).toEqual([])
  })

  test('downloads again what is damaged in the cache', async () => {
    hub = await startHub([repo()])
    const { model } = await importing('org/Tiny.ViT')
    await fs.writeFile(path.join(model.folder, 'model.safetensors'), randomBytes(weights.length))
    await importing('org/Tiny.ViT')
    expect((await fs.readFile(path.join(model.folder, 'model.safetensors'))).equals(weights)).toBe(true)
  })

  test('resumes at the byte where the connection broke, as often as it breaks', async () => {
    hub = await startHub([repo()])
    await importing('org/Tiny.ViT', { onProgress: breakingAt(100_000, 150_000) })
    const ranges = hub.downloads('model.safetensors').map((line) => line.split(' [')[1])
    expect(ranges).toEqual([undefined, 'bytes=100000-]', 'bytes=150000-]'])
  })

  test('starts over where the hub cannot resume', async () => {
    hub = await startHub([repo()])
    const onProgress = breakingAt(100_000)
    hub.faults.get('model.safetensors')?.push({ kind: 'no-range' })
    const { model } = await importing('org/Tiny.ViT', { onProgress })
    expect(hub.downloads('model.safetensors')).toHaveLength(2)
    expect((await fs.readFile(path.join(model.folder, 'model.safetensors'))).equals(weights)).toBe(true)
  })

  test('outlasts a busy hub', async () => {
    hub = await startHub([repo()])
    hub.faults.set('model.safetensors', [
      { kind: 'status', status: 503 },
      { kind: 'status', status: 429 },
    ])
    await importing('org/Tiny.ViT')
    expect(hub.downloads('model.safetensors')).toHaveLength(3)
  })

  test('gives up on a hub that stays busy, and keeps what it has', async () => {
    hub = await startHub([repo()])
    const onProgress = breakingAt(100_000)
    hub.faults.get('model.safetensors')?.push(...Array.from({ length: 9 }, () => ({ kind: 'status', status: 500 }) as const))
    const id = 'kept-partial'
    expect(await refusal(importing('org/Tiny.ViT', { id, onProgress }))).toMatchObject({
      code: 'HUB_UNAVAILABLE',
      message: expect.stringContaining('status 500'),
    })
    expect(await catalog.models.get(id)).toBeUndefined()
    hub.faults.clear()
    await importing('org/Tiny.ViT', { id })
    expect(hub.downloads('model.safetensors').at(-1)).toContain('bytes=100000-')
  })

  test.each([{ kind: 'damage' }, { kind: 'longer' }] as const)('refuses bytes that are not what was announced: $kind', async (fault) => {
    hub = await startHub([repo()])
    hub.faults.set('model.safetensors', [fault])
    const id = `wrong-${fault.kind}`
    expect(await refusal(importing('org/Tiny.ViT', { id }))).toMatchObject({
      code: 'DOWNLOAD_INVALID',
      message: expect.stringContaining('model.safetensors'),
    })
    expect(await catalog.models.get(id)).toBeUndefined()
    expect(await fs.readdir(path.join(cache, 'hub/models--org--Tiny.ViT/blobs'))).not.toContain(sha256(weights))
  })

  test('starts over when what an earlier process left is damaged', async () => {
    hub = await startHub([repo()])
    const blobs = path.join(cache, 'hub/models--org--Tiny.ViT/blobs')
    await fs.mkdir(blobs, { recursive: true })
    await fs.writeFile(path.join(blobs, `${sha256(weights)}.refract.incomplete`), randomBytes(1000))
    const { model } = await importing('org/Tiny.ViT')
    expect((await fs.readFile(path.join(model.folder, 'model.safetensors'))).equals(weights)).toBe(true)
  })

  test('by branch, tag or commit takes that commit', async () => {
    const other = randomBytes(1000)
    const commits = {
      [COMMIT_A]: { 'config.json': config, 'model.safetensors': weights },
      [COMMIT_B]: { 'config.json': config, 'model.safetensors': other },
    }
    hub = await startHub([repo({ branches: { main: COMMIT_A, 'refs/pr/1': COMMIT_B }, commits })])
    expect((await importing('org/Tiny.ViT@refs/pr/1')).model).toMatchObject({
      weightsSha256: sha256(other),
      provenance: { revision: COMMIT_B, requestedRevision: 'refs/pr/1' },
    })
    expect((await importing('org/Tiny.ViT', { revision: COMMIT_B })).model.weightsSha256).toBe(sha256(other))
    expect((await importing(`${hub.url}/org/Tiny.ViT/tree/main`)).model.weightsSha256).toBe(sha256(weights))
  })

  test('of a branch that moved is refused under the same id before anything is downloaded', async () => {
    const commits = {
      [COMMIT_A]: { 'config.json': config, 'model.safetensors': weights },
      [COMMIT_B]: { 'config.json': config, 'model.safetensors': randomBytes(1000) },
    }
    const moving = repo({ commits })
    hub = await startHub([moving])
    await importing('org/Tiny.ViT', { id: 'moving' })
    moving.branches.main = COMMIT_B
    const before = hub.requests.length
    expect(await refusal(importing('org/Tiny.ViT', { id: 'moving' }))).toMatchObject({
      code: 'MODEL_CONFLICT',
      message: expect.stringContaining('--id'),
    })
    expect(hub.requests.slice(before).filter((line) => line.includes('/resolve/'))).toEqual([])
  })

  test('takes all shards of sharded weights', async () => {
    const [one, two] = [randomBytes(1000), randomBytes(2000)]
    const index = Buffer.from(
      JSON.stringify({ weight_map: { a: 'model-1.safetensors', b: 'model-2.safetensors', c: 'model-1.safetensors' } }),
    )
    const files = { 'config.json': config, 'model.safetensors.index.json': index, 'model-1.safetensors': one, 'model-2.safetensors': two }
    hub = await startHub([repo({ commits: { [COMMIT_A]: files } })])
    const { model } = await importing('org/Tiny.ViT')
    expect(model.weightBytes).toBe(3000)
    const lines = `${sha256(one)}  model-1.safetensors\n${sha256(two)}  model-2.safetensors\n`
    expect(model.weightsSha256).toBe(sha256(Buffer.from(lines)))
    expect(model.files.map((file) => file.path)).toHaveLength(4)
  })

  test.each<[string, string, ErrorCode, RegExp]>([
    ['a path out of the folder', '../../../secret', 'FILE_UNSAFE', /not a file beside it/],
    ['a shard that is missing', 'model-9.safetensors', 'FILE_INVALID', /model-9\.safetensors/],
  ])('refuses an index with %s', async (_, shard, code, message) => {
    const index = Buffer.from(JSON.stringify({ weight_map: { a: shard } }))
    hub = await startHub([repo({ commits: { [COMMIT_A]: { 'config.json': config, 'model.safetensors.index.json': index } } })])
    const error = await refusal(importing('org/Tiny.ViT'))
    expect(error.code).toBe(code)
    expect(error.message).toMatch(message)
  })

  test("prefers open_clip's weights where its configuration is", async () => {
    const files = {
      'open_clip_config.json': config,
      'open_clip_pytorch_model.bin': weights,
      'config.json': config,
      'model.safetensors': randomBytes(10),
    }
    hub = await startHub([repo({ commits: { [COMMIT_A]: files } })])
    expect((await importing('org/Tiny.ViT')).model.weightsSha256).toBe(sha256(weights))
  })

  test('of what the engine cannot read registers nothing', async () => {
    hub = await startHub([repo()])
    const inspect = async () => {
      throw new Error('the engine says no')
    }
    await expect(importing('org/Tiny.ViT', { id: 'unreadable', inspect })).rejects.toThrow('the engine says no')
    expect(await catalog.models.get('unreadable')).toBeUndefined()
  })

  test('can be stopped, and goes on from there', async () => {
    hub = await startHub([repo()])
    hub.faults.set('model.safetensors', [{ kind: 'hang', after: 120_000 }])
    const stop = new AbortController()
    const onProgress: ImportRequest['onProgress'] = ({ what, doneBytes }) => {
      if (what === 'model.safetensors' && doneBytes >= 120_000 + config.length) stop.abort()
    }
    await expect(importing('org/Tiny.ViT', { signal: stop.signal, onProgress })).rejects.toThrow(/abort/i)
    await importing('org/Tiny.ViT')
    expect(hub.downloads('model.safetensors').at(-1)).toContain('bytes=120000-')
  })

  test('counts every byte once in its progress', async () => {
    hub = await startHub([repo()])
    const seen: { doneBytes: number; totalBytes: number }[] = []
    const breaking = breakingAt(10_000)
    const onProgress: ImportRequest['onProgress'] = (progress) => {
      if (progress.step === 'download') seen.push(progress)
      breaking(progress)
    }
    await importing('org/Tiny.ViT', { onProgress })
    expect(seen.at(-1)).toMatchObject({ doneBytes: weights.length + config.length, totalBytes: weights.length + config.length })
    expect(seen.every(({ doneBytes, totalBytes }) => doneBytes <= totalBytes)).toBe(true)
  })
})

describe('the hub says no', () => {
  const cases: [string, Partial<Repo>, string, string, ErrorCode, RegExp][] = [
    ['a repository that is not there', {}, 'org/Tiny', '', 'HUB_REFUSED', /no such repository.*spelling.*HF_TOKEN/],
    ['a revision that is not there', {}, 'org/Tiny.ViT@nope', '', 'HUB_REFUSED', /no such revision.*branches/],
    ['a private repository', { private: true }, 'org/Tiny.ViT', '', 'HUB_REFUSED', /If it is private, set HF_TOKEN/],
    ['a gated repository', { gated: true }, 'org/Tiny.ViT', '', 'HUB_REFUSED', /gated.*Accept its terms.*HF_TOKEN/],
    ['a wrong token', {}, 'org/Tiny.ViT', 'hf_wrong', 'HUB_REFUSED', /token is not valid/],
    [
      'no weights',
      { commits: { [COMMIT_A]: { 'config.json': config } } },
      'org/Tiny.ViT',
      '',
      'FILE_INVALID',
      /no weights.*It holds config\.json/,
    ],
  ]
  test.each(cases)('%s', async (_, change, source, token, code, message) => {
    hub = await startHub([repo(change)])
    const error = await refusal(importing(source, { token }))
    expect(error.code).toBe(code)
    expect(error.message.replaceAll('\n', ' ')).toMatch(message)
  })

  test('and yes to the token, from the setting or from the hub home', async () => {
    hub = await startHub([repo({ gated: true, private: true })])
    expect((await importing('org/Tiny.ViT', { token: 'hf_granted' })).isNew).toBe(true)
    await fs.writeFile(path.join(cache, 'token'), 'hf_granted\n')
    expect((await importing('org/Tiny.ViT')).isNew).toBe(true)
  })

  test('nothing at all', async () => {
    hub = await startHub([])
    await hub.close()
    expect(await refusal(importing('org/Tiny.ViT'))).toMatchObject({
      code: 'HUB_UNAVAILABLE',
      message: expect.stringContaining('HF_ENDPOINT'),
    })
  })
})

describe('several processes', () => {
  const script = path.join(import.meta.dirname, 'download-in-process.ts')
  const child = () =>
    spawn(process.execPath, ['--import', 'tsx', script, hub.url, path.join(cache, 'hub'), 'org/Tiny.ViT', 'model.safetensors'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })

  test('that want the same file at once download it once', async () => {
    hub = await startHub([repo()])
    const children = [child(), child(), child()]
    const codes = await Promise.all(children.map(async (one) => (await once(one, 'exit'))[0]))
    expect(codes).toEqual([0, 0, 0])
    expect(hub.downloads('model.safetensors')).toHaveLength(1)
  })

  test('of which one was killed half-way: the next goes on from there', async () => {
    hub = await startHub([repo()])
    hub.faults.set('model.safetensors', [{ kind: 'hang', after: 200_000 }])
    const killed = child()
    // the child says what it has on the disk
    for await (const line of killed.stdout!.setEncoding('utf8')) if (String(line).includes('200000')) break
    killed.kill('SIGKILL')
    await once(killed, 'exit')
    await importing('org/Tiny.ViT')
    expect(hub.downloads('model.safetensors').at(-1)).toContain('bytes=200000-')
  })
})

describe('an import from a folder', () => {
  async function aFolder(files: Record<string, Buffer | string>): Promise<string> {
    const folder = await fs.mkdtemp(path.join(database.dataDir, 'My ViT '))
    for (const [name, bytes] of Object.entries(files)) await fs.writeFile(path.join(folder, name), bytes)
    return folder
  }
  beforeEach(async () => {
    hub = await startHub([])
  })

  test('copies what the model needs and outlives the folder', async () => {
    const folder = await aFolder({ 'config.json': config, 'model.safetensors': weights, 'notes.txt': 'x', 'optimizer.pt': 'x' })
    const { model } = await importing(folder)
    await fs.rm(folder, { recursive: true })
    expect((await fs.readdir(model.folder)).sort()).toEqual(['config.json', 'model.safetensors'])
    expect(model).toMatchObject({ provenance: { kind: 'folder', name: path.basename(folder) }, weightsSha256: sha256(weights) })
    expect(model.folder.startsWith(path.join(database.dataDir, 'models'))).toBe(true)
  })

  test('twice is one model, and repairs one whose files were removed', async () => {
    const folder = await aFolder({ 'config.json': config, 'model.safetensors': weights })
    const first = await importing(folder, { id: 'folder-twice' })
    expect(await importing(folder, { id: 'folder-twice' })).toEqual({ model: first.model, isNew: false })
    await fs.rm(first.model.folder, { recursive: true })
    await importing(folder, { id: 'folder-twice' })
    expect((await fs.readFile(path.join(first.model.folder, 'model.safetensors'))).equals(weights)).toBe(true)
  })

  test('with an id that other weights have leaves no copy behind', async () => {
    await importing(await aFolder({ 'model.safetensors': weights }), { id: 'folder-taken' })
    const error = await refusal(importing(await aFolder({ 'model.safetensors': randomBytes(9) }), { id: 'folder-taken' }))
    expect(error.code).toBe('MODEL_CONFLICT')
    expect(await fs.readdir(path.join(database.dataDir, 'models/folder-taken'))).toHaveLength(1)
    expect((await fs.readdir(path.join(database.dataDir, 'models'))).filter((name) => name.startsWith('.'))).toEqual([])
  })

  test('follows no link out of the folder', async () => {
    const folder = await aFolder({ 'model.safetensors': weights })
    await fs.symlink('/etc/hostname', path.join(folder, 'config.json'))
    expect(await refusal(importing(folder))).toMatchObject({
      code: 'FILE_UNSAFE',
      message: expect.stringContaining('link out of the folder'),
    })
  })

  test('takes a snapshot of the hub cache, whose files are links to its blobs', async () => {
    const root = path.join(cache, 'models--a--b')
    const snapshot = path.join(root, 'snapshots', COMMIT_A)
    await fs.mkdir(snapshot, { recursive: true })
    await fs.mkdir(path.join(root, 'blobs'))
    await fs.writeFile(path.join(root, 'blobs/x'), weights)
    await fs.symlink('../../blobs/x', path.join(snapshot, 'model.safetensors'))
    const { model } = await importing(snapshot)
    expect((await fs.lstat(path.join(model.folder, 'model.safetensors'))).isFile()).toBe(true)
  })

  test('is looked at before anything is copied', async () => {
    const folder = await aFolder({ 'config.json': config, 'model.safetensors': weights })
    const steps: string[] = []
    const inspect = async () => {
      throw new Error('the engine says no')
    }
    await expect(importing(folder, { inspect, onProgress: ({ step }) => steps.push(step) })).rejects.toThrow('the engine says no')
    expect(steps).toEqual(['check'])
  })

  test('does not wait on a pipe that is named like a file', async () => {
    const folder = await aFolder({ 'model.safetensors': weights })
    execFileSync('mkfifo', [path.join(folder, 'config.json')])
    expect((await importing(folder)).model.files.map((file) => file.path)).toEqual(['model.safetensors'])
  })

  test.each<[string, Record<string, Buffer | string>, RegExp]>([
    ['a Git LFS pointer', { 'model.safetensors': 'version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n' }, /git lfs pull/],
    ['an index that leads out', { 'model.safetensors.index.json': '{"weight_map":{"a":"../x"}}' }, /not a file beside it/],
    ['an index that is not one', { 'model.safetensors.index.json': '[' }, /not JSON/],
    ['an index of nothing', { 'model.safetensors.index.json': '{"weight_map":{}}' }, /no shards/],
    ['two weight files of no known name', { 'a.pt': 'x', 'b.pt': 'y' }, /several weight files.*a\.pt, b\.pt/],
    ['nothing', {}, /no files/],
  ])('refuses %s', async (_, files, message) => {
    expect((await refusal(importing(await aFolder(files)))).message).toMatch(message)
  })
})
