/** Run by tests as a process of its own: starts the embedded PostgreSQL, then stops it, leaves it running, or stays until killed. */

import { startEmbeddedPostgres } from '../../src/catalog/postgres/embedded-postgres.js'

const [dataDir = '', then] = process.argv.slice(2)
const { port, adopted, stop } = await startEmbeddedPostgres({ dataDir })
const stopped = then === 'stop' ? await stop() : undefined
process.stdout.write(`${JSON.stringify({ port, adopted, stopped })}\n`)
if (then === 'stay') process.stdin.resume()
if (then === 'stay') setInterval(() => {}, 60_000)
else process.exit(0)
