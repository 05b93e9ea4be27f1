/** Pictures in and out, over both doors. */

import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { get, graphql, picture, startTestServer, type TestServer, upload } from './test-server.js'

let server: TestServer
beforeAll(async () => {
  server = await startTestServer()
})
afterAll(() => server.close())

const SVG = '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
const BOUNDARY = 'x-test-boundary'

interface Part {
  readonly name: string
  readonly value: string | Buffer
  readonly filename?: string
}

function form(parts: readonly Part[]): { payload: Buffer; headers: Record<string, string> } {
  const chunks = parts.flatMap(({ name, value, filename }) => {
    const file = filename === undefined ? '' : `; filename="${filename}"\r\ncontent-type: application/octet-stream`
    return [`--${BOUNDARY}\r\ncontent-disposition: form-data; name="${name}"${file}\r\n\r\n`, value, '\r\n']
  })
  const payload = Buffer.concat([...chunks, `--${BOUNDARY}--\r\n`].map((chunk) => Buffer.from(chunk as string)))
  return { payload, headers: { 'content-type': `multipart/form-data; boundary=${BOUNDARY}` } }
}

const sendForm = (url: string, parts: readonly Part[]) => server.app.inject({ method: 'POST', url, ...form(parts) })

/** `uploadImage` by the multipart request specification. */
async function uploadByGraphql(bytes: Buffer, change: { operations?: object; map?: unknown } = {}) {
  const query = 'mutation ($file: Upload!) { uploadImage(file: $file) { id format width height bytes } }'
  const response = await sendForm('/graphql', [
    { name: 'operations', value: JSON.stringify(change.operations ?? { query, variables: { file: null } }) },
    { name: 'map', value: JSON.stringify(change.map ?? { 0: ['variables.file'] }) },
    { name: '0', value: bytes, filename: 'a.png' },
  ])
  return {
    status: response.statusCode,
    ...(response.json() as { data: { uploadImage: { id: string } } | null; errors?: { message: string; extensions: object }[] }),
  }
}

describe('an upload', () => {
  test('is the same image as a raw body, as a form and over GraphQL', async () => {
    const bytes = await picture(7, { width: 30, height: 20 })
    const raw = await upload(server.app, bytes)
    expect(raw.statusCode).toBe(201)
    expect(raw.json()).toMatchObject({
      id: expect.stringMatching(/^sha256:[0-9a-f]{64}$/),
      format: 'png',
      width: 30,
      height: 20,
      bytes: bytes.length,
    })
    expect(raw.headers.location).toBe(`/v1/images/${raw.json().id}`)
    for (const type of ['image/png', 'image/jpeg'])
      expect((await upload(server.app, bytes, { 'content-type': type })).json()).toEqual(raw.json())
    expect((await sendForm('/v1/images', [{ name: 'anything', value: bytes, filename: 'x.png' }])).json()).toEqual(raw.json())
    const { createdAt: _, ...image } = raw.json()
    expect((await uploadByGraphql(bytes)).data!.uploadImage).toEqual(image)
  })

  test('is checked before it is stored', async () => {
    const { totalCount } = (await get(server.app, '/v1/images')).json()
    const png = await picture(8)
    const jpeg = await sharp(png).jpeg().toBuffer()
    const bomb = await sharp({ create: { width: 4000, height: 4000, channels: 3, background: 'red' } })
      .png()
      .toBuffer()
    const cases: [Buffer, string, string][] = [
      [Buffer.from(SVG), 'IMAGE_INVALID', 'an SVG'],
      [jpeg.subarray(0, jpeg.length / 2), 'IMAGE_INVALID', 'truncated'],
      [png.subarray(0, 40), 'IMAGE_INVALID', ''],
      [Buffer.from('GIF89a'), 'IMAGE_INVALID', 'a GIF'],
      [Buffer.from([0x80, 2, 0x63]), 'IMAGE_INVALID', 'a pickle'],
      [bomb, 'IMAGE_TOO_LARGE', '4000 x 4000'],
    ]
    for (const [bytes, code, text] of cases) {
      const rest = (await upload(server.app, bytes)).json()
      expect(rest).toMatchObject({ code, detail: expect.stringContaining(text) })
      expect((await uploadByGraphql(bytes)).errors![0]).toMatchObject({ message: rest.detail, extensions: { code } })
    }
    expect((await get(server.app, '/v1/images')).json().totalCount).toBe(totalCount)
  })

  test('is refused with other content types, other fields, and two files', async () => {
    const bytes = await picture(9)
    const svg = await upload(server.app, Buffer.from(SVG), { 'content-type': 'image/svg+xml' })
    expect(svg.json()).toMatchObject({ code: 'MEDIA_TYPE_UNSUPPORTED', status: 415, detail: expect.stringContaining('image/png') })
    const json = await upload(server.app, Buffer.from('{}'), { 'content-type': 'application/json' })
    expect(json.json()).toMatchObject({ code: 'MEDIA_TYPE_UNSUPPORTED' })
    const file = { name: 'a', value: bytes, filename: 'a.png' }
    expect((await sendForm('/v1/images', [{ name: 'title', value: 'x' }, file])).json()).toMatchObject({ errors: [{ path: 'title' }] })
    expect((await sendForm('/v1/images', [file, { ...file, name: 'b' }])).json()).toMatchObject({ code: 'INPUT_INVALID' })
    expect((await sendForm('/v1/images', [])).statusCode).toBe(400)
    for (const payload of [
      'x',
      `--${BOUNDARY}`,
      `--${BOUNDARY}\r\nnonsense\r\n\r\n`,
      `--${BOUNDARY}\r\ncontent-disposition: form-data; filename="a"\r\n\r\nxyz\r\n--${BOUNDARY}--\r\n`,
      `--${BOUNDARY}\r\ncontent-disposition: form-data; name="a"; filename="a"\r\n\r\nxyz`,
    ]) {
      for (const type of ['multipart/form-data', `multipart/form-data; boundary=${BOUNDARY}`]) {
        for (const url of ['/v1/images', '/graphql']) {
          const response = await server.app.inject({ method: 'POST', url, payload, headers: { 'content-type': type } })
          expect([url, payload, response.statusCode]).toEqual([url, payload, 400])
          expect(response.body).not.toMatch(/undefined|Cannot read/)
        }
      }
    }
  })

  test('is refused when the file in a form is too large, not cut', async () => {
    const bytes = Buffer.alloc(2 ** 20 + 1000, 1)
    expect((await sendForm('/v1/images', [{ name: 'a', value: bytes, filename: 'a' }])).json()).toMatchObject({
      code: 'BODY_TOO_LARGE',
      status: 413,
    })
    expect((await uploadByGraphql(bytes)).errors![0]!.extensions).toMatchObject({ code: 'BODY_TOO_LARGE' })
  })

  test('with an Idempotency-Key can be repeated, but not with other content', async () => {
    const [bytes, others] = [await picture(10), await picture(11)]
    const send = (file: Buffer, key: string) => upload(server.app, file, { 'idempotency-key': key })
    const first = await send(bytes, 'one')
    expect((await send(bytes, 'one')).json()).toEqual(first.json())
    expect((await send(others, 'one')).json()).toMatchObject({ code: 'IDEMPOTENCY_KEY_INVALID', status: 422 })
    expect((await send(others, 'two')).statusCode).toBe(201)
    expect((await send(others, 'x'.repeat(300))).json()).toMatchObject({ code: 'IDEMPOTENCY_KEY_INVALID' })
  })
})

describe('GraphQL forms that lie', () => {
  test.each([
    [
      'name a place that is not null',
      { operations: { query: '{ __typename }', variables: { file: 'x' } }, map: { 0: ['variables.file'] } },
    ],
    ['name the prototype', { operations: { query: '{ __typename }' }, map: { 0: ['__proto__.x'] } }],
    ['name a place in nothing', { operations: { query: '{ __typename }' }, map: { 0: ['variables.a.b.c'] } }],
    ['have a map that is none', { map: [1] }],
    ['do not map their file', { map: {} }],
  ])('%s', async (_, change) => {
    const { status, errors } = await uploadByGraphql(await picture(12), change)
    expect([status, errors![0]!.extensions]).toEqual([
      400,
      { type: '/errors/GRAPHQL_INVALID', title: 'Graphql invalid', code: 'GRAPHQL_INVALID', status: 400 },
    ])
    expect(({} as { x?: unknown }).x).toBeUndefined()
  })

  test('an upload as text is no upload', async () => {
    const { errors } = await graphql(server.app, 'mutation ($file: Upload!) { uploadImage(file: $file) { id } }', { file: 'x' })
    expect(errors[0]).toMatchObject({ message: expect.stringContaining('multipart'), extensions: { code: 'GRAPHQL_INVALID' } })
  })
})

describe('an image', () => {
  let id: string
  let bytes: Buffer
  beforeAll(async () => {
    bytes = await picture(20, { width: 60, height: 30 })
    id = (await upload(server.app, bytes)).json().id
  })

  test('whose pixels are damaged within what the decoder forgives is shown small, too', async () => {
    const jpeg = await sharp({
      create: { width: 64, height: 64, channels: 3, background: 'red', noise: { type: 'gaussian', mean: 128, sigma: 60 } },
    })
      .jpeg()
      .toBuffer()
    const damaged = Buffer.concat([
      jpeg.subarray(0, jpeg.length / 2),
      Buffer.from([0xff, 0x12, 0x00, 0xff, 0x77]),
      jpeg.subarray(jpeg.length / 2),
    ])
    const uploaded = await upload(server.app, damaged)
    expect(uploaded.statusCode).toBe(201)
    expect((await get(server.app, `/v1/images/${uploaded.json().id}?size=16`)).statusCode).toBe(200)
  })

  test('comes back as it was, for ever', async () => {
    const response = await get(server.app, `/v1/images/${id}`)
    expect(response.rawPayload.equals(bytes)).toBe(true)
    expect(response.headers).toMatchObject({
      'content-type': 'image/png',
      'cache-control': 'private, max-age=31536000, immutable',
      etag: expect.any(String),
    })
    const again = await get(server.app, `/v1/images/${id}`, { 'if-none-match': `"other", W/${response.headers.etag}` })
    expect([again.statusCode, again.body]).toEqual([304, ''])
  })

  test('comes small, never enlarged, under a tag of its own', async () => {
    const small = await get(server.app, `/v1/images/${id}?size=20`)
    expect(await sharp(small.rawPayload).metadata()).toMatchObject({ width: 20, height: 10, format: 'png' })
    expect(await sharp((await get(server.app, `/v1/images/${id}?size=500`)).rawPayload).metadata()).toMatchObject({ width: 60, height: 30 })
    const tags = [small.headers.etag, (await get(server.app, `/v1/images/${id}`)).headers.etag]
    expect(new Set(tags).size).toBe(2)
    expect((await get(server.app, `/v1/images/${id}?size=0`)).json()).toMatchObject({ code: 'INPUT_INVALID', errors: [{ path: 'size' }] })
    expect((await get(server.app, `/v1/images/${id}?size=99999`)).statusCode).toBe(400)
  })

  test('that came small once is not made small again', async () => {
    let reads = 0
    const counting = async (wanted: string) => {
      reads++
      return server.catalog.images.read(wanted)
    }
    const app = await server.another({ catalog: { images: { ...server.catalog.images, read: counting } } })
    const first = await get(app, `/v1/images/${id}?size=11`)
    expect((await get(app, `/v1/images/${id}?size=11`)).rawPayload.equals(first.rawPayload)).toBe(true)
    expect(reads).toBe(1)
    await get(app, `/v1/images/${id}?size=12`)
    expect(reads).toBe(2)
  })

  test('is described as JSON when that is asked for, and over GraphQL with the same words', async () => {
    const json = (await get(server.app, `/v1/images/${id}`, { accept: 'application/json' })).json()
    expect(json).toMatchObject({ id, format: 'png', width: 60, height: 30 })
    const fields = 'id format width height bytes createdAt'
    const { data } = await graphql(
      server.app,
      `query ($id: ID!, $node: ID!) { image(id: $id) { ${fields} } node(id: $node) { ... on Image { ${fields} } } }`,
      { id, node: id },
    )
    expect(data).toEqual({ image: json, node: json })
    expect((await get(server.app, `/v1/images/${id}`, { accept: 'text/html' })).statusCode).toBe(406)
  })

  test('that is not there, or has no id at all, is refused without a word to caches', async () => {
    const gone = await get(server.app, `/v1/images/sha256:${'0'.repeat(64)}`)
    expect(gone.json()).toMatchObject({ code: 'IMAGE_UNKNOWN', status: 404 })
    expect(gone.headers['cache-control']).toBe('no-store')
    for (const bad of ['../x', 'sha256:xyz', 'sha256:%00', '..%2f..%2fetc%2fpasswd'])
      expect((await get(server.app, `/v1/images/${bad}`)).statusCode).toBeGreaterThanOrEqual(400)
  })
})

test('lists page by page, newest first, with the same cursors over both doors', async () => {
  for (let seed = 30; seed < 35; seed++) await upload(server.app, await picture(seed))
  const all = (await get(server.app, '/v1/images?limit=100')).json()
  const seen: string[] = []
  let cursor: string | null = null
  do {
    const page: { items: { id: string }[]; nextCursor: string | null; totalCount: number } = (
      await get(server.app, `/v1/images?limit=2${cursor ? `&cursor=${cursor}` : ''}`)
    ).json()
    const { data } = await graphql(
      server.app,
      'query ($after: String) { images(first: 2, after: $after) { totalCount pageInfo { hasNextPage endCursor } edges { cursor node { id } } } }',
      { after: cursor },
    )
    expect(data.images.edges.map((edge: { node: object }) => edge.node)).toEqual(page.items.map(({ id }) => ({ id })))
    expect(data.images.pageInfo.hasNextPage).toBe(page.nextCursor !== null)
    if (page.nextCursor) expect(data.images.pageInfo.endCursor).toBe(page.nextCursor)
    expect(data.images.totalCount).toBe(page.totalCount)
    seen.push(...page.items.map(({ id }) => id))
    cursor = page.nextCursor
  } while (cursor)
  expect(seen).toEqual(all.items.map(({ id }: { id: string }) => id))
  expect(new Set(seen).size).toBe(all.totalCount)
})
