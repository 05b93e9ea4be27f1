/**
 * Checkpoints of a run: a folder for each, named by its step, that is there whole or not at all (io/atomic-write.ts).
 *
 *     checkpoints/00001000/weights.safetensors   the parameters
 *                          state.safetensors     the optimizer's state and whatever else goes on
 *                          checkpoint.json       step, identity of the run, random state, notes
 */

import fs from 'node:fs/promises'
import path from 'node:path'
import { EngineError } from '../../errors.js'
import { writeFolderAtomically, writeThrough } from '../../io/atomic-write.js'
import { openFileSource } from '../../io/byte-source.js'
import { readSafetensor, readSafetensorsHeader, safetensorsChunks } from '../../io/safetensors.js'
import type { RandomState } from '../../random.js'
import type { Tensor } from '../../tensor.js'

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json }

/** Everything that a run needs to go on as if it had never stopped. */
export interface Checkpoint {
  /** Updates done. */
  readonly step: number
  readonly weights: Readonly<Record<string, Tensor>>
  readonly state: Readonly<Record<string, Tensor>>
  /** Of a generator that is drawn from in sequence, where there is one. */
  readonly random?: RandomState
  /** Whatever else: positions in a stream, counters. */
  readonly notes?: Json
}

/** What the run itself keeps with each checkpoint. */
export interface CheckpointRecord {
  /** Says which run it belongs to; see run-folder.ts. */
  readonly identity: string
  /** The best value so far of what the run is judged by, and when it was measured. */
  readonly best?: { readonly step: number; readonly value: number }
}

const [weightsName, stateName, recordName] = ['weights.safetensors', 'state.safetensors', 'checkpoint.json']
const folderOf = (run: string, step: number) => path.join(run, 'checkpoints', String(step).padStart(8, '0'))

/** Steps of the checkpoints there are, in order. */
export async function listCheckpoints(run: string): Promise<number[]> {
  const names = await fs.readdir(path.join(run, 'checkpoints')).catch(() => [])
  return names
    .filter((name) => /^\d{8,}$/.test(name))
    .map(Number)
    .sort((a, b) => a - b)
}

/** @throws STORAGE_FULL; the checkpoints there were are whole then */
export async function writeCheckpoint(run: string, checkpoint: Checkpoint, record: CheckpointRecord): Promise<void> {
  const { step, weights, state, random, notes } = checkpoint
  const json = { step, ...record, ...(random && { random }), ...(notes !== undefined && { notes }) }
  await writeFolderAtomically(
    folderOf(run, step),
    async (aside) => {
      await writeThrough(path.join(aside, weightsName), safetensorsChunks(Object.entries(weights)))
      await writeThrough(path.join(aside, stateName), safetensorsChunks(Object.entries(state)))
      await writeThrough(path.join(aside, recordName), `${JSON.stringify(json, null, 2)}\n`)
    },
    { replace: true },
  )
}

/** @throws FILE_INVALID when it is damaged */
export async function readCheckpoint(run: string, step: number): Promise<Checkpoint & CheckpointRecord> {
  const folder = folderOf(run, step)
  const shown = (name: string) => path.join('checkpoints', path.basename(folder), name)
  const read = async (name: string) => {
    const source = await openFileSource(path.join(folder, name), shown(name))
    try {
      const header = await readSafetensorsHeader(source, shown(name))
      const tensors: Record<string, Tensor> = {}
      for (const tensor of header.entries.keys()) tensors[tensor] = await readSafetensor(source, header, tensor)
      return tensors
    } finally {
      await source.close()
    }
  }
  const record = parseRecord(await fs.readFile(path.join(folder, recordName), 'utf8').catch(() => ''), shown(recordName))
  return { ...record, weights: await read(weightsName), state: await read(stateName) }
}

function parseRecord(text: string, file: string): Omit<Checkpoint, 'weights' | 'state'> & CheckpointRecord {
  try {
    const record = JSON.parse(text) as Omit<Checkpoint, 'weights' | 'state'> & CheckpointRecord
    if (Number.isSafeInteger(record.step) && typeof record.identity === 'string') return record
  } catch {
    // said below
  }
  throw new EngineError('FILE_INVALID', { file, problem: 'it is missing or damaged. Remove this checkpoint to go on from the one before.' })
}

/** Removes all but the last `keepLast` and the ones in `also`, and what killed processes left half written. */
export async function removeOldCheckpoints(run: string, { keepLast, also }: { keepLast: number; also: readonly number[] }): Promise<void> {
  const steps = await listCheckpoints(run)
  const old = steps.slice(0, Math.max(0, steps.length - keepLast)).filter((step) => !also.includes(step))
  for (const step of old) await fs.rm(folderOf(run, step), { recursive: true, force: true })
}

/** What a killed process left half written. */
export async function removeUnfinished(run: string): Promise<void> {
  const folder = path.join(run, 'checkpoints')
  const names = await fs.readdir(folder).catch(() => [])
  for (const name of names.filter((entry) => entry.endsWith('.writing')))
    await fs.rm(path.join(folder, name), { recursive: true, force: true })
}
