/** On the demo: real learned features tell real sets of pictures apart, and their recipe does what it says. */

import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { importSae } from '../../src/catalog/import/import-sae.js'
import { openFileSource } from '../../src/engine/io/byte-source.js'
import { readZipDirectory, readZipEntry } from '../../src/engine/io/zip-reader.js'
import { describeSae } from '../../src/engine/saes/load-sae.js'
import type { ImagesOfSae } from '../../src/operations/schemas/compare.js'
import { post, startTestServer, type TestServer } from './test-server.js'

const demo = path.resolve(import.meta.dirname, '../../demo')
const SAE = 'emoji-clip.5-resid-post.topk-16-x8-all'
/** Of each class. */
const IMAGES = 32

let server: TestServer
const images: Record<string, string[]> = {}

beforeAll(async () => {
  server = await startTestServer()
  const folder = path.join(demo, 'models/emoji-clip')
  await server.catalog.models.register({
    ...{ id: 'emoji-clip', name: 'emoji-clip', description: await server.host.inspect({ key: 'emoji-clip', folder, processing: [] }) },
    ...{ provenance: { kind: 'folder', name: 'emoji-clip' }, license: null, files: [], weightsSha256: 'a'.repeat(64), weightBytes: 1 },
    ...{ folder, processing: [] },
  })
  await importSae({
    ...{ source: path.join(demo, 'saes', SAE), id: SAE, model: 'emoji-clip', catalog: server.catalog },
    config: { dataDir: server.config.dataDir, hubEndpoint: '', hubToken: '', hubHome: '', hubCache: '' },
    inspectSae: (sae) => describeSae(sae.folder, { overrides: sae.overrides }),
  })
  for (const name of ['animal-mammal', 'country-flag']) images[name] = await picturesOf(name)
})
afterAll(() => server.close())

/** The first ones of a class, stored. */
async function picturesOf(name: string): Promise<string[]> {
  const source = await openFileSource(path.join(demo, 'datasets/emoji-twemoji.zip'), 'emoji-twemoji.zip')
  try {
    const directory = await readZipDirectory(source, 'emoji-twemoji.zip')
    const read = async (file: string) => readZipEntry(source, directory, { entry: directory.entries.get(file)!, maxBytes: 2 ** 24 })
    const lines = Buffer.from(await read('list.jsonl'))
      .toString()
      .trim()
      .split('\n')
    const files = lines.map((line) => JSON.parse(line) as { file: string; label: string }).filter(({ label }) => label === name)
    const stored = files
      .slice(0, IMAGES)
      .map(async ({ file }) => ({ bytes: await read(file), format: 'webp', width: 64, height: 64 }) as const)
    return [...(await server.catalog.images.putAll(await Promise.all(stored)))]
  } finally {
    await source.close()
  }
}

async function compare(a: readonly string[], b: readonly string[], more: object): Promise<ImagesOfSae> {
  const response = await post(server.app, '/v1/compare/images', { saes: [SAE], a: { images: a }, b: { images: b }, ...more })
  expect(response.json()).not.toHaveProperty('code')
  return response.json().saes[0]
}

test('mammals and flags are told apart by features that hold on pictures not seen, and the recipe moves flags towards mammals where directions at random do not', async () => {
  const { nTested, nDiscoveries, recipe, check } = await compare(images['animal-mammal']!, images['country-flag']!, {
    recipe: 10,
    check: true,
  })
  expect(nDiscoveries / nTested).toBeGreaterThan(0.2)
  expect(recipe).toHaveLength(10)
  expect(check!.auroc).toBeGreaterThan(0.75)
  const [once, four, sixteen] = check!.doses as [Dose, Dose, Dose]
  expect(once.moved).toBeGreaterThan(0.02)
  expect(four.moved! - Math.abs(four.movedAtRandom!)).toBeGreaterThan(0.15)
  expect(sixteen.moved! - Math.abs(sixteen.movedAtRandom!)).toBeGreaterThan(0.5)
})

type Dose = NonNullable<ImagesOfSae['check']>['doses'][number]

test('two halves of one class are not told apart', async () => {
  const mammals = images['animal-mammal']!
  const { nTested, nDiscoveries } = await compare(
    mammals.filter((_, at) => at % 2 === 0),
    mammals.filter((_, at) => at % 2 === 1),
    {},
  )
  expect(nTested).toBeGreaterThan(100)
  expect(nDiscoveries).toBeLessThanOrEqual(0.01 * nTested)
})
