/**
 * A training step of an SAE (768 to 6144, batch 1024, standard L1, Adam) and of the emoji classifier's ViT (batch 128, AdamW), each against the
 * same step in PyTorch on the CPU at its fastest.
 */

import { benchBackend } from './support/backend.js'
import { besidePeer } from './support/beside-peer.js'
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
  const { ours, theirs } = await besidePeer(run, { script: 'training_steps.py', args: peerArguments, seconds })
  return { what, 'ours ms': ours.medianMs, 'steps/s': 1000 / ours.medianMs, ...(target !== undefined && { target }), ...theirs }
}
