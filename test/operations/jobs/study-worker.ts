/** Run by tests as a process of its own: a worker that takes shards of the real kinds until it is killed. */

import { openCatalog } from '../../../src/catalog/open-catalog.js'
import { readConfig } from '../../../src/config.js'
import { startJobWorker } from '../../../src/operations/jobs/job-worker.js'
import { jobKinds, kindsModule } from '../../../src/operations/jobs/kinds.js'

const [databaseUrl = '', dataDir = '', leaseMs = ''] = process.argv.slice(2)
const places = { databaseUrl, dataDir }
startJobWorker({
  catalog: await openCatalog(places),
  config: { ...readConfig({}), dataDir },
  places,
  kinds: jobKinds,
  kindsModule,
  slots: { compute: 1, transfer: 0 },
  leaseMs: Number(leaseMs),
  say: (message) => void process.stderr.write(`${message}\n`),
})
