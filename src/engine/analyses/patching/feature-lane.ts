/**
 * A lane of latents of the bench's first SAE: x + decode(z') - decode(z), where z' are chosen latents of the other run. What the SAE does not
 * reconstruct stays as it is. Marks et al. (2024), "Sparse Feature Circuits".
 */

import { EngineError } from '../../errors.js'
import type { GraphBuilder } from '../../graph/builder.js'
import { gradientName } from '../../graph/differentiate.js'
import { replaceEach } from '../../graph/edit.js'
import { add, literal, multiply, wholes } from '../../graph/expressions.js'
import type { Graph } from '../../graph/graph.js'
import { prune } from '../../graph/prune.js'
import type { BuiltTower } from '../../interventions/built-towers.js'
import { asHookPoint, siteOf, tokensOf, whereWritten, writtenHookPoint } from '../../interventions/spliced-sae.js'
import type { Place } from '../../interventions/technique.js'
import type { HookPointInfo } from '../../models/model.js'
import { attachSaes, saePrefix, vectors } from '../../saes/attach-saes.js'
import { decodeChange, encoderInput } from '../../saes/encode-decode.js'
import type { SaeConfig } from '../../saes/sae.js'
import { float32, int64, type Tensor } from '../../tensor.js'
import type { Workbench } from '../workbench.js'
import { appended, differentiated, type Judged } from './gradients.js'
import { type GridSpec, outOfRange } from './grid.js'
import type { OpenLane } from './lane.js'
import { metricNames } from './metric.js'
import type { Trial } from './trials.js'

export type FeatureGrid = Extract<GridSpec, { over: 'features' }>

/** float32 `[batch, pos, n]`: z' - z; and int64 `[batch, n]`: of which latents. */
const inputs = { change: 'features.change', chosen: 'features.chosen' } as const
const contributionsOutput = 'features.contributions'
const prefix = saePrefix(0)

/** What is read of a run: the activations of latents that are fed, `[batch, pos, n]`. */
export const codesNames = { latents: `${prefix}latents`, codes: `${prefix}chosen` } as const

/** The hook points that the lane reads and writes. */
export function hookPointsOfSae(bench: Workbench): string[] {
  const { config } = bench.saes[0]!
  return [config.hookPoint, writtenHookPoint(config)]
}

/** How many tokens an SAE encodes of a picture. */
export function nTokensOf({ hookPoint: name }: SaeConfig, hookPoints: readonly HookPointInfo[]): number {
  const { shape } = hookPoints.find((each) => each.name === name)!
  return shape.length > 2 ? Number(shape[1]) : 1
}

/** @throws INPUT_INVALID naming every feature and position that is not there */
export function checkFeatureIndices(
  { features, positions }: FeatureGrid,
  { sae, hookPoints }: { readonly sae: SaeConfig; readonly hookPoints: readonly HookPointInfo[] },
): void {
  const problems = [
    ...outOfRange(features, { path: 'features', what: 'feature', length: sae.dSae, of: 'this SAE' }),
    ...outOfRange(positions, { path: 'positions', what: 'position', length: nTokensOf(sae, hookPoints), of: 'what this SAE reads' }),
  ]
  const [first] = problems
  if (first) throw new EngineError('INPUT_INVALID', { path: first.path, problem: first.message }, problems)
}

/** Outputs: the tower's own and the activations of the latents that are fed. */
export function codesGraph({ graph, types, tower }: BuiltTower, bench: Workbench): Graph {
  const sae = { config: bench.saes[0]!.config, topK: 0, imageTopK: 0, selectsPositions: false, choosesLatents: true }
  const attached = attachSaes(graph, [sae], { types, hookPoints: tower.hookPoints })
  return prune({ ...attached.graph, outputs: [...graph.outputs, codesNames.codes] })
}

export interface FeatureLaneParts {
  readonly built: () => BuiltTower
  readonly bench: Workbench
  readonly judged: Judged
  /** Activations of the features, `[rows, pos, n]`: of the runs that are patched, and of the others. */
  readonly codes: { readonly base: Tensor<'float32'>; readonly others: Tensor<'float32'> }
}

export function featureLane({ features, positions }: FeatureGrid, { built, bench, judged, codes }: FeatureLaneParts): OpenLane {
  const [, nPos] = codes.base.shape as [number, number]
  const n = features.length
  const isChosen = (pos: number) => positions === undefined || positions.includes(pos)
  const changeOf = ({ pair, other }: Trial, pos: number, feature: number) => {
    if (!isChosen(pos)) return 0
    const at = pos * n + feature
    return codes.others.data[other * nPos * n + at]! - codes.base.data[pair * nPos * n + at]!
  }
  return {
    key: `features of ${hookPointsOfSae(bench).join(' ')}`,
    cells: features.map((_, at) => at),
    nWays: 1,
    patched: () => changedTower(built(), bench).graph,
    patchFeeds: (rows) => ({
      [inputs.chosen]: int64(
        [rows.length, 1],
        rows.map(({ cell }) => features[cell]!),
      ),
      [inputs.change]: float32(
        [rows.length, nPos, 1],
        rows.flatMap(({ cell, trial }) => Array.from({ length: nPos }, (_, pos) => changeOf(trial, pos, cell))),
      ),
    }),
    moved: () => movedTower(built(), bench, judged),
    moveFeeds(rows) {
      const change = new Float32Array(rows.length * nPos * n)
      for (const [row, { share, trial }] of rows.entries()) {
        for (let at = 0; at < nPos * n; at++) change[row * nPos * n + at] = share * changeOf(trial, Math.floor(at / n), at % n)
      }
      return {
        [inputs.chosen]: int64(
          [rows.length, n],
          rows.flatMap(() => features),
        ),
        [inputs.change]: float32([rows.length, nPos, n], change),
      }
    },
    contributions(outputs, row, { trial }) {
      const { data } = outputs[contributionsOutput]!
      return features.map((_, feature) => {
        let value = 0
        for (let pos = 0; pos < nPos; pos++) value += data[(row * nPos + pos) * n + feature]! * changeOf(trial, pos, feature)
        return { at: feature, value }
      })
    },
  }
}

/** The tower with latents changed, and the scale that undoes the normalisation of what the SAE writes, where there is one. */
function changedTower({ graph, types, tower }: BuiltTower, bench: Workbench): { graph: Graph; place: Place; scale?: string } {
  const { config, key } = bench.saes[0]!
  const sae = { config, prefix, name: key }
  const place = { tower, hookPoint: tower.hookPoints.find(({ name }) => name === writtenHookPoint(config))! }
  let scale: string | undefined
  const edit = ({ builder: b, value: x }: { builder: GraphBuilder; value: string }) => {
    const site = siteOf(sae, x)
    const from = encoderInput(b, tokensOf(b, x, sae, place), config, site)
    if (!config.transcoder || config.transcoder.denormalizes) scale = from.normalized.scale
    const chosen = b.input(inputs.chosen, 'int64', ['batch', 'nChosen'])
    const change = b.input(inputs.change, 'float32', ['batch', nTokensOf(config, tower.hookPoints), 'nChosen'])
    const placed = asHookPoint(b, decodeChange(b, change, { from, chosen }, config, site), sae, place)
    const edited = b.op('Where', [b.op('Equal', [placed, literal(b, 0)]), x, add(b, x, placed)])
    return whereWritten(b, { edited, x }, sae, place)
  }
  const edited = replaceEach(graph, [{ hookPoint: place.hookPoint.name, edit }], types)
  return { graph: edited.graph, place, ...(scale !== undefined && { scale }) }
}

/** With, for each latent that is chosen and each token, how much the metric changes with its activation. */
function movedTower(built: BuiltTower, bench: Workbench, judged: Judged): Graph {
  const { graph, place, scale } = changedTower(built, bench)
  const { config } = bench.saes[0]!
  const written = place.hookPoint.name
  const result = appended(differentiated(graph, [written], judged), 'contributions/', (b) => {
    const gradient = gradientName(written)
    const tokens =
      place.hookPoint.axes.length > 2
        ? vectors(b, gradient, { ...config, dIn: config.dOut })
        : b.op('Unsqueeze', [gradient, wholes(b, [1])])
    const scaled = scale === undefined ? tokens : multiply(b, tokens, scale)
    const rows = b.op('Gather', [b.parameter(`${prefix}W_dec`, [config.dSae, config.dOut]), inputs.chosen], { axis: 0 })
    return [b.named(contributionsOutput, b.op('MatMul', [scaled, b.op('Transpose', [rows], { perm: [0, 2, 1] })]))]
  })
  return prune({ ...result, outputs: [metricNames.value, contributionsOutput] })
}
