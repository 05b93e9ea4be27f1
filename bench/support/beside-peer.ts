/** Ours between two runs of the same in PyTorch, so that a drift of the machine's speed falls on both. */

import { interleave, type Sample } from './measure.js'
import { type PeerRow, peer } from './peer.js'
import type { Row } from './table.js'

export interface Peer {
  readonly script: string
  /** Undefined where it does not compute on such a device. */
  readonly args: readonly string[] | undefined
  /** For each of its two runs; ours has both. */
  readonly seconds: number
}

/** `theirs` are columns: its fastest way, and how much faster ours is; or why there are none. */
export async function besidePeer(run: () => Promise<unknown>, { script, args, seconds }: Peer): Promise<{ ours: Sample; theirs: Row }> {
  const ask = () => args && peer(script, [...args, '--seconds', String(seconds)])
  const before = ask()
  const { ours } = await interleave({ ours: run }, { seconds: 2 * seconds, warmUps: 3 })
  const after = ask()
  if (!before || !after) return { ours, theirs: { PyTorch: args ? 'not measured: set BENCH_PYTHON' : 'has no such device' } }
  const { how, ms } = fastest([...before, ...after])
  return { ours, theirs: { 'PyTorch ms': ms, 'its fastest': how, 'speed against it': ms / ours.medianMs } }
}

/** The way with the smallest mean of its medians. */
function fastest(peers: readonly PeerRow[]): { readonly how: string; readonly ms: number } {
  const ways = [...new Set(peers.map(({ how }) => how))].map((how) => {
    const own = peers.filter((row) => row.how === how)
    return { how, ms: own.reduce((sum, { medianMs }) => sum + medianMs, 0) / own.length }
  })
  return ways.reduce((best, way) => (way.ms < best.ms ? way : best))
}
