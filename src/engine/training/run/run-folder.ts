/**
 * The folder of a run says all of it: what was asked for, with which data and which code, how it went, and the weights. `config.json` is
 * written first; a folder with another one is never gone on with.
 */

import { createHash } from 'node:crypto'
import fs from 'node:fs/promises'
import path from 'node:path'
import { EngineError } from '../../errors.js'
import { writeFileAtomically } from '../../io/atomic-write.js'
import { type Checkpoint, type CheckpointRecord, type Json, listCheckpoints, readCheckpoint, removeUnfinished } from './checkpoints.js'

/** What decides the numbers of a run. */
export interface RunIdentity {
  readonly config: Json
  readonly seed: number
  /** What was trained on: name, hash, sizes. */
  readonly data: Json
}

export interface OpenRunOptions {
  readonly folder: string
  readonly identity: RunIdentity
  /** Which code runs; kept for the reader, free to differ when a run is gone on with. */
  readonly code: { readonly version: string; readonly commit?: string }
  /** Go on with the last checkpoint where there is one. Without it a folder that holds a run is refused. */
  readonly resume?: boolean
}

export interface RunFolder {
  readonly folder: string
  /** A hash of the identity. */
  readonly identity: string
  readonly seed: number
  /** Where to go on; absent at the start. */
  readonly from?: Checkpoint & CheckpointRecord
}

const configName = 'config.json'

/**
 * @throws INPUT_INVALID when the folder holds a run and `resume` is not set; CHECKPOINT_MISMATCH naming what differs; FILE_INVALID for a
 *   damaged checkpoint; STORAGE_FULL
 */
export async function openRun({ folder, identity, code, resume = false }: OpenRunOptions): Promise<RunFolder> {
  const file = path.join(folder, configName)
  const known = await fs.readFile(file, 'utf8').catch(() => undefined)
  if (known !== undefined && !resume) {
    throw new EngineError('INPUT_INVALID', {
      path: folder,
      problem: 'holds a run already. Go on with it (resume), or name another folder.',
    })
  }
  if (known === undefined) await writeFileAtomically(file, `${JSON.stringify({ ...identity, code }, null, 2)}\n`)
  else checkIdentity(folder, known, identity)
  await removeUnfinished(folder)
  const run = { folder, identity: identityHash(identity), seed: identity.seed }
  const last = (await listCheckpoints(folder)).at(-1)
  if (last === undefined) return run
  const from = await readCheckpoint(folder, last)
  if (from.identity !== run.identity) {
    const problems = ['it says that it belongs to another configuration, seed or data set']
    throw new EngineError('CHECKPOINT_MISMATCH', { checkpoint: `of step ${last} in ${folder}`, problems })
  }
  return { ...run, from }
}

function checkIdentity(folder: string, text: string, identity: RunIdentity): void {
  let known: Partial<RunIdentity>
  try {
    known = JSON.parse(text) as Partial<RunIdentity>
  } catch {
    throw new EngineError('FILE_INVALID', { file: path.join(folder, configName), problem: 'it is not valid JSON.' })
  }
  const { config, seed, data } = identity
  const problems = differences(
    '',
    { config: known.config ?? null, seed: known.seed ?? null, data: known.data ?? null },
    { config, seed, data },
  )
  if (problems.length > 0) throw new EngineError('CHECKPOINT_MISMATCH', { checkpoint: `in ${folder}`, problems })
}

function identityHash({ config, seed, data }: RunIdentity): string {
  return createHash('sha256').update(canonical({ config, seed, data })).digest('hex')
}

/** JSON with the keys of objects in order. */
function canonical(value: Json | undefined): string {
  if (value === undefined) return 'null'
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const fields = Object.entries(value as Record<string, Json>).filter(([, field]) => field !== undefined)
  return `{${fields
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, field]) => `${JSON.stringify(name)}:${canonical(field)}`)
    .join(',')}}`
}

/** `config.model.nLayers: 4 there, 6 here`, for everything that differs. */
function differences(at: string, there: Json, here: Json): string[] {
  if (canonical(there) === canonical(here)) return []
  const isObject = (value: Json): value is { readonly [key: string]: Json } =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
  if (!isObject(there) || !isObject(here)) return [`${at}: ${canonical(there)} there, ${canonical(here)} here`]
  const names = [...new Set([...Object.keys(there), ...Object.keys(here)])]
  return names.flatMap((name) => differences(at === '' ? name : `${at}.${name}`, there[name] ?? null, here[name] ?? null))
}
