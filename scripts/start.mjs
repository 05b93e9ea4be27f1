/** `npm start`: prepares what is missing and serves, in this process, so that signals go where they belong. */

import { preparedThen } from './prepare.mjs'

await preparedThen({ build: true }, async () => {
  const { main } = await import('../dist/cli/main.js')
  process.exitCode = await main(['serve', ...process.argv.slice(2)])
})
