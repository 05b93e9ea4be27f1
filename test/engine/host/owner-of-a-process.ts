/** Owns a worker in a process, and waits to be killed; run by a test. */

import { processChannel, startProcess } from '../../../src/engine/host/process-channel.js'
import { Remote } from '../../../src/engine/host/remote.js'
import type { SmallWorker } from './small-worker.js'

const child = startProcess(new URL('./small-worker.ts', import.meta.url), 'refract test')
const remote = new Remote<SmallWorker>(processChannel(child), { onEnd: () => undefined })
await remote.call('echo', ['hello'])
process.stdout.write(`${child.pid}\n`)
