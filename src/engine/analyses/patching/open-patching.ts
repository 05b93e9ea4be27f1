/** A patching question with the runs behind it: each is made when it is first needed, and once. */

import { expose } from '../../graph/edit.js'
import type { Graph } from '../../graph/graph.js'
import { narrowed } from '../../graph/narrow.js'
import { int64 } from '../../tensor.js'
import type { Outputs } from '../shared-prefix.js'
import type { Ready, Workbench } from '../workbench.js'
import { checkFeatureIndices, codesGraph, codesNames, featureLane, hookPointsOfSae } from './feature-lane.js'
import type { Judged } from './gradients.js'
import { type Grid, type GridAxis, layOut } from './grid.js'
import { hookPointLane } from './hook-point-lane.js'
import { type Judge, openJudge } from './judge.js'
import type { OpenLane } from './lane.js'
import { metricForm } from './metric.js'
import { splitTower, statesGraph } from './patched-tower.js'
import type { PatchingInput } from './patching.js'
import { type Material, materialOf, meansOver, runPictures } from './trials.js'

export interface OpenPatching {
  readonly bench: Workbench
  readonly judge: Judge
  readonly judged: Judged
  readonly axes: readonly GridAxis[]
  readonly lanes: readonly OpenLane[]
  /** Of hook points. */
  readonly grid?: Grid
  readonly material: Material
  readonly nPairs: number
  /** Values of the other runs, by hook point; of features, their activations. */
  readonly others: Outputs
  /** The second half of a lane's graph, compiled, and what its runs go on from. */
  half(lane: OpenLane, kind: 'patched' | 'moved'): Promise<{ readonly ready: Ready; readonly states: Outputs }>
}

/** @throws what `materialOf`, `layOut` and `openJudge` throw */
export async function openPatching(bench: Workbench, input: PatchingInput): Promise<OpenPatching> {
  const { model } = bench
  const { metric, source, grid: spec } = input
  const material = materialOf(input)
  const judge = openJudge(bench, input, material)
  const judged: Judged = { metric, description: model.description }
  const built = () => model.build(new Set(spec.over === 'features' ? hookPointsOfSae(bench) : []))
  const towerOutput = built().graph.outputs[0]!
  const valuesOf = async (program: Ready) => {
    if (source.kind === 'mean') return meansOver(program, source.pixels)
    const values = await runPictures(program, material.others!)
    judge.knows(material.others, values[towerOutput]!)
    return values
  }

  const openLanes = async (): Promise<Pick<OpenPatching, 'axes' | 'lanes' | 'others' | 'grid'>> => {
    if (spec.over === 'features') {
      checkFeatureIndices(spec, { sae: bench.saes[0]!.config, hookPoints: model.description.vision.hookPoints })
      const program = await bench.ready('patching codes', () => codesGraph(built(), bench))
      const latents = { [codesNames.latents]: int64([spec.features.length], spec.features) }
      const codes: Ready = { ...program, run: (feeds) => program.run({ ...feeds, ...latents }) }
      const [base, others] = [await runPictures(codes, material.base), await valuesOf(codes)]
      judge.knows(material.base, base[towerOutput]!)
      const both = { base: base[codesNames.codes]!, others: others[codesNames.codes]! }
      const axes: GridAxis[] = [{ name: 'feature', labels: spec.features.map(String) }]
      return { axes, lanes: [featureLane(spec, { built, bench, judged, codes: both })], others }
    }
    const grid = layOut(spec, built().tower)
    const names = grid.lanes.flatMap(({ hookPoints }) => hookPoints.map(({ name }) => name))
    const others = await valuesOf(await bench.ready(`patching read ${names.join(' ')}`, () => narrowed(expose(built().graph, names))))
    return { axes: grid.axes, lanes: grid.lanes.map((lane) => hookPointLane(lane, { built, judged, others })), others, grid }
  }

  const { axes, lanes, others, grid } = await openLanes()
  const nameOf = (lane: OpenLane, kind: 'patched' | 'moved') =>
    `patching ${kind} ${kind === 'moved' ? `${metricForm(metric)} ` : ''}${lane.key}`
  const split = once((lane: OpenLane, kind: 'patched' | 'moved') => splitTower(lane[kind]()))
  const halfOf = once((lane: OpenLane, kind: 'patched' | 'moved'): Graph => narrowed(split(lane, kind).suffix))
  /** What the second halves of all lanes go on from, in one run of the pictures. */
  const statesOf = once(async (kind: 'patched' | 'moved') => {
    const key = `states of ${lanes.map((lane) => nameOf(lane, kind)).join(', ')}`
    const [lane] = lanes as [OpenLane]
    const ofLanes = () => statesGraph(built(), { halves: lanes.map((each) => halfOf(each, kind)) })
    // A lane of features goes on from values that no tower has by itself; of these there is one.
    const program = await bench.ready(key, () => (grid ? narrowed(ofLanes()) : split(lane, kind).prefix))
    const states = await runPictures(program, material.base)
    const output = states[towerOutput]
    if (output) judge.knows(material.base, output)
    return states
  })
  return {
    bench,
    judge,
    judged,
    axes,
    lanes,
    ...(grid && { grid }),
    material,
    nPairs: input.clean.shape[0]!,
    others,
    async half(lane, kind) {
      const states = await statesOf(kind)
      return { ready: await bench.ready(nameOf(lane, kind), () => halfOf(lane, kind)), states }
    },
  }
}

/** A function that is asked for each of its arguments once. */
function once<Arguments extends readonly unknown[], Value>(make: (...of: Arguments) => Value): (...of: Arguments) => Value {
  const made: { readonly of: Arguments; readonly value: Value }[] = []
  return (...of) => {
    const known = made.find((each) => each.of.every((argument, at) => argument === of[at]))
    if (known) return known.value
    const value = make(...of)
    made.push({ of, value })
    return value
  }
}
