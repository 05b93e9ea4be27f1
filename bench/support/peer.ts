/** Peers in Python, run beside ours: `BENCH_PYTHON` names an interpreter that has torch. Without one their columns say so. */

import { spawnSync } from 'node:child_process'
import path from 'node:path'

export interface PeerRow {
  readonly how: string
  readonly threads: number
  readonly batch: number
  readonly medianMs: number
  readonly minMs: number
}

/** The rows that `bench/peers/<script>` prints; undefined where no Python with torch is at hand. */
export function peer(script: string, args: readonly string[]): PeerRow[] | undefined {
  const python = process.env.BENCH_PYTHON
  if (!python) return undefined
  const run = spawnSync(python, [path.join(import.meta.dirname, '..', 'peers', script), ...args], { encoding: 'utf8' })
  if (run.status !== 0) throw new Error(`${script} failed: ${run.stderr.slice(-2000)}`)
  return run.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as PeerRow)
}
