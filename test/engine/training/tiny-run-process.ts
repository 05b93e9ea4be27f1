/** Trains in a process of its own: `tiny-run-process.ts FOLDER`. Says each step; at the 13th it waits for whoever started it to kill it. */

import { trainTiny } from './tiny-run.js'

await trainTiny({
  folder: process.argv[2]!,
  onProgress: ({ step }) => {
    process.stdout.write(`${step}\n`)
    if (step === 13) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 30_000)
  },
})
