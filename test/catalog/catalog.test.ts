import { createHash, randomBytes } from 'node:crypto'
import fs from 'node:fs/promises'
import net from 'node:net'
import path from 'node:path'
import postgres from 'postgres'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openBlobStore } from '../../src/catalog/blob-store.js'
import type { Catalog, NewModel } from '../../src/catalog/catalog.js'
import { encodeCursor } from '../../src/catalog/cursors.js'
import { openCatalog } from '../../src/catalog/open-catalog.js'
import { databaseError } from '../../src/catalog/postgres/database-errors.js'
import { storageError } from '../../src/engine/io/storage-errors.js'
import { aModel } from './a-model.js'
import { createTestCatalog, type TestDatabase } from './test-database.js'

let catalog: Catalog
let database: TestDatabase
let close: () => Promise<void>
beforeAll(async () => {
  ;({ catalog, database, close } = await createTestCatalog())
})
afterAll(() => close())

const png = { format: 'png', width: 3, height: 2 } as const
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

async function everyPage<T>(list: (cursor?: string) => Promise<{ items: readonly T[]; nextCursor: string | null }>): Promise<T[]> {
  const items: T[] = []
  for (let cursor: string | null | undefined; cursor !== null; ) {
    const page = await list(cursor)
    items.push(...page.items)
    cursor = page.nextCursor
  }
  return items
}

describe('pictures', () => {
  test('are kept under the hash of their bytes and come back as they were', async () => {
    const bytes = randomBytes(5000)
    const image = await catalog.images.put(bytes, png)
    expect(image).toMatchObject({ id: `sha256:${sha256(bytes)}`, bytes: 5000, ...png })
    expect(await catalog.images.get(image.id)).toEqual(image)
    expect(Buffer.from((await catalog.images.read(image.id))!).equals(bytes)).toBe(true)
  })

  test('stored twenty times at once are one picture', async () => {
    const bytes = randomBytes(2000)
    const images = await Promise.all(Array.from({ length: 20 }, () => catalog.images.put(bytes, png)))
    expect(new Set(images.map((image) => image.id)).size).toBe(1)
    expect(new Set(images.map((image) => image.createdAt.getTime())).size).toBe(1)
  })

  test('page by page come newest first, each once, while others arrive', async () => {
    const made = await Promise.all(Array.from({ length: 7 }, () => catalog.images.put(randomBytes(16), png)))
    const seen = await everyPage(async (cursor) => {
      const page = await catalog.images.list({ limit: 2, ...(cursor && { cursor }) })
      await catalog.images.put(randomBytes(16), png)
      return page
    })
    const ids = seen.map((image) => image.id)
    expect(new Set(ids).size).toBe(ids.length)
    expect(ids).toEqual(expect.arrayContaining(made.map((image) => image.id)))
    expect(seen.map((image) => image.createdAt.getTime())).toEqual(seen.map((image) => image.createdAt.getTime()).sort((a, b) => b - a))
  })

  test('that nobody stored are undefined, whatever the id looks like', async () => {
    for (const id of [`sha256:${'0'.repeat(64)}`, 'sha256:../../etc/passwd', '', "'; drop table images; --", '\0']) {
      expect(await catalog.images.get(id)).toBeUndefined()
      expect(await catalog.images.read(id)).toBeUndefined()
    }
  })

  test('damaged on the disk are an error, and whole again once stored again', async () => {
    const bytes = randomBytes(100)
    const { id } = await catalog.images.put(bytes, png)
    const hash = id.slice(7)
    await fs.writeFile(path.join(database.dataDir, 'blobs/sha256', hash.slice(0, 2), hash), randomBytes(100))
    // named by its id: where it lies is nothing for whoever asked for it
    await expect(catalog.images.read(id)).rejects.toMatchObject({ code: 'FILE_INVALID', message: expect.stringMatching(/^sha256:\w+: /) })
    await catalog.images.put(bytes, png)
    expect(Buffer.from((await catalog.images.read(id))!).equals(bytes)).toBe(true)
  })

  test('lost from the disk are there again once stored again', async () => {
    const bytes = randomBytes(100)
    const { id } = await catalog.images.put(bytes, png)
    const hash = id.slice(7)
    await fs.rm(path.join(database.dataDir, 'blobs/sha256', hash.slice(0, 2), hash))
    expect(await catalog.images.read(id)).toBeUndefined()
    await catalog.images.put(bytes, png)
    expect(Buffer.from((await catalog.images.read(id))!).equals(bytes)).toBe(true)
  })
})

describe('cursors', () => {
  test.each([
    'x',
    'bm9uc2Vuc2U',
    '"[]"',
    Buffer.from('["images"]').toString('base64url'),
    Buffer.from('["images",1,2]').toString('base64url'),
    encodeCursor('models', ['a', 'b']),
    encodeCursor('images', ['yesterday', 'b']),
    encodeCursor('images', [new Date(0).toISOString(), 'a\0b']),
  ])('that this list did not give are refused: %s', async (cursor) => {
    await expect(catalog.images.list({ limit: 2, cursor })).rejects.toMatchObject({ code: 'CURSOR_INVALID' })
  })
})

describe('models', () => {
  test('come back as they were registered', async () => {
    const model = aModel({ id: 'first' })
    const registered = await catalog.models.register(model)
    expect(registered).toEqual({ ...model, createdAt: expect.any(Date) })
    expect(await catalog.models.get('first')).toEqual(registered)
    expect(await catalog.models.get('second')).toBeUndefined()
    expect(await catalog.models.ids()).toContain('first')
  })

  test('from the hub keep repository, commit and what was asked for', async () => {
    const provenance = {
      kind: 'hub',
      repo: 'org/name',
      revision: 'a'.repeat(40),
      requestedRevision: 'main',
      endpoint: 'https://hub.example',
    } as const
    await catalog.models.register(aModel({ id: 'from-hub', provenance }))
    expect((await catalog.models.get('from-hub'))?.provenance).toEqual(provenance)
  })

  test('registered twice are one, also at the same time', async () => {
    const model = aModel({ id: 'twice' })
    const all = await Promise.all(Array.from({ length: 8 }, () => catalog.models.register(model)))
    expect(new Set(all.map((one) => one.createdAt.getTime())).size).toBe(1)
  })

  test.each<[string, Partial<NewModel>, RegExp]>([
    ['other weights', { weightsSha256: 'f'.repeat(64) }, /other weights/],
    ['other processing', { processing: ['fold-layer-norm'] }, /other weight processing \(none; asked for: fold-layer-norm\)/],
    ['another configuration', { files: [{ path: 'config.json', bytes: 2, sha256: 'e'.repeat(64) }] }, /config\.json/],
  ])('with a taken id and %s are refused, with a way out', async (_, change, problem) => {
    await catalog.models.register(aModel({ id: 'taken' }))
    const again = catalog.models.register(aModel({ id: 'taken', ...change }))
    await expect(again).rejects.toMatchObject({ code: 'MODEL_CONFLICT' })
    await expect(again).rejects.toThrow(problem)
    await expect(again).rejects.toThrow(/--id/)
  })

  test('that moved are found at their new place', async () => {
    await catalog.models.register(aModel({ id: 'moved', folder: '/one' }))
    expect((await catalog.models.get('moved'))?.folder).toBe('/one')
    await catalog.models.register(aModel({ id: 'moved', folder: '/two' }))
    expect((await catalog.models.get('moved'))?.folder).toBe('/two')
  })

  test('inside the data folder move with it', async () => {
    await catalog.models.register(aModel({ id: 'inside', folder: path.join(database.dataDir, 'models/inside/x') }))
    const row = await catalog.prisma.model.findUniqueOrThrow({ where: { id: 'inside' } })
    expect(row.folder).toBe('models/inside/x')
  })

  test('with text that PostgreSQL cannot store lose only that text', async () => {
    const model = aModel({ id: 'odd-text' })
    const labels = ['a\0b', 'half \ud83d pair', 'whole 🍎', 'back\\u0000slash']
    await catalog.models.register({ ...model, description: { ...model.description, classLabels: labels } })
    expect((await catalog.models.get('odd-text'))?.description.classLabels).toEqual([
      'a\ufffdb',
      'half \ufffd pair',
      'whole 🍎',
      'back\\u0000slash',
    ])
  })

  test('are listed in order of id, filtered, and found by text taken literally', async () => {
    for (const id of ['list-c', 'list-a', 'list-b']) await catalog.models.register(aModel({ id, name: `100% ${id}` }))
    const found = await everyPage((cursor) => catalog.models.list({ limit: 1, text: '100% LIST', ...(cursor && { cursor }) }))
    expect(found.map((model) => model.id)).toEqual(['list-a', 'list-b', 'list-c'])
    expect((await catalog.models.list({ limit: 10, text: 'list_' })).totalCount).toBe(0)
    expect((await catalog.models.list({ limit: 10, layout: 'timm' })).totalCount).toBe(0)
    expect((await catalog.models.list({ limit: 2, text: 'list-' })).totalCount).toBe(3)
  })

  test('removed are gone with their files', async () => {
    await catalog.models.register(aModel({ id: 'gone' }))
    expect(await catalog.models.get('gone')).toBeDefined()
    expect(await catalog.models.remove('gone')).toBe(true)
    expect(await catalog.models.remove('gone')).toBe(false)
    expect(await catalog.models.get('gone')).toBeUndefined()
    expect(await catalog.prisma.modelFile.count({ where: { modelId: 'gone' } })).toBe(0)
  })
})

describe('API keys', () => {
  test('are recognised until they are revoked, and only their hash is stored', async () => {
    const before = await catalog.apiKeys.countActive()
    const { key, ...record } = await catalog.apiKeys.create({ label: 'notebook', scopes: ['read', 'run'] })
    expect(await catalog.apiKeys.countActive()).toBe(before + 1)
    expect(await catalog.apiKeys.verify(key)).toMatchObject({ id: record.id, label: 'notebook', scopes: ['read', 'run'] })
    expect(JSON.stringify(await catalog.prisma.apiKey.findMany())).not.toContain(key.slice(13))
    expect(await catalog.apiKeys.revoke(record.prefix)).toBe(true)
    expect(await catalog.apiKeys.revoke(record.prefix)).toBe(false)
    expect(await catalog.apiKeys.verify(key)).toBeUndefined()
    expect(await catalog.apiKeys.countActive()).toBe(before)
    expect((await catalog.apiKeys.list()).find(({ id }) => id === record.id)?.revokedAt).toBeInstanceOf(Date)
  })

  test('that are almost right are unknown', async () => {
    const { key } = await catalog.apiKeys.create({ label: 'x', scopes: ['admin'] })
    for (const wrong of ['', key.slice(0, -1), `${key}A`, key.toUpperCase(), `${key.slice(0, -1)}\0`, 'rfr_']) {
      expect(await catalog.apiKeys.verify(wrong)).toBeUndefined()
    }
  })

  test('remember when they were last used', async () => {
    const { key, id, lastUsedAt } = await catalog.apiKeys.create({ label: 'y', scopes: ['read'] })
    expect(lastUsedAt).toBeNull()
    await catalog.apiKeys.verify(key)
    expect((await catalog.apiKeys.list()).find((one) => one.id === id)?.lastUsedAt).toBeInstanceOf(Date)
  })
})

describe('the blob store', () => {
  test('removes what has been there for an hour, and not what was put again since', async () => {
    const folder = path.join(database.dataDir, 'removing')
    const blobs = await openBlobStore(folder)
    const [stale, again, fresh] = (await blobs.putAll(['stale', 'again', 'fresh'].map((text) => Buffer.from(text)))) as [
      string,
      string,
      string,
    ]
    const hourAgo = new Date(Date.now() - 61 * 60_000)
    for (const sha256 of [stale, again]) await fs.utimes(path.join(folder, 'blobs/sha256', sha256.slice(0, 2), sha256), hourAgo, hourAgo)
    await blobs.put(Buffer.from('again'))
    for (const sha256 of [stale, again, fresh, '0'.repeat(64)]) await blobs.remove(sha256)
    expect(await blobs.get(stale)).toBeUndefined()
    for (const [sha256, text] of [
      [again, 'again'],
      [fresh, 'fresh'],
    ] as const)
      expect(Buffer.from((await blobs.get(sha256))!).toString()).toBe(text)
    expect(await fs.readdir(path.join(folder, 'blobs/writing'))).toEqual([])
  })

  test('keeps nothing of a write that failed, and says that the disk is full', async () => {
    const store = await openBlobStore(path.join(database.dataDir, 'full'))
    // a file where the folder must be: the write fails at its last step
    const bytes = randomBytes(50)
    await fs.writeFile(path.join(database.dataDir, 'full/blobs/sha256', sha256(bytes).slice(0, 2)), '')
    await expect(store.put(bytes)).rejects.toThrow()
    expect(await fs.readdir(path.join(database.dataDir, 'full/blobs/writing'))).toEqual([])
    const full = storageError(Object.assign(new Error('x'), { code: 'ENOSPC' }), '/data', 3 * 2 ** 20)
    expect(full).toMatchObject({ code: 'STORAGE_FULL', message: expect.stringContaining('3 MB') })
  })

  test('clears away what a killed process left half written', async () => {
    const folder = path.join(database.dataDir, 'left')
    await openBlobStore(folder)
    const old = path.join(folder, 'blobs/writing/old')
    const fresh = path.join(folder, 'blobs/writing/fresh')
    await fs.writeFile(old, 'x')
    await fs.writeFile(fresh, 'x')
    await fs.utimes(old, new Date(0), new Date(0))
    await openBlobStore(folder)
    expect(await fs.readdir(path.dirname(old))).toEqual(['fresh'])
  })
})

describe('a database that does not answer', () => {
  test('is told from one that does', async () => {
    expect(await catalog.ping()).toBe(true)
    const url = Object.assign(new URL(database.url), { port: '1' }).href
    const unreachable = await openCatalog({ databaseUrl: url, dataDir: database.dataDir })
    expect(await unreachable.ping()).toBe(false)
    for (const attempt of [unreachable.models.ids(), unreachable.images.list({ limit: 1 }), unreachable.apiKeys.countActive()]) {
      await expect(attempt).rejects.toMatchObject({
        code: 'DATABASE_UNAVAILABLE',
        message: expect.stringContaining('nothing listens there'),
      })
    }
    await unreachable.close()
  })

  test('and keeps silent is told within seconds', async () => {
    const silent = net.createServer((socket) => socket.resume())
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
    const { port } = silent.address() as net.AddressInfo
    const url = Object.assign(new URL(database.url), { port: String(port) }).href
    const asking = await openCatalog({ databaseUrl: url, dataDir: database.dataDir })
    const before = performance.now()
    expect(await asking.ping()).toBe(false)
    expect(performance.now() - before).toBeLessThan(4000)
    await asking.close()
    silent.close()
  })

  test.each([
    ['Connection terminated unexpectedly', 'it closed the connection'],
    ['Connection terminated due to connection timeout', 'it does not answer'],
    ['timeout exceeded when trying to connect', 'it does not answer'],
    ['Query read timeout', 'it does not answer'],
    ['Client has encountered a connection error and is not queryable', 'it closed the connection'],
  ])('is known by what node-postgres says: %s', (message, problem) => {
    expect(databaseError(new Error(message), database.url)).toMatchObject({
      code: 'DATABASE_UNAVAILABLE',
      message: expect.stringContaining(problem),
    })
    const other = new Error('a bug')
    expect(databaseError(other, database.url)).toBe(other)
  })

  test('that cut its connections is asked again', async () => {
    await catalog.models.ids()
    const sql = postgres(database.url, { max: 1 })
    await sql`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`
    await sql.end()
    await Promise.all(Array.from({ length: 5 }, () => catalog.models.ids()))
    expect(await catalog.ping()).toBe(true)
  })
})
