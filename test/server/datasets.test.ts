import fs from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import type { InjectOptions } from 'fastify'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { zipChunks } from '../../src/engine/io/zip-writer.js'
import { folderWith, png } from '../engine/datasets/pictures.js'
import { type App, get, graphql, post, startTestServer, type TestServer } from './test-server.js'

let server: TestServer
let app: App
beforeAll(async () => {
  server = await startTestServer()
  app = server.app
})
afterAll(() => server.close())

type Files = Readonly<Record<string, string | Uint8Array>>
const zip = (files: Files) =>
  Buffer.concat(zipChunks(Object.entries(files).map(([name, content]) => ({ name, chunks: [Buffer.from(content)] }))))
const animals = async (shade: number) => zip({ 'cat/1.png': await png(shade), 'dog/2.png': await png(shade + 100) })
const raw = (to: App, body: Buffer, query = '', headers: Record<string, string> = {}) =>
  to.inject({ method: 'POST', url: `/v1/datasets${query}`, payload: body, headers: { 'content-type': 'application/zip', ...headers } })
const remove = (id: string) => app.inject({ method: 'DELETE', url: `/v1/datasets/${id}` })
const leftovers = () => fs.readdirSync(path.join(server.config.dataDir, 'incoming'))

interface Part {
  readonly name: string
  readonly content: string | Buffer
  readonly filename?: string
}
function form(parts: readonly Part[]) {
  const boundary = 'a-boundary'
  const payload = Buffer.concat([
    ...parts.flatMap(({ name, content, filename }) => [
      Buffer.from(
        `--${boundary}\r\ncontent-disposition: form-data; name="${name}"${filename === undefined ? '' : `; filename="${filename}"\r\ncontent-type: application/zip`}\r\n\r\n`,
      ),
      Buffer.from(content),
      Buffer.from('\r\n'),
    ]),
    Buffer.from(`--${boundary}--\r\n`),
  ])
  return { method: 'POST' as const, url: '/v1/datasets', payload, headers: { 'content-type': `multipart/form-data; boundary=${boundary}` } }
}

describe('POST /v1/datasets', () => {
  test('takes a zip file as the body, what is said of it in the query', async () => {
    const answer = await raw(app, await animals(1), '?id=animals&name=Some%20animals&license=cc0-1.0')
    expect(answer.statusCode).toBe(201)
    expect(answer.headers.location).toBe('/v1/datasets/animals')
    const dataset = answer.json()
    expect(dataset).toMatchObject({ id: 'animals', name: 'Some animals', license: 'cc0-1.0', nItems: 2, nClasses: 2 })
    expect((await get(app, '/v1/datasets/animals')).json()).toEqual(dataset)
    expect(leftovers()).toEqual([])
  })

  test('takes a form with one file, whose name is the name of the data set', async () => {
    const file = { name: 'file', content: await animals(2), filename: 'My Animals.zip' }
    const answer = await app.inject(form([{ name: 'license', content: 'mit' }, file, { name: 'unreadable', content: 'skip' }]))
    expect(answer.statusCode).toBe(201)
    expect(answer.json()).toMatchObject({ id: 'my-animals', name: 'My Animals', license: 'mit' })
  })

  test('has a neighbour that takes a description of what is on the server, from an admin', async () => {
    const data = { kind: 'folder', folder: await folderWith({ 'a/1.png': await png(3), 'b/2.png': await png(4) }) }
    const answer = await post(app, '/v1/dataset-registrations', { id: 'described', data })
    expect(answer.statusCode).toBe(201)
    expect(answer.headers.location).toBe('/v1/datasets/described')
    expect(answer.json()).toMatchObject({ id: 'described', classNames: ['a', 'b'] })
    const key = { 'idempotency-key': 'r' }
    const keyed = (body: object) => post(app, '/v1/dataset-registrations', body, key)
    expect((await keyed({ id: 'described', data: { kind: 'folderr' } })).json().code).toBe('CONFIG_INVALID')
    expect((await keyed({ id: 'described', data })).statusCode).toBe(201)
    expect((await keyed({ data, id: 'described' })).json().id).toBe('described')
    expect((await keyed({ id: 'described', name: 'Other', data })).json()).toMatchObject({ status: 422, code: 'IDEMPOTENCY_KEY_INVALID' })
    const wrong = await post(app, '/v1/dataset-registrations', { id: 'x', data: { kind: 'folder', folderr: '/' } })
    expect([wrong.statusCode, wrong.json().code]).toEqual([422, 'CONFIG_INVALID'])
  })

  test('answers the first data set when the same content comes again', async () => {
    const body = await animals(5)
    const first = await raw(app, body, '?id=first')
    expect((await raw(app, body, '?id=second')).json()).toEqual(first.json())
    expect((await raw(app, await animals(6), '?id=first')).json()).toMatchObject({ status: 400, errors: [{ path: 'id' }] })
  })

  test('takes an Idempotency-Key for one content and what is said of it', async () => {
    const body = await animals(7)
    const key = { 'idempotency-key': 'k' }
    expect((await raw(app, body, '?id=keyed', key)).statusCode).toBe(201)
    expect((await raw(app, body, '?id=keyed', key)).statusCode).toBe(201)
    for (const again of [raw(app, body, '?id=other', key), raw(app, await animals(8), '?id=keyed', key)]) {
      expect((await again).json()).toMatchObject({ status: 422, code: 'IDEMPOTENCY_KEY_INVALID' })
    }
  })

  test.each<[string, () => Promise<InjectOptions>, number, RegExp]>([
    ['no file in the form', async () => form([{ name: 'id', content: 'x' }]), 400, /file/],
    ['a text for a file', async () => form([{ name: 'file', content: '/etc/passwd' }]), 400, /file.*is a text/],
    ['the name of a file in the query', async () => ({ method: 'POST', url: '/v1/datasets?file=x' }), 400, /file.*is a text/],
    ['nothing', async () => ({ method: 'POST', url: '/v1/datasets' }), 400, /file/],
    ['two files', async () => form(['a', 'b'].map((name) => ({ name, content: 'x', filename: 'x.zip' }))), 400, /second file/],
    [
      'a field that is none',
      async () =>
        form([
          { name: 'file', content: await animals(9), filename: 'x.zip' },
          { name: 'licence', content: 'x' },
        ]),
      400,
      /licence.*license/s,
    ],
    [
      'a field twice',
      async () =>
        form([
          { name: 'id', content: 'x' },
          { name: 'id', content: 'y' },
        ]),
      400,
      /twice/,
    ],
    ['no form', async () => ({ ...form([]), payload: 'nothing' }), 400, /cannot be read/],
    [
      'what is no zip file',
      async () => ({ ...form([{ name: 'file', content: 'GIF89a', filename: 'x.zip' }]) }),
      422,
      /not a complete zip archive/,
    ],
    [
      'names that lead out',
      async () => form([{ name: 'file', content: zip({ '../../evil.png': 'x' }), filename: 'x.zip' }]),
      422,
      /leads out/,
    ],
    [
      'a picture that is none',
      async () => form([{ name: 'file', content: zip({ 'a/1.png': 'x', 'b/2.png': await png(11) }), filename: '../../x.zip' }]),
      422,
      /data set x cannot.*1 of 2 pictures cannot be read: a\/1\.png/,
    ],
    ['another type', async () => ({ ...form([]), headers: { 'content-type': 'application/gzip' } }), 415, /application\/zip/],
  ])('refuses %s', async (_, request, status, message) => {
    const answer = await app.inject(await request())
    expect([answer.statusCode, answer.body]).toEqual([status, expect.stringMatching(message)])
    expect(leftovers()).toEqual([])
  })

  test('refuses what is larger than its limit: as it comes, unpacked, and in number', async () => {
    const small = await server.another({ config: { maxDatasetBytes: 2000, maxBodyBytes: 100 } })
    const tooLarge = (given: unknown) => ({ status: 422, code: 'LIMIT_EXCEEDED', limit: { name: 'datasetBytes', value: 2000, given } })
    expect((await raw(small, await animals(10), '?id=small')).statusCode).toBe(201)
    expect((await raw(small, Buffer.alloc(2001))).json()).toMatchObject(tooLarge(2001))
    const large = form([{ name: 'file', content: Buffer.alloc(100_000), filename: 'x.zip' }])
    expect((await small.inject(large)).json()).toMatchObject(tooLarge(expect.any(Number)))
    const many = zip(Object.fromEntries(Array.from({ length: 50_001 }, (_, index) => [`${index}.png`, ''])))
    const refused = await raw(await server.another({ config: { maxDatasetBytes: 2 ** 30 } }), many)
    expect(refused.json()).toMatchObject({ code: 'LIMIT_EXCEEDED', limit: { name: 'datasetFiles', value: 50_000, given: 50_001 } })
    expect(leftovers()).toEqual([])
  })

  test('refuses a body without a length as soon as it is too long, and the client reads why', async () => {
    const small = await server.another({ config: { maxDatasetBytes: 2000 } })
    await small.listen({ port: 0, host: '127.0.0.1' })
    const { port } = small.server.address() as AddressInfo
    const { status, body } = await new Promise<{ status: number | undefined; body: string }>((resolve, reject) => {
      const headers = { 'content-type': 'application/zip', 'transfer-encoding': 'chunked' }
      const request = http.request({ port, host: '127.0.0.1', method: 'POST', path: '/v1/datasets', headers }, (response) => {
        let text = ''
        response.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk
        })
        response.on('end', () => resolve({ status: response.statusCode, body: text }))
      })
      request.on('error', reject)
      for (let chunk = 0; chunk < 50; chunk++) request.write(Buffer.alloc(10_000))
      request.end()
    })
    expect([status, body]).toEqual([422, expect.stringContaining('datasetBytes')])
    expect(leftovers()).toEqual([])
  })
})

describe('a data set over both doors', () => {
  test('has items in pages, the same over REST and GraphQL', async () => {
    const list = ['file,caption,label,artist', '1.png,a cat,cat,Ann', '2.png,a dog,dog,Bob', '3.png,,dog,Bob']
    const files = { 'list.csv': list.join('\n'), '1.png': await png(21), '2.png': await png(22), '3.png': await png(23) }
    expect((await raw(app, zip(files), '?id=listed')).statusCode).toBe(201)
    const first = (await get(app, '/v1/datasets/listed/items?limit=2')).json()
    const rest = (await get(app, `/v1/datasets/listed/items?limit=2&cursor=${first.nextCursor}`)).json()
    expect([first.totalCount, rest.nextCursor]).toEqual([3, null])
    const items = [...first.items, ...rest.items]
    expect(items).toMatchObject([
      {
        index: 0,
        name: '1.png',
        label: 0,
        className: 'cat',
        captions: [{ text: 'a cat', weight: 1 }],
        facets: { artist: 'Ann', class: 'cat' },
      },
      { index: 1, className: 'dog', variants: [] },
      { index: 2, captions: [], facets: { artist: 'Bob' } },
    ])
    expect((await get(app, `/v1/images/${items[2].image}`)).rawPayload).toEqual(files['3.png'])
    const fields = '{ index name image variants label className captions { text weight } facets }'
    const query = `{ dataset(id: "listed") { nItems items(first: 5) { totalCount edges { node ${fields} } } } datasetItems(dataset: "listed", first: 1) { edges { node ${fields} } } }`
    const { data, errors } = await graphql(app, query)
    expect(errors).toEqual([])
    expect(data.dataset).toEqual({ nItems: 3, items: { totalCount: 3, edges: items.map((node) => ({ node })) } })
    expect(data.datasetItems.edges).toEqual([{ node: items[0] }])
    expect((await get(app, '/v1/datasets/listd/items')).json()).toMatchObject({ status: 404, detail: expect.stringContaining('"listed"') })
    expect((await get(app, '/v1/datasets/listed/items?cursor=nonsense')).json().code).toBe('CURSOR_INVALID')
  })

  test('is uploaded, described and removed over GraphQL', async () => {
    const query = 'mutation ($file: Upload!) { uploadDataset(file: $file, id: "by-graphql") { id nItems report { unreadable { count } } } }'
    const request = form([
      { name: 'operations', content: JSON.stringify({ query, variables: { file: null } }) },
      { name: 'map', content: '{"0": ["variables.file"]}' },
      { name: '0', content: await animals(31), filename: 'x.zip' },
    ])
    const uploaded = (await app.inject({ ...request, url: '/graphql' })).json()
    expect(uploaded).toEqual({ data: { uploadDataset: { id: 'by-graphql', nItems: 2, report: { unreadable: { count: 0 } } } } })
    const data = { kind: 'folder', folder: await folderWith({ 'a/1.png': await png(33) }) }
    const described = await graphql(app, 'mutation ($input: RegisterDatasetInput!) { registerDataset(input: $input) { id } }', {
      input: { id: 'described-too', data },
    })
    expect(described).toMatchObject({ data: { registerDataset: { id: 'described-too' } }, errors: [] })
    const removed = await graphql(app, 'mutation { removeDataset(id: "by-graphql") { id } }')
    expect(removed.data).toEqual({ removeDataset: { id: 'by-graphql' } })
    expect((await get(app, '/v1/datasets/by-graphql')).statusCode).toBe(404)
    expect(leftovers()).toEqual([])
  })

  test('is not removed while a job works with it', async () => {
    await raw(app, await animals(41), '?id=busy')
    const { job } = await server.catalog.jobs.create({
      ...{ kind: 'import', input: {}, lane: 'compute', place: server.catalog.places.blobs },
      uses: ['dataset:busy'],
    })
    expect((await remove('busy')).json()).toMatchObject({ status: 409, code: 'JOB_CONFLICT', detail: expect.stringContaining(job.id) })
    await server.catalog.jobs.cancel(job.id)
    expect((await remove('busy')).json()).toMatchObject({ id: 'busy' })
    expect((await remove('busy')).json()).toMatchObject({ status: 404, code: 'DATASET_UNKNOWN' })
  })
})

test("uploading and removing need the scope write, reading the server's disk needs admin", async () => {
  const [reader, writer] = [await server.addKey('read'), await server.addKey('read', 'write')]
  const withKeys = await server.another({})
  const as = (key: string) => ({ 'x-api-key': key })
  const body = await animals(51)
  expect((await raw(withKeys, body, '?id=k', as(reader))).json()).toMatchObject({ status: 403, code: 'FORBIDDEN' })
  expect((await raw(withKeys, body, '?id=k', as(writer))).statusCode).toBe(201)
  const described = { id: 'etc', data: { kind: 'folder', folder: '/etc' } }
  expect((await post(withKeys, '/v1/dataset-registrations', described, as(writer))).json()).toMatchObject({
    status: 403,
    code: 'FORBIDDEN',
  })
  const deleted = await withKeys.inject({ method: 'DELETE', url: '/v1/datasets/k', headers: as(reader) })
  expect(deleted.statusCode).toBe(403)
})
