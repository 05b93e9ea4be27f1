/**
 * Direct logit attribution of ViT-B/32 (random weights) by head and source token, and down to neurons and features of a 49152-wide SAE, against the
 * plain forward that it contains; and how many graphs are compiled for other images and targets.
 */

import { directLogitAttribution, type Finer, numbersOfImage } from '../src/engine/analyses/attribution/direct-logit-attribution.js'
import { type SaeConfig, saeParameters } from '../src/engine/saes/sae.js'
import { interleave } from './support/measure.js'
import { seconds } from './support/settings.js'
import { report } from './support/table.js'
import { pictures, randomTensor, randomWeights, vitB32 } from './support/vit-b-32.js'
import { benchedModel } from './support/workbench.js'

const nTargets = 3
const { backend, nCompiled, graph, weights, open } = await benchedModel()
const sae: SaeConfig = {
  architecture: 'standard',
  activation: 'relu',
  dIn: vitB32.dModel,
  dOut: vitB32.dModel,
  dSae: 49_152,
  normalization: 'none',
  subtractsDecoderBias: true,
  hookPoint: 'blocks.9.hook_resid_post',
}
const bench = open()
const benchWithSae = open([{ key: 'sae', config: sae, weights: await backend.upload(randomWeights(saeParameters(sae))) }])

let seed = 1
async function attribute(pixels: ReturnType<typeof pictures>, by: Finer) {
  const { data } = randomTensor([nTargets, vitB32.head.dOut], { scale: 1, seed: seed++ })
  const targets = Array.from({ length: nTargets }, (_, at) => {
    return { label: String(at), direction: data.slice(at * vitB32.head.dOut, (at + 1) * vitB32.head.dOut) }
  })
  const numbers = numbersOfImage(vitB32, { nTargets, by, saes: by.features ? [sae] : [] })
  return directLogitAttribution.run(by.features ? benchWithSae : bench, { pixels, targets, by, topK: 10, numbers })
}

const compiledBefore = nCompiled() + 1
const plain = await backend.compile(graph)
const rows = []
for (const batch of [1, 8]) {
  const pixels = pictures(batch)
  const times = await interleave(
    {
      plain: () => plain.run({ inputs: { pixels }, weights, fetch: graph.outputs }),
      heads: () => attribute(pixels, { heads: true, sources: true }),
      all: () => attribute(pixels, { heads: true, sources: true, tokens: true, neurons: true }),
      features: () => attribute(pixels, { features: true }),
    },
    { seconds },
  )
  const of = (what: string, ms: number, target = '') => ({
    batch,
    what,
    'ms (median)': ms,
    'in plain forwards': ms / times.plain.medianMs,
    target,
  })
  rows.push(
    of('plain forward', times.plain.medianMs),
    of('by component, head and source token', times.heads.medianMs, 'at most 1.3'),
    of('by token that is written to and neuron, too', times.all.medianMs),
    of('by component and feature of one SAE, 49152 wide', times.features.medianMs),
  )
}
report(`Direct logit attribution of ViT-B/32 for ${nTargets} targets`, rows)
console.log(`Graphs compiled for all of it: ${nCompiled() - compiledBefore}, one a kind of question.`)
