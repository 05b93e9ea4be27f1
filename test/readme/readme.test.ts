import fs from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { registerInPlace } from '../../src/catalog/import/register-in-place.js'
import { registerSaesInPlace } from '../../src/catalog/import/register-saes-in-place.js'
import { startTestServer, type TestServer } from '../server/test-server.js'
import { type Example, examplesOf } from './commands.js'

const root = path.resolve(import.meta.dirname, '../..')
const examples = examplesOf(fs.readFileSync(path.join(root, 'README.md'), 'utf8'))

let server: TestServer
beforeAll(async () => {
  server = await startTestServer()
  const { catalog, host } = server
  await registerInPlace(path.join(root, 'demo/models'), 'demo/models', { catalog, inspect: host.inspect })
  await registerSaesInPlace(path.join(root, 'demo/saes'), 'demo/saes', { catalog, inspectSae: host.inspectSae, license: 'cc-by-sa-4.0' })
})
afterAll(() => server.close())

test('the README shows the calls it promises', () => {
  expect(examples.map(({ path }) => path)).toEqual(['/v1/images', '/v1/forward', '/graphql', '/v1/images', '/v1/forward', '/v1/features'])
})

test('every call of the README answers what the README shows', async () => {
  for (const example of examples) expect(comparable(await answer(example))).toEqual(comparable(example.answer))
})

async function answer({ path: url, headers, body }: Example): Promise<unknown> {
  const payload = body && ('file' in body ? fs.readFileSync(path.join(root, body.file)) : body.text)
  const response = await server.app.inject({ method: 'POST', url, headers, ...(payload && { payload }) })
  return response.json()
}

/** Numbers to three digits, and without what differs each time: dates and random ids. */
function comparable(value: unknown): unknown {
  if (typeof value === 'number') return Number(value.toPrecision(3))
  if (Array.isArray(value)) return value.map(comparable)
  if (value === null || typeof value !== 'object') return value
  const fields = Object.entries(value).filter(([name]) => name !== 'createdAt' && name !== 'cache')
  return Object.fromEntries(fields.map(([name, field]) => [name, comparable(field)]))
}
