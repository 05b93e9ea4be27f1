/**
 * A run whose checkpoints grow, in a process that may write only small files: `full-disk-process.ts FOLDER`. Says the code of the error it
 * ends with.
 */

import type { EngineError } from '../../../src/engine/errors.js'
import { zeros } from '../../../src/engine/tensor.js'
import { openRun } from '../../../src/engine/training/run/run-folder.js'
import { trainRun } from '../../../src/engine/training/run/training-run.js'

const folder = process.argv[2]!
let size = 10
try {
  await trainRun({
    run: await openRun({ folder, identity: { config: {}, seed: 1, data: {} }, code: { version: '0' } }),
    trainee: {
      update: async (step) => {
        if (step === 15) size = 2 ** 20
        return { loss: 1 / (step + 1) }
      },
      snapshot: async () => ({ weights: { w: zeros('float32', [size]) }, state: {} }),
    },
    setting: { nSteps: 100, checkpointEvery: 5 },
    title: 'growing',
    now: () => 0,
  })
} catch (error) {
  process.stdout.write((error as EngineError).code)
}
