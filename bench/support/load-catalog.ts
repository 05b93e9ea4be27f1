/**
 * Loads the catalog that `bench/catalog.ts` reads into the data folder that is named, and says how fast. A process of its own: half a
 * gigabyte of features in the memory of the client that reads would be collected while it measures.
 */

import { openCatalog } from '../../src/catalog/open-catalog.js'
import { startEmbeddedPostgres } from '../../src/catalog/postgres/embedded-postgres.js'
import { features } from '../../test/catalog/a-feature.js'
import { anSae } from '../../test/catalog/an-sae.js'
import { ids, MODEL, N_SAES, WIDTH } from './catalog-size.js'
import { summarise } from './measure.js'
import { report } from './table.js'

const N_ITEMS = 50_000
const shape = { width: WIDTH, nItems: N_ITEMS, topLength: 24, samples: 8, bins: 24, neighbours: 8 }

await loadFeatures(process.argv[2]!)

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
  const size = await catalog.prisma.$queryRaw<[{ bytes: bigint }]>`select pg_database_size(current_database()) as bytes`
  report(`Loading the features of ${N_SAES} SAEs (${(Number(size[0].bytes) / 1e9).toFixed(2)} GB)`, [
    { what: 'features/s', median: perSecond(medianMs), slowest: perSecond(Math.max(...times)), target: 100_000, n },
  ])
  await catalog.close()
  await database.stop()
}
