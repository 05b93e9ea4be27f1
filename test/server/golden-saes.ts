/** SAEs of test/fixtures/features in a test server's catalog. */

import path from 'node:path'
import { importSae } from '../../src/catalog/import/import-sae.js'
import { describeSae } from '../../src/engine/saes/load-sae.js'
import { featureFolder } from '../engine/saes/feature-goldens.js'
import { type TestServer, testModels } from './test-server.js'

/** @param ids  by the fixture's name */
export async function addGoldenSaes({ catalog, config }: TestServer, ids: Readonly<Record<string, string>>): Promise<void> {
  const hub = { hubEndpoint: '', hubToken: '', hubHome: '', hubCache: '' }
  for (const [name, id] of Object.entries(ids)) {
    await importSae({
      source: path.join(featureFolder, name),
      id,
      model: testModels.clip,
      catalog,
      config: { dataDir: config.dataDir, ...hub },
      inspectSae: (sae) => describeSae(sae.folder, { overrides: sae.overrides }),
    })
  }
}
