/**
 * A training step of an SAE (768 to 6144, batch 1024, standard L1, Adam) and of the emoji classifier's ViT (batch 128, AdamW), each against the
 * same step in PyTorch on the CPU at its fastest.
 */

import { benchBackend } from './support/backend.js'
import { interleave } from './support/measure.js'
import { type PeerRow, peer } from './support/peer.js'
import { seconds } from './support/settings.js'
import { type Row, report } from './support/table.js'
import { saeTraining, vitTraining } from './support/trainings.js'

const backend = await benchBackend()
const rows: Row[] = []

for (const decoderRows of ['free', 'unit'] as const) {
  rows.push(
    await against({
      what: `SAE 768 to 6144, batch 1024, decoder rows ${decoderRows}`,
      run: await saeTraining(backend, decoderRows),
      peerArguments: ['sae', '--rows', decoderRows],
      target: decoderRows === 'free' ? 1 : undefined,
    }),
  )
}
rows.push(await against({ what: 'emoji ViT, batch 128', run: await vitTraining(backend), peerArguments: ['vit'], target: 0.8 }))
report('A training step', rows)

async function against({
  what,
  run,
  peerArguments,
  target,
}: {
  what: string
  run: () => Promise<unknown>
  peerArguments: readonly string[]
  target: number | undefined
}): Promise<Row> {
  const args = [...peerArguments, '--seconds', String(seconds)]
  const before = peer('training_steps.py', args)
  const { ours } = await interleave({ ours: run }, { seconds: 2 * seconds, warmUps: 3 })
  const after = peer('training_steps.py', args)
  const own = { what, 'ours ms': ours.medianMs, 'steps/s': 1000 / ours.medianMs, ...(target !== undefined && { target }) }
  if (!before || !after) return { ...own, PyTorch: 'not measured: set BENCH_PYTHON' }
  const { how, ms } = fastest([...before, ...after])
  return { ...own, 'PyTorch ms': ms, 'its fastest': how, 'speed against it': ms / ours.medianMs }
}

/** The way with the smallest mean of its medians. */
function fastest(peers: readonly PeerRow[]): { readonly how: string; readonly ms: number } {
  const ways = [...new Set(peers.map(({ how }) => how))].map((how) => {
    const own = peers.filter((row) => row.how === how)
    return { how, ms: own.reduce((sum, { medianMs }) => sum + medianMs, 0) / own.length }
  })
  return ways.reduce((best, way) => (way.ms < best.ms ? way : best))
}
