/** The cells of a patching grid: of each, at which hook point and where in it values of the other run are put. */

import { EngineError, type Problem } from '../../errors.js'
import { nPositions, patchGrid } from '../../hook-points.js'
import type { EditedTower } from '../../interventions/technique.js'
import type { HookPointInfo, VisionConfig } from '../../models/model.js'
import { elementCount } from '../../tensor.js'
import { maskShape } from './patched-tower.js'

/** By the last part of their hook points' names. */
export const components = ['resid_pre', 'attn_out', 'resid_mid', 'mlp_out', 'resid_post'] as const
export type Component = (typeof components)[number]

/** `layers`: all unless given. `positions`: where values are put, along the `pos` axis; everywhere unless given. */
export type GridSpec =
  /** Each head's `hook_z`. */
  | { readonly over: 'heads'; readonly layers?: readonly number[]; readonly positions?: readonly number[] }
  | {
      readonly over: 'components'
      readonly layers?: readonly number[]
      readonly positions?: readonly number[]
      readonly components: readonly Component[]
    }
  /** Each position by itself, at each of the components. */
  | {
      readonly over: 'positions'
      readonly layers?: readonly number[]
      readonly positions?: readonly number[]
      readonly components: readonly Component[]
    }
  /** The picture itself, patch by patch. */
  | { readonly over: 'patches' }
  /** Latents of the SAE that comes with the question, each by itself. */
  | { readonly over: 'features'; readonly features: readonly number[]; readonly positions?: readonly number[] }

export type HookPointGrid = Exclude<GridSpec, { over: 'features' }>

export interface GridAxis {
  readonly name: 'component' | 'layer' | 'head' | 'position' | 'row' | 'column' | 'feature'
  readonly labels: readonly string[]
}

/** Hook points of one layer, and the cells that are in them: they go on from the same place, and so run together. */
export interface Lane {
  readonly hookPoints: readonly HookPointInfo[]
  readonly cells: readonly Cell[]
}

export interface Cell {
  /** Row-major over the grid's axes. */
  readonly at: number
  readonly hookPoint: HookPointInfo
  /** Of `maskShape(hookPoint)`: 1 where the other value is put. */
  readonly mask: Uint8Array
}

export interface Grid {
  readonly axes: readonly GridAxis[]
  readonly lanes: readonly Lane[]
}

/** @throws HOOK_POINT_UNKNOWN; INPUT_INVALID with everything that this model does not have */
export function layOut(spec: HookPointGrid, tower: EditedTower): Grid {
  const config = tower.config as VisionConfig
  const hookPoint = (name: string): HookPointInfo => {
    const found = tower.hookPoints.find((each) => each.name === name)
    if (found) return found
    throw new EngineError('HOOK_POINT_UNKNOWN', { hookPoint: name, model: 'this model', known: tower.hookPoints.map((each) => each.name) })
  }
  if (spec.over === 'patches') return patchesOf(hookPoint('hook_embed'), config)
  checkSpec(spec, config)
  const layers = spec.layers ?? upTo(config.nLayers)
  const chosen = new Set(spec.positions ?? upTo(nPositions(config)))
  const layerAxis: GridAxis = { name: 'layer', labels: layers.map(String) }
  switch (spec.over) {
    case 'heads': {
      const lanes = layers.map((layer, row): Lane => {
        const z = hookPoint(`blocks.${layer}.attn.hook_z`)
        const cells = upTo(config.nHeads).map((head) => ({
          at: row * config.nHeads + head,
          hookPoint: z,
          mask: maskOf(z, ([pos, itsHead]) => chosen.has(pos!) && itsHead === head),
        }))
        return { hookPoints: [z], cells }
      })
      return { axes: [layerAxis, { name: 'head', labels: upTo(config.nHeads).map(String) }], lanes }
    }
    case 'components': {
      const lanes = layers.map((layer, row): Lane => {
        const hookPoints = spec.components.map((component) => hookPoint(`blocks.${layer}.hook_${component}`))
        const cells = hookPoints.map((place, column) => ({
          at: row * hookPoints.length + column,
          hookPoint: place,
          mask: maskOf(place, ([pos]) => chosen.has(pos!)),
        }))
        return { hookPoints, cells }
      })
      return { axes: [layerAxis, { name: 'component', labels: spec.components }], lanes }
    }
    case 'positions': {
      const positions = [...chosen]
      const lanes = layers.map((layer, row): Lane => {
        const hookPoints = spec.components.map((component) => hookPoint(`blocks.${layer}.hook_${component}`))
        const cells = hookPoints.flatMap((place, plane) =>
          positions.map((position, column) => ({
            at: (plane * layers.length + row) * positions.length + column,
            hookPoint: place,
            mask: maskOf(place, ([pos]) => pos === position),
          })),
        )
        return { hookPoints, cells }
      })
      const axes: GridAxis[] = [
        { name: 'component', labels: spec.components },
        layerAxis,
        { name: 'position', labels: positions.map(String) },
      ]
      return { axes, lanes }
    }
    default:
      return spec satisfies never
  }
}

function patchesOf(embed: HookPointInfo, config: VisionConfig): Grid {
  const { rows, columns } = patchGrid(config)
  const cells = upTo(rows * columns).map((patch) => ({ at: patch, hookPoint: embed, mask: maskOf(embed, ([its]) => its === patch) }))
  const axes: GridAxis[] = [
    { name: 'row', labels: upTo(rows).map(String) },
    { name: 'column', labels: upTo(columns).map(String) },
  ]
  return { axes, lanes: [{ hookPoints: [embed], cells }] }
}

/** How many cells a grid of these axes has. */
export const nCells = (axes: readonly GridAxis[]) => elementCount(axes.map(({ labels }) => labels.length))

function maskOf(hookPoint: HookPointInfo, isPatched: (index: readonly number[]) => boolean): Uint8Array {
  const shape = maskShape(hookPoint)
  return Uint8Array.from({ length: elementCount(shape) }, (_, at) => Number(isPatched(indexOf(at, shape))))
}

/** Where a flat place is along each axis. */
function indexOf(at: number, shape: readonly number[]): number[] {
  const index: number[] = []
  for (const length of shape.toReversed()) {
    index.unshift(at % length)
    at = Math.floor(at / length)
  }
  return index
}

const upTo = (n: number) => Array.from({ length: n }, (_, index) => index)

function checkSpec(spec: Exclude<HookPointGrid, { over: 'patches' }>, config: VisionConfig): void {
  const problems = [
    ...outOfRange(spec.layers, { path: 'layers', what: 'layer', length: config.nLayers }),
    ...outOfRange(spec.positions, { path: 'positions', what: 'position', length: nPositions(config) }),
  ]
  const [first] = problems
  if (first) throw new EngineError('INPUT_INVALID', { path: first.path, problem: first.message }, problems)
}

export function outOfRange(
  indices: readonly number[] | undefined,
  {
    path,
    what,
    length,
    of = 'this model',
  }: { readonly path: string; readonly what: string; readonly length: number; readonly of?: string },
): Problem[] {
  if (indices?.length === 0) return [{ path, message: `the list is empty, so there is no ${what} to patch` }]
  return (indices ?? []).flatMap((index, at) => {
    if (!Number.isInteger(index) || index < 0 || index >= length) {
      return [{ path: `${path}[${at}]`, message: `${what} ${index} is out of range; ${of} has 0 to ${length - 1}` }]
    }
    return indices!.indexOf(index) < at ? [{ path: `${path}[${at}]`, message: `${what} ${index} is there twice` }] : []
  })
}
