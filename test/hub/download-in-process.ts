/** Run by tests as a process of its own: downloads one file of a repository's main branch and says how far it is. */

import { download } from '../../src/catalog/import/download.js'
import { cachedRepo } from '../../src/catalog/import/hub-cache.js'
import { hubClient } from '../../src/catalog/import/hub-client.js'

const [endpoint = '', cache = '', repo = '', name = ''] = process.argv.slice(2)
const client = await hubClient({ hubEndpoint: endpoint, hubToken: '', hubHome: cache, hubCache: cache })
const { commit, files } = await client.revision(repo, 'main')
const file = files.find((one) => one.path === name)
if (file === undefined) throw new Error(`${repo} has no ${name}`)
const onBytes = (done: number) => void process.stdout.write(`${done}\n`)
await download({ client, repo, commit, file, cached: cachedRepo(cache, repo, commit), onBytes, retryDelayMs: 1 })
