/**
 * The golden models of test/fixtures/models, and what their reference libraries computed.
 */

import fs from 'node:fs'
import path from 'node:path'
import type { Backend } from '../../../src/engine/backends/backend.js'
import { createOnnxRuntimeBackend } from '../../../src/engine/backends/onnxruntime/backend.js'
import { createReferenceBackend } from '../../../src/engine/backends/reference/backend.js'
import { expose } from '../../../src/engine/graph/edit.js'
import type { Graph } from '../../../src/engine/graph/graph.js'
import { hookPointsOf } from '../../../src/engine/hook-points.js'
import { openFileSource } from '../../../src/engine/io/byte-source.js'
import { openWeights } from '../../../src/engine/io/weight-file.js'
import type { LoadedModel, LoadedTower } from '../../../src/engine/models/load.js'
import type { TowerName } from '../../../src/engine/models/model.js'
import type { Tensor } from '../../../src/engine/tensor.js'

export const fixtureFolder = path.resolve(import.meta.dirname, '../../fixtures/models')

export const fixtureNames: readonly string[] = Object.keys(
  (JSON.parse(fs.readFileSync(path.join(fixtureFolder, 'manifest.json'), 'utf8')) as { fixtures: object }).fixtures,
)

export const folderOf = (name: string) => path.join(fixtureFolder, name)

/** By `tower/hook point`, `tower/output`, `vision/pixels`, `text/tokens`. */
export async function expectedOf(name: string): Promise<ReadonlyMap<string, Tensor>> {
  const file = `${name}.expected.safetensors`
  const opened = await openWeights(await openFileSource(path.join(fixtureFolder, file), file), file)
  try {
    const values = new Map<string, Tensor>()
    for (const key of opened.entries.keys()) values.set(key, await opened.read(key))
    return values
  } finally {
    await opened.close()
  }
}

export const backends: readonly (readonly [name: string, backend: Backend])[] = [
  ['reference', createReferenceBackend()],
  ['onnxruntime', await createOnnxRuntimeBackend({ device: 'cpu', intraOpThreads: 1 })],
]

export function towersOf(model: LoadedModel): (readonly [TowerName, LoadedTower])[] {
  return Object.entries(model.towers) as (readonly [TowerName, LoadedTower])[]
}

/** Runs a graph once and returns what is fetched; the output, by default. */
export async function run(
  backend: Backend,
  graph: Graph,
  {
    inputs,
    weights,
    fetch = graph.outputs,
  }: { inputs: Record<string, Tensor>; weights: LoadedTower['weights']; fetch?: readonly string[] },
): Promise<Record<string, Tensor>> {
  const resident = await backend.upload(weights)
  const program = await backend.compile(graph)
  try {
    return await program.run({ inputs, weights: resident, fetch })
  } finally {
    await program.dispose()
    await resident.dispose()
  }
}

/** A tower's values at every hook point of its graph, and its output as `output`. */
export async function runAll(
  backend: Backend,
  tower: LoadedTower,
  inputs: Record<string, Tensor>,
  wanted: ReadonlySet<string> = new Set(),
): Promise<Map<string, Tensor>> {
  const graph = tower.buildGraph(wanted)
  const names = graph.hookPoints.map(({ name }) => name)
  const exposed = expose(graph, names)
  const values = await run(backend, exposed, { inputs, weights: tower.weights })
  return new Map([...names.map((name) => [name, values[name]!] as const), ['output', values[graph.outputs[0]!]!]])
}

/** The optional hook points of a tower, all of them. */
export function optionalOf(model: LoadedModel, tower: TowerName): Set<string> {
  const description = model.description[tower]!
  return new Set(
    hookPointsOf(description.config)
      .filter(({ optional }) => optional)
      .map(({ name }) => name),
  )
}

/** Largest difference, in units of the expected value's largest magnitude. Equal infinities do not differ; a NaN differs from anything. */
export function relativeDifference(actual: Tensor, expected: Tensor): number {
  if (actual.shape.join() !== expected.shape.join()) return Number.POSITIVE_INFINITY
  let scale = 0
  let difference = 0
  for (let i = 0; i < expected.data.length; i++) {
    const e = Number(expected.data[i])
    const a = Number(actual.data[i])
    if (Number.isFinite(e)) scale = Math.max(scale, Math.abs(e))
    if (Object.is(a, e)) continue
    difference = Math.max(difference, Number.isNaN(a - e) ? Number.POSITIVE_INFINITY : Math.abs(a - e))
  }
  return difference === 0 ? 0 : difference / Math.max(scale, 1e-30)
}
