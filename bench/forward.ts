/**
 * ViT-B/32 forward on the bare engine, all hook points exposed and none read, against the same graph with nothing exposed and against
 * PyTorch on the CPU (as shipped, and with its linear layers through oneDNN).
 */

import { expose } from '../src/engine/graph/edit.js'
import { visionGraph } from '../src/engine/models/vit.js'
import { benchBackend } from './support/backend.js'
import { interleave } from './support/measure.js'
import { type PeerRow, peer } from './support/peer.js'
import { seconds } from './support/settings.js'
import { type Row, report } from './support/table.js'
import { pictures, randomWeights, shapesOf, vitB32 } from './support/vit-b-32.js'

const AGAINST_BARE = 0.95
const AGAINST_PYTORCH = { one: 0.95, many: 1 }

const graph = visionGraph(vitB32)
const exposed = expose(
  graph,
  graph.hookPoints.map(({ name }) => name),
)
const backend = await benchBackend()
const weights = await backend.upload(randomWeights(shapesOf(graph)))
const [bare, hooked] = [await backend.compile(graph), await backend.compile(exposed)]

const rows = []
for (const batch of [1, 8]) {
  const inputs = { pixels: pictures(batch) }
  const fetch = graph.outputs
  const before = peer('vit_b32.py', ['--batches', String(batch), '--seconds', String(seconds / 2)])
  const ours = await interleave(
    {
      hooked: () => hooked.run({ inputs, weights, fetch }),
      bare: () => bare.run({ inputs, weights, fetch }),
    },
    { seconds },
  )
  const after = peer('vit_b32.py', ['--batches', String(batch), '--seconds', String(seconds / 2)])
  rows.push({
    batch,
    'hooks exposed ms': ours.hooked.medianMs,
    'nothing exposed ms': ours.bare.medianMs,
    'images/s': (1000 * batch) / ours.hooked.medianMs,
    'against nothing exposed': ours.bare.medianMs / ours.hooked.medianMs,
    'target against nothing exposed': AGAINST_BARE,
    ...against({ batch, oursMs: ours.hooked.medianMs, peers: before && after ? [...before, ...after] : undefined }),
  })
}
report(`ViT-B/32 forward with ${graph.hookPoints.length} hook points exposed`, rows)

/** The fastest of each kind of peer over threads and both runs. */
function against({ batch, oursMs, peers }: { batch: number; oursMs: number; peers: readonly PeerRow[] | undefined }): Row {
  if (!peers) return { PyTorch: 'not measured: set BENCH_PYTHON' }
  const best = (how: string) => {
    const threads = new Set(peers.map((row) => row.threads))
    const means = [...threads].map((count) => {
      const rows = peers.filter((row) => row.how === how && row.threads === count)
      return rows.reduce((sum, row) => sum + row.medianMs, 0) / rows.length
    })
    return Math.min(...means)
  }
  const [shipped, oneDnn] = [best('linear'), best('onednn')]
  return {
    'PyTorch as shipped ms': shipped,
    'PyTorch oneDNN ms': oneDnn,
    'speed against its fastest': Math.min(shipped, oneDnn) / oursMs,
    'target against PyTorch': batch === 1 ? AGAINST_PYTORCH.one : AGAINST_PYTORCH.many,
  }
}
