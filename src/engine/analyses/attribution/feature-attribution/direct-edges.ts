/** The kept nodes and the edges between them: one run of the model, and a row of gradients for each node that others write to. */

import { GraphBuilder } from '../../../graph/builder.js'
import { nPositions } from '../../../hook-points.js'
import { saePrefix } from '../../../saes/attach-saes.js'
import { int64, type Tensor } from '../../../tensor.js'
import { inChunks, type Outputs, sharedPrefix } from '../../shared-prefix.js'
import type { Workbench } from '../../workbench.js'
import { DirectGradients, type Sink, seedsOf, type Written, writtenBy } from './edges.js'
import { directGraph, type GraphSetting, latentGraph, SEEDED, TOKENS, zOf } from './graphs.js'
import { type Candidate, largest, type Threshold } from './nodes.js'
import { type Site, siteNames } from './sites.js'

export type AttributionNode = Omit<Candidate, 'coefficient'> & { readonly inputs?: Inputs }

/** Of a node that others write to: what it reads, and what of that is said by edges. */
export interface Inputs {
  /** What is read of the node, before biases: of a feature its pre-activation without the encoder's bias. */
  readonly value: number
  /** What all nodes before it add, kept or not; the rest of `value` are biases of the model (and, through MLPs, what is not linear). */
  readonly fromNodes: number
  /** What the kept ones add. */
  readonly fromKept: number
}

export interface AttributionEdge {
  /** Places in `nodes`; -1: the target. */
  readonly from: number
  readonly to: number
  /** What the earlier node adds to the later one: to a feature's pre-activation, to a head's part of the score, to the score. */
  readonly weight: number
  /** That times the gradient of the score: what of the score goes along this edge. */
  readonly influence: number
}

export interface Prepared {
  readonly setting: GraphSetting
  readonly target: Sink
}

/** Nodes whose inputs are found at once. */
export const ROWS_PER_RUN = 16

/** Of programs: what a graph depends on beside the model and the SAEs. */
export const keyOf = ({ freeze, heads }: GraphSetting) => JSON.stringify({ freeze, heads })

export interface Latent {
  readonly row: Float32Array
  readonly column: Float32Array
}

export async function latentVectors(bench: Workbench, { sae, index }: Site, latents: readonly number[]): Promise<Latent[]> {
  if (latents.length === 0) return []
  const program = await bench.ready(`featureAttribution latents ${index}`, () => {
    return latentGraph(new GraphBuilder('latents'), sae, saePrefix(index))
  })
  const { rows, columns } = await program.run({ latents: int64([latents.length], latents) })
  return latents.map((_, at) => ({
    row: rows!.data.subarray(at * sae.dOut, (at + 1) * sae.dOut),
    column: columns!.data.subarray(at * sae.dIn, (at + 1) * sae.dIn),
  }))
}

interface Kept extends Prepared {
  readonly pixels: Tensor<'float32'>
  readonly threshold: Threshold
  readonly nodes: readonly Candidate[]
  readonly outputs: Outputs
}

/** Edges between the kept nodes, and what each of them is made of. */
export async function directEdges(
  bench: Workbench,
  { pixels, threshold, setting, target, nodes, outputs }: Kept,
): Promise<{ readonly target: Inputs; readonly nodes: readonly AttributionNode[]; readonly edges: readonly AttributionEdge[] }> {
  const { config, sites } = setting
  const latents = new Map<Candidate, Latent>()
  for (const site of sites) {
    const own = nodes.filter(({ kind, sae }) => kind === 'feature' && sae === site.index)
    const vectors = await latentVectors(
      bench,
      site,
      own.map(({ index }) => index!),
    )
    for (const [at, node] of own.entries()) latents.set(node, vectors[at]!)
  }
  const isSink = ({ kind }: Candidate) => kind === 'feature' || kind === 'head'
  const sinks: Sink[] = [
    target,
    ...nodes.filter(isSink).map((node): Sink => {
      const latent = latents.get(node)
      return { kind: 'node', node, ...(latent && { column: latent.column }) }
    }),
  ]
  const run = await sharedPrefix(bench, `featureAttribution direct ${keyOf(setting)}`, () =>
    directGraph(bench.model.build(new Set()), setting),
  )
  const begun = await run.begin({ pixels })
  const gradients = await inChunks(
    sinks.length,
    async (from, to) => ({
      ...(await begun.run(Array<number>(to - from).fill(0), seedsOf(sinks.slice(from, to), { ...setting, outputs }))),
    }),
    ROWS_PER_RUN,
  )

  const written = nodes.map((node) => {
    const row = latents.get(node)?.row
    return writtenBy(node, { config, outputs, ...(row && { row }) })
  })
  const inputs = new Map<Sink, Inputs>()
  const edges: AttributionEdge[] = []
  for (const [row, sink] of sinks.entries()) {
    const gradient = new DirectGradients(gradients, row, nPositions(config))
    const to = sink.kind === 'node' && row > 0 ? nodes.indexOf(sink.node) : -1
    const along = to < 0 ? 1 : perUnit(nodes[to]!, sites)
    const own = written.flatMap((each, from) => (from === to ? [] : [edgeOf(gradient, each, { from, to, along })]))
    edges.push(...own.filter(({ weight }) => weight !== 0))
    inputs.set(sink, {
      value: gradients[SEEDED]!.data[row]!,
      fromNodes: fromNodes(gradient, outputs, setting),
      fromKept: own.reduce((sum, { weight }) => sum + weight, 0),
    })
  }
  const total = edges.reduce((sum, { influence }) => sum + Math.abs(influence), 0)
  const ofNode = new Map(sinks.flatMap((sink, row) => (sink.kind === 'node' && row > 0 ? [[sink.node, inputs.get(sink)!] as const] : [])))
  return {
    target: inputs.get(target)!,
    nodes: nodes.map((node) => {
      const { coefficient: _, ...shown } = node
      const own = ofNode.get(node)
      return { ...shown, ...(own && { inputs: own }) }
    }),
    edges: largest(edges, ({ influence }) => influence, { ...threshold, total }),
  }
}

function edgeOf(
  gradient: DirectGradients,
  { place, ...what }: Written,
  { from, to, along }: { from: number; to: number; along: number },
): AttributionEdge {
  const weight = gradient.along(place, what)
  return { from, to, weight, influence: weight * along }
}

/** What of the score one unit of a node's input brings. */
function perUnit({ kind, sae, attribution, activation }: Candidate, sites: readonly Site[]): number {
  // a head is read as what the score takes of it
  if (kind !== 'feature') return 1
  const slope = sites[sae!]!.sae.activation === 'tanh-relu' ? 1 - activation! ** 2 : 1
  return activation === 0 ? 0 : (attribution / activation!) * slope
}

/** Everything that is before a sink: tokens, heads, and all that SAEs stand for. */
function fromNodes(gradient: DirectGradients, outputs: Outputs, { config, sites, heads }: GraphSetting): number {
  const ofSites = sites.reduce((sum, site) => sum + gradient.all(siteNames(site.index).node, outputs[siteNames(site.index).whole]!.data), 0)
  const layers = heads ? Array.from({ length: config.nLayers }, (_, layer) => zOf(layer)) : []
  return layers.reduce((sum, z) => sum + gradient.all(z, outputs[z]!.data), ofSites + gradient.all(TOKENS, outputs[TOKENS]!.data))
}
