/** The bucket of a server that speaks S3's language, over real HTTP. */

import { randomBytes } from 'node:crypto'
import fs from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import S3rver from 's3rver'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { s3PartStore } from '../../src/catalog/jobs/part-store.js'
import { openS3BlobStore, s3PlaceName } from '../../src/catalog/s3-blob-store.js'

let folder: string
let server: S3rver
let endpoint: string
const place = (url = 's3://pictures/refract') => ({ url, endpoint, region: 'us-east-1' })

beforeAll(async () => {
  // the only names that the stand-in knows; the library finds them where Amazon's own tools do
  Object.assign(process.env, { AWS_ACCESS_KEY_ID: 'S3RVER', AWS_SECRET_ACCESS_KEY: 'S3RVER' })
  folder = await fs.mkdtemp(path.join(os.tmpdir(), 'refract-s3-'))
  server = new S3rver({ port: 0, address: '127.0.0.1', silent: true, directory: folder, configureBuckets: [{ name: 'pictures' }] })
  const { port } = await server.run()
  endpoint = `http://127.0.0.1:${port}`
})
afterAll(async () => {
  await server.close()
  await fs.rm(folder, { recursive: true, force: true })
})

test('bytes come back as they were, to everyone who uses the bucket', async () => {
  const [one, other] = [await openS3BlobStore(place()), await openS3BlobStore(place())]
  for (const bytes of [randomBytes(100_000), new Uint8Array(), Buffer.from('text')]) {
    const sha256 = await one.put(bytes)
    expect(await one.put(bytes)).toBe(sha256)
    expect(Buffer.from((await other.get(sha256))!)).toEqual(Buffer.from(bytes))
  }
  expect(await one.get('0'.repeat(64))).toBeUndefined()
  for (const store of [one, other]) store.close()
})

test('many at once come back in their order, the same ones once', async () => {
  const store = await openS3BlobStore(place())
  const files = Array.from({ length: 40 }, (_, index) => Buffer.from(`file ${index % 39}`))
  const hashes = await store.putAll(files)
  expect(new Set(hashes).size).toBe(39)
  for (const [index, sha256] of hashes.entries()) expect(Buffer.from((await store.get(sha256))!)).toEqual(files[index])
  store.close()
})

test('the folder of a bucket is its own place', async () => {
  const [one, other] = [await openS3BlobStore(place()), await openS3BlobStore(place('s3://pictures/elsewhere'))]
  const sha256 = await one.put(Buffer.from('only here'))
  expect(await other.get(sha256)).toBeUndefined()
  expect(s3PlaceName(place())).not.toBe(s3PlaceName(place('s3://pictures/elsewhere')))
  expect(s3PlaceName(place())).toBe(s3PlaceName(place('s3://pictures/refract')))
  for (const store of [one, other]) store.close()
})

test("results of shards are each job's own, and go without touching what is the same", async () => {
  const [blobs, parts] = [await openS3BlobStore(place()), s3PartStore(place())]
  const [one, other] = [await parts.ofJob('one'), await parts.ofJob('other')]
  const bytes = Buffer.from('the same everywhere')
  const sha256 = await one.put(bytes)
  for (const store of [other, blobs]) await store.put(bytes)
  await parts.remove('one', [sha256, '0'.repeat(64)])
  expect(await one.get(sha256)).toBeUndefined()
  for (const store of [other, blobs]) expect(Buffer.from((await store.get(sha256))!)).toEqual(bytes)
  parts.close()
  blobs.close()
})

test('what was put within the hour is not removed, and what is older is', async () => {
  const store = await openS3BlobStore(place())
  const sha256 = await store.put(Buffer.from('to go'))
  await store.remove(sha256)
  expect(await store.get(sha256)).toBeDefined()
  const now = vi.spyOn(Date, 'now').mockReturnValue(Date.now() + 61 * 60_000)
  await store.remove(sha256)
  await store.remove('0'.repeat(64))
  now.mockRestore()
  store.close()
  // a client's own idea of the time
  const again = await openS3BlobStore(place())
  expect(await again.get(sha256)).toBeUndefined()
  again.close()
})

test('damaged bytes are refused', async () => {
  const store = await openS3BlobStore(place())
  const sha256 = await store.put(Buffer.from('whole'))
  const names = await fs.readdir(folder, { recursive: true })
  const object = names.find((name) => name.includes(sha256) && /object$/.test(name))!
  await fs.writeFile(path.join(folder, object), 'spoil')
  await expect(store.get(sha256)).rejects.toMatchObject({ code: 'FILE_INVALID' })
  store.close()
})

test('a bucket that is none, and a server that does not answer, are refused when the store is opened', async () => {
  await expect(openS3BlobStore(place('s3://no-such-bucket'))).rejects.toMatchObject({
    code: 'BLOBS_UNAVAILABLE',
    message: expect.stringContaining('there is no such bucket'),
  })
  await expect(openS3BlobStore({ ...place(), endpoint: 'http://127.0.0.1:1' })).rejects.toMatchObject({ code: 'BLOBS_UNAVAILABLE' })
})
