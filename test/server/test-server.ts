/**
 * The whole server for tests: a real database, the real engine on tiny golden models, requests injected without a socket.
 */

import type { InjectOptions, LightMyRequestResponse } from 'fastify'
import sharp from 'sharp'
import type { ApiKeyScope, Catalog } from '../../src/catalog/catalog.js'
import { type Config, readConfig } from '../../src/config.js'
import { createEngineHost, type Transport } from '../../src/engine/host/engine-host.js'
import type { EngineHost } from '../../src/engine/host/host.js'
import { buildApp } from '../../src/server/app.js'
import { createTestCatalog } from '../catalog/test-database.js'
import { folderOf } from '../engine/models/fixtures.js'

/** A classifier with CLS; CLIP; a model whose hook points all have patches only. */
export const testModels = { classifier: 'hf-vit-classifier', clip: 'hf-clip', noCls: 'timm-no-cls' } as const

export interface TestServer {
  readonly app: Awaited<ReturnType<typeof buildApp>>
  readonly catalog: Catalog
  readonly host: EngineHost
  readonly config: Config
  /** Another server over the same host and catalog, with other settings or with parts of them replaced. */
  another(parts: {
    config?: Partial<Config>
    host?: Partial<EngineHost>
    catalog?: Partial<Catalog>
  }): Promise<Awaited<ReturnType<typeof buildApp>>>
  addKey(...scopes: ApiKeyScope[]): Promise<string>
  close(): Promise<void>
}

export async function startTestServer({ transport }: { readonly transport?: Transport } = {}): Promise<TestServer> {
  const { catalog, database, close } = await createTestCatalog()
  const config = { ...readConfig({}), host: '127.0.0.1', dataDir: database.dataDir, maxBodyBytes: 2 ** 20, maxInputsPerRequest: 16 }
  const host = await createEngineHost({
    devices: ['cpu'],
    memoryBytes: 128 * 2 ** 20,
    intraOpThreads: 1,
    imageThreads: 1,
    maxImagePixels: 1_000_000,
    ...(transport && { transport }),
  })
  for (const id of Object.values(testModels)) {
    const folder = folderOf(id)
    const description = await host.inspect({ key: id, folder, processing: [] })
    await catalog.models.register({
      id,
      name: `The tiny ${id}`,
      description,
      provenance: { kind: 'folder', name: id },
      license: null,
      files: [{ path: 'config.json', bytes: 1, sha256: 'c'.repeat(64) }],
      weightsSha256: Buffer.from(id).toString('hex').padEnd(64, '0').slice(0, 64),
      weightBytes: 1000,
      folder,
      processing: [],
    })
  }
  const app = await buildApp({ host, catalog, config })
  const others: Awaited<ReturnType<typeof buildApp>>[] = []
  return {
    app,
    catalog,
    host,
    config,
    async another(parts) {
      const other = await buildApp({
        host: Object.assign(Object.create(host) as EngineHost, parts.host),
        catalog: { ...catalog, ...parts.catalog },
        config: { ...config, ...parts.config },
      })
      others.push(other)
      return other
    },
    addKey: async (...scopes) => (await catalog.apiKeys.create({ label: 'test', scopes })).key,
    async close() {
      for (const each of [app, ...others]) await each.close()
      await host.close()
      await close()
    },
  }
}

export type App = Pick<TestServer['app'], 'inject'>

export async function post(app: App, url: string, body: unknown, headers: Record<string, string> = {}): Promise<LightMyRequestResponse> {
  const payload = typeof body === 'string' ? body : JSON.stringify(body)
  return app.inject({ method: 'POST', url, payload, headers: { 'content-type': 'application/json', ...headers } })
}

export async function get(app: App, url: string, headers: Record<string, string> = {}): Promise<LightMyRequestResponse> {
  return app.inject({ url, headers } satisfies InjectOptions)
}

export async function upload(app: App, bytes: Buffer, headers: Record<string, string> = {}): Promise<LightMyRequestResponse> {
  return app.inject({
    method: 'POST',
    url: '/v1/images',
    payload: bytes,
    headers: { 'content-type': 'application/octet-stream', ...headers },
  })
}

/** A picture that no two seeds share. */
export async function picture(seed = 1, { width = 20, height = 16 } = {}): Promise<Buffer> {
  const data = Buffer.from({ length: width * height * 3 } as ArrayLike<number>)
  for (let i = 0; i < data.length; i++) data[i] = (i * 37 * seed + ((i * i) % 251)) % 256
  return sharp(data, { raw: { width, height, channels: 3 } })
    .png()
    .toBuffer()
}

/** A GraphQL answer: data and errors. */
export async function graphql(
  app: App,
  query: string,
  variables?: Record<string, unknown>,
  headers: Record<string, string> = {},
  // biome-ignore lint/suspicious/noExplicitAny: the shape is the query's
): Promise<{ status: number; data: any; errors: { message: string; path?: (string | number)[]; extensions: Record<string, any> }[] }> {
  const response = await post(app, '/graphql', { query, ...(variables && { variables }) }, headers)
  const { data, errors = [] } = response.json()
  return { status: response.statusCode, data, errors }
}
