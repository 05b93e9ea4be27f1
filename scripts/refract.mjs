/** `npm run refract -- <command>`: prepares what is missing and runs the command line. */

import { preparedThen } from './prepare.mjs'

await preparedThen({ build: true }, async () => {
  const { main } = await import('../dist/cli/main.js')
  process.exitCode = await main(process.argv.slice(2))
})
