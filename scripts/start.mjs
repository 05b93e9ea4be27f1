/**
 * `npm start`: prepares what is missing and serves, in this process, so that signals go where they belong. `exec` in package.json takes the
 * shell out from between npm and this process: it would die of a SIGTERM and not pass it on. Where the shell has no `exec` (Windows), the
 * second half of that line runs.
 *
 * The settings in front of it are for memory, and can only be made before a process starts: glibc otherwise keeps a pool of freed memory for
 * every thread, 130 MB after a batch of 8 pictures (docs/performance.md).
 */

import { preparedThen } from './prepare.mjs'

await preparedThen({ build: true }, async () => {
  const { main } = await import('../dist/cli/main.js')
  process.exitCode = await main(['serve', ...process.argv.slice(2)])
})
