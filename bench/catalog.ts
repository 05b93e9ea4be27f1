/**
 * The catalog at size: how fast features are loaded, and how long pages of SAEs and features take, over both doors of a server, one client.
 * `CATALOG_SAES` and `CATALOG_WIDTH` make it smaller (100 SAEs of 49,152 features take about 6 GB of disk while it runs).
 */

import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { featureStatistics } from '../src/engine/evaluation/feature-record.js'
import { ids, N_SAES, WIDTH } from './support/catalog-size.js'
import { Client } from './support/client.js'
import { summarise } from './support/measure.js'
import { withServer } from './support/server.js'
import { seconds } from './support/settings.js'
import { type Row, report } from './support/table.js'

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
    report(`Reading a catalog of ${N_SAES} SAEs of ${WIDTH} features`, rows)
  },
  { prepare: loadFeatures },
)

function loadFeatures(dataDir: string): void {
  const loader = path.join(import.meta.dirname, 'support', 'load-catalog.ts')
  const { status } = spawnSync(process.execPath, ['--import', 'tsx', loader, dataDir], { stdio: 'inherit' })
  if (status !== 0) throw new Error('The features were not loaded.')
}
