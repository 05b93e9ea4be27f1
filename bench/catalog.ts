/**
 * The catalog at size: how fast features are loaded, and how long pages of SAEs and features take, over both doors of a server, one client.
 * `CATALOG_SAES` and `CATALOG_WIDTH` make it smaller (100 SAEs of 49,152 features take about 6 GB of disk while it runs).
 */

import { openCatalog } from '../src/catalog/open-catalog.js'
import { startEmbeddedPostgres } from '../src/catalog/postgres/embedded-postgres.js'
import { featureStatistics } from '../src/engine/evaluation/feature-record.js'
import { features } from '../test/catalog/a-feature.js'
import { anSae } from '../test/catalog/an-sae.js'
import { Client } from './support/client.js'
import { summarise } from './support/measure.js'
import { withServer } from './support/server.js'
import { seconds } from './support/settings.js'
import { type Row, report } from './support/table.js'

const N_SAES = Number(process.env.CATALOG_SAES ?? 100)
const WIDTH = Number(process.env.CATALOG_WIDTH ?? 49_152)
const N_ITEMS = 50_000
const MODEL = 'bench'
const shape = { width: WIDTH, nItems: N_ITEMS, topLength: 24, samples: 8, bins: 24, neighbours: 8 }

const ids = Array.from({ length: N_SAES }, (_, at) => `${MODEL}.${at}-resid-post.vanilla`)
let gigabytes = 0

await withServer(
  async ({ origin }) => {
    const client = new Client(origin)
    const any = <T>(list: readonly T[]): T => list[Math.floor(Math.random() * list.length)]!
    const query = `query ($id: ID!, $sort: FeatureSort) { sae(id: $id) { id metrics { metric value } features(first: 50, sort: $sort, order: desc, examples: 8) {
      totalCount edges { node { id statistics { density max mean } examples { image score patch { row col } } } } } } }`
    const ask = {
      'a page of 50 features, by any statistic': () =>
        client.get(`/v1/saes/${any(ids)}/features?limit=50&sort=${any(featureStatistics)}&order=desc`),
      'the same, filtered by two others': () =>
        client.get(`/v1/saes/${any(ids)}/features?limit=50&sort=${any(featureStatistics)}&minDensity=0.5&maxMean=0.9`),
      'a feature with all its examples': () => client.get(`/v1/saes/${any(ids)}/features/${Math.floor(Math.random() * WIDTH)}`),
      'a list of 20 SAEs, filtered and sorted': () =>
        client.get('/v1/saes?trainedOn=all&minExplainedVariance=90&sort=l0&order=desc&text=resid'),
      'GraphQL: an SAE with 50 features with 8 examples each': () =>
        client.post('/graphql', { query, variables: { id: any(ids), sort: any(featureStatistics) } }),
    } as const
    const targets: Readonly<Record<string, number>> = { 'GraphQL: an SAE with 50 features with 8 examples each': 30 }
    const rows: Row[] = []
    for (const [what, one] of Object.entries(ask)) {
      // as in a server that has been running: code that is compiled late is compiled
      for (const end = performance.now() + seconds * 1000; performance.now() < end; ) await one()
      const times: number[] = []
      for (const end = performance.now() + seconds * 1000; performance.now() < end; ) {
        const began = performance.now()
        const { body } = await one()
        times.push(performance.now() - began)
        if (body.includes('"errors"')) throw new Error(`${what}: ${body.toString('utf8', 0, 500)}`)
      }
      const { medianMs, p99Ms, n } = summarise(times)
      rows.push({ what, 'median ms': medianMs, 'p99 ms': p99Ms, 'target p99 ms': targets[what] ?? 10, n })
    }
    client.close()
    report(`Reading a catalog of ${N_SAES} SAEs of ${WIDTH} features (${gigabytes.toFixed(2)} GB)`, rows)
  },
  { prepare: loadFeatures },
)

async function loadFeatures(dataDir: string): Promise<void> {
  const database = await startEmbeddedPostgres({ dataDir })
  const catalog = await openCatalog({ databaseUrl: database.url, dataDir })
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
  const times: number[] = []
  for (const id of ids) {
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
  const size = await catalog.prisma.$queryRaw<[{ bytes: bigint }]>`select pg_database_size(current_database()) as bytes`
  gigabytes = Number(size[0].bytes) / 1e9
  await catalog.close()
  await database.stop()
}
