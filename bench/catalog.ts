/**
 * The catalog at size: how fast features are loaded, and how long pages of SAEs and features take, over both doors without a socket.
 * `CATALOG_SAES` and `CATALOG_WIDTH` make it smaller (100 SAEs of 49,152 features take about 6 GB of disk while it runs).
 */

import fs from 'node:fs'
import path from 'node:path'
import v8 from 'node:v8'
import vm from 'node:vm'
import { migrate } from '../src/catalog/migrate.js'
import { openCatalog } from '../src/catalog/open-catalog.js'
import { startEmbeddedPostgres } from '../src/catalog/postgres/embedded-postgres.js'
import { seedCatalog } from '../src/catalog/seed/seed-catalog.js'
import { readConfig } from '../src/config.js'
import { featureStatistics } from '../src/engine/evaluation/feature-record.js'
import { createEngineHost } from '../src/engine/host/engine-host.js'
import { buildApp } from '../src/server/app.js'
import { features } from '../test/catalog/a-feature.js'
import { anSae } from '../test/catalog/an-sae.js'
import { summarise } from './support/measure.js'
import { seconds, sharedFolder } from './support/settings.js'
import { report } from './support/table.js'

const N_SAES = Number(process.env.CATALOG_SAES ?? 100)
const WIDTH = Number(process.env.CATALOG_WIDTH ?? 49_152)
const N_ITEMS = 50_000
const MODEL = 'bench'
const shape = { width: WIDTH, nItems: N_ITEMS, topLength: 24, samples: 8, bins: 24, neighbours: 8 }

const dataDir = fs.mkdtempSync(path.join(sharedFolder(), 'catalog-'))
const database = await startEmbeddedPostgres({ dataDir })
try {
  await migrate(database.url)
  const catalog = await openCatalog({ databaseUrl: database.url, dataDir })
  const config = { ...readConfig({}), host: '127.0.0.1', dataDir, rateLimitPerMinute: 0 }
  const host = await createEngineHost({ devices: ['cpu'], memoryBytes: 2 ** 26, intraOpThreads: 1, imageThreads: 1, maxImagePixels: 1e6 })
  const app = await buildApp({ host, catalog, config })
  await seedCatalog(catalog.prisma)

  const ids = await loadFeatures()
  collectGarbage()
  const samples: Record<string, number[]> = {}
  const timed = async (what: string, ask: () => Promise<{ statusCode: number; body: string }>) => {
    const began = performance.now()
    const { statusCode, body } = await ask()
    const ms = performance.now() - began
    if (statusCode !== 200 || body.includes('"errors"')) throw new Error(`${what}: ${body.slice(0, 500)}`)
    samples[what] = [...(samples[what] ?? []), ms]
  }
  const any = <T>(list: readonly T[]): T => list[Math.floor(Math.random() * list.length)]!
  const url = (path: string) => () => app.inject({ method: 'GET', url: path })
  const query = `query ($id: ID!, $sort: FeatureSort) { sae(id: $id) { id metrics { metric value } features(first: 50, sort: $sort, order: desc, examples: 8) {
    totalCount edges { node { id statistics { density max mean } examples { image score patch { row col } } } } } } }`
  const ask = {
    'a page of 50 features, by any statistic': () =>
      url(`/v1/saes/${any(ids)}/features?limit=50&sort=${any(featureStatistics)}&order=desc`)(),
    'the same, filtered by two others': () =>
      url(`/v1/saes/${any(ids)}/features?limit=50&sort=${any(featureStatistics)}&minDensity=0.5&maxMean=0.9`)(),
    'a feature with all its examples': () => url(`/v1/saes/${any(ids)}/features/${Math.floor(Math.random() * WIDTH)}`)(),
    'a list of 20 SAEs, filtered and sorted': () => url(`/v1/saes?trainedOn=all&minExplainedVariance=90&sort=l0&order=desc&text=resid`)(),
    'GraphQL: an SAE with 50 features with 8 examples each': () =>
      app.inject({ method: 'POST', url: '/graphql', payload: { query, variables: { id: any(ids), sort: any(featureStatistics) } } }),
  } as const
  for (const [what, one] of Object.entries(ask)) {
    for (let warmUp = 0; warmUp < 20; warmUp++) await one()
    for (const end = performance.now() + seconds * 1000; performance.now() < end; ) await timed(what, one)
  }

  const targets: Readonly<Record<string, number>> = { 'GraphQL: an SAE with 50 features with 8 examples each': 30 }
  const rows = Object.entries(samples).map(([what, times]) => {
    const { medianMs, p99Ms, n } = summarise(times)
    return { what, 'median ms': medianMs, 'p99 ms': p99Ms, 'target p99 ms': targets[what] ?? 10, n }
  })
  const size = await catalog.prisma.$queryRaw<[{ bytes: bigint }]>`select pg_database_size(current_database()) as bytes`
  report(`Reading a catalog of ${N_SAES} SAEs of ${WIDTH} features (${(Number(size[0].bytes) / 1e9).toFixed(2)} GB)`, rows)
  await app.close()
  await host.close()
  await catalog.close()

  /** The features that were loaded, half a gigabyte that no server would have, go before anything is read. */
  function collectGarbage(): void {
    v8.setFlagsFromString('--expose-gc')
    vm.runInNewContext('gc')()
  }

  async function loadFeatures(): Promise<string[]> {
    await catalog.baseModels.add([{ id: MODEL, name: MODEL, repo: null, aliases: [], license: null }])
    const dataset = { id: 'pictures', name: 'Pictures', hash: 'a'.repeat(64), classNames: [], description: null, license: null }
    const items = Array.from({ length: N_ITEMS }, (_, at) => ({
      name: `${at}.png`,
      imageId: `sha256:${String(at).padStart(64, '0')}`,
      label: null,
    }))
    await catalog.datasets.register({ ...dataset, items })
    // made before the clock starts: an index has them in memory, too
    const rows = [...features(shape)]
    const saes = Array.from({ length: N_SAES }, (_, at) => `${MODEL}.${at}-resid-post.vanilla`)
    const times: number[] = []
    for (const id of saes) {
      await catalog.saes.create(anSae({ id, modelId: MODEL, width: WIDTH }))
      const began = performance.now()
      await catalog.features.load(
        {
          ...{ saeId: id, dataset: { id: dataset.id, hash: dataset.hash }, width: WIDTH, seed: 1, dtype: 'float32' },
          ...{ backend: 'onnxruntime', codeVersion: 'bench', measuredAt: new Date() },
          about: { nImages: N_ITEMS, nTokens: 50, topLength: shape.topLength, patches: { first: 1, columns: 7 } },
        },
        rows,
      )
      times.push(performance.now() - began)
    }
    const perSecond = (ms: number) => (WIDTH / ms) * 1000
    const { medianMs, n } = summarise(times)
    report(`Loading the features of ${N_SAES} SAEs`, [
      { what: 'features/s', median: perSecond(medianMs), slowest: perSecond(Math.max(...times)), target: 100_000, n },
    ])
    return saes
  }
} finally {
  await database.stop()
  fs.rmSync(dataDir, { recursive: true, force: true })
}
