/** Kinds of work for tests: what they do is small, what happens to them is not. Loaded by the processes of workers, too. */

import fs from 'node:fs/promises'
import path from 'node:path'
import { type Static, Type } from 'typebox'
import { EngineError } from '../../../src/engine/errors.js'
import { defineJobKind, defineWholeJob, type JobKind, type Json } from '../../../src/operations/jobs/job-kind.js'

const SumInput = Type.Object(
  { nShards: Type.Integer({ minimum: 0 }), each: Type.Integer({ minimum: 1 }), pauseMs: Type.Optional(Type.Number()) },
  { title: 'SumJob', additionalProperties: false },
)

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

/** Sums whose last bits depend on the order of the additions; as bytes. */
export const sum = defineJobKind({
  name: 'sum',
  summary: 'Adds harmonic terms',
  input: SumInput,
  example: { nShards: 2, each: 10 },
  place: 'anywhere',
  uses: () => ['model:none'],
  plan: async ({ nShards, each }) => Array.from({ length: nShards }, (_, index) => ({ from: index * each, to: (index + 1) * each })),
  async run({ from, to }, { pauseMs = 0 }, { progress, log, signal, keep }) {
    const terms = await keep('terms', async () => (n: number) => 1 / (n + 1) ** 1.1)
    let total = 0
    for (let n = from; n < to; n++) total += terms(n)
    progress(0.5, `added up to ${to}`)
    log(`terms ${from} to ${to}`)
    await pause(pauseMs)
    signal.throwIfAborted()
    return new Uint8Array(new Float64Array([total]).buffer)
  },
  merge: (left, right) => new Uint8Array(new Float64Array([numberOf(left) + numberOf(right)]).buffer),
  finish: async (parts): Promise<Json> => ({ total: numberOf(await parts.merged()), nShards: parts.count }),
})

export function sumOf({ nShards, each }: Static<typeof SumInput>): number {
  const shards = Array.from({ length: nShards }, (_, index) => {
    let total = 0
    for (let n = index * each; n < (index + 1) * each; n++) total += 1 / (n + 1) ** 1.1
    return total
  })
  return shards.reduce((left, right) => left + right)
}

const numberOf = (bytes: Uint8Array) => new Float64Array(Uint8Array.from(bytes).buffer)[0]!

/** Ends its own process a few times, then gets through: what it has done so far is in its folder. */
const mortal = defineWholeJob({
  name: 'mortal',
  summary: 'Dies',
  input: Type.Object({ deaths: Type.Integer() }, { title: 'MortalJob', additionalProperties: false }),
  example: { deaths: 1 },
  place: 'data-folder',
  async run({ deaths }, { folder, log }) {
    const died = await fs.readFile(path.join(folder, 'deaths'), 'utf8').catch(() => '')
    if (died.length < deaths) {
      await fs.writeFile(path.join(folder, 'deaths'), `${died}x`)
      process.kill(process.pid, 'SIGKILL')
    }
    log('alive')
    return { died: died.length }
  },
})

/** Its first shard loses the device, once; each says which process did it. */
const devoid = defineJobKind({
  name: 'devoid',
  summary: 'Loses its device',
  input: Type.Object({}, { title: 'DevoidJob', additionalProperties: false }),
  example: {},
  place: 'data-folder',
  uses: () => [],
  plan: async () => [{ isFirst: true }, { isFirst: false }],
  async run({ isFirst }, _, { folder }) {
    const file = path.join(folder, 'process')
    const lost = await fs.readFile(file, 'utf8').catch(() => '')
    if (!isFirst || lost !== '') return { pid: process.pid, lost: Number(lost) }
    await fs.writeFile(file, String(process.pid))
    throw new EngineError('DEVICE_LOST', { device: 'cuda:0', doing: 'running "x"', problem: 'an illegal memory access was encountered' })
  },
  async finish(parts): Promise<Json> {
    const all: Json[] = []
    for await (const part of parts.inOrder()) all.push(part)
    return all
  },
})

/** Waits until it is stopped; `deaf` does not even listen. */
const patient = defineWholeJob({
  name: 'patient',
  summary: 'Waits',
  input: Type.Object({ deaf: Type.Boolean() }, { title: 'PatientJob', additionalProperties: false }),
  example: { deaf: false },
  place: 'anywhere',
  async run({ deaf }, { signal, log, progress }) {
    log('waiting')
    progress(0.25, 'waiting')
    if (deaf) {
      await pause(300)
      for (;;) Math.sqrt(2)
    }
    await new Promise((resolve) => signal.addEventListener('abort', resolve))
    throw new Error('cut off in the middle')
  },
})

const failing = defineWholeJob({
  name: 'failing',
  summary: 'Fails',
  input: Type.Object({ how: Type.Enum(['refusal', 'bug', 'throws nothing']) }, { title: 'FailingJob', additionalProperties: false }),
  example: { how: 'bug' },
  place: 'anywhere',
  async run({ how }) {
    if (how === 'refusal') {
      throw new EngineError('INPUT_INVALID', { path: 'input.x', problem: 'is odd' }, [{ path: 'input.x', message: 'is odd' }])
    }
    if (how === 'throws nothing') throw undefined
    throw new TypeError('secret of the implementation')
  },
})

export const jobKinds: readonly JobKind[] = [sum, mortal, devoid, patient, failing] as unknown as readonly JobKind[]
export const kindsModule = import.meta.url
