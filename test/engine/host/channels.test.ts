/** What a channel to a worker promises, of a thread and of a process alike; and what only a process can. */

import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import fc from 'fast-check'
import { afterEach, describe, expect, test } from 'vitest'
import type { Channel } from '../../../src/engine/host/channel.js'
import { FrameReader, frameOf } from '../../../src/engine/host/frames.js'
import { processChannel, startProcess } from '../../../src/engine/host/process-channel.js'
import { Remote } from '../../../src/engine/host/remote.js'
import { Supervisor } from '../../../src/engine/host/supervisor.js'
import { startThread, threadChannel } from '../../../src/engine/host/thread-channel.js'
import type { SmallWorker } from './small-worker.js'

const file = new URL('./small-worker.ts', import.meta.url)
const code = (expected: string) => expect.objectContaining({ code: expected })

const channels = {
  thread: {
    open: () => threadChannel(startThread(file)),
    died: 'its thread ended with code 3',
  },
  process: {
    open: () => processChannel(startProcess(file, 'refract test')),
    died: 'its process ended with code 3',
  },
}

const opened: { finish(): Promise<void> }[] = []
afterEach(() => Promise.all(opened.splice(0).map((each) => each.finish())))

function remoteOn(channel: Channel) {
  const deaths: string[] = []
  const states: unknown[] = []
  const remote = new Remote<SmallWorker>(channel, {
    onEnd: (reason) => deaths.push(reason),
    isFatal: (error) => 'code' in error && error.code === 'DEVICE_LOST',
    onState: (state) => states.push(state),
  })
  opened.push(remote)
  return { remote, deaths, states }
}

describe.each(['thread', 'process'] as const)('a worker in a %s', (kind) => {
  const { open, died } = channels[kind]

  test('answers what it is asked, each call by itself, and says how it is', async () => {
    const { remote, states } = remoteOn(open())
    expect(await remote.call('whoAreYou', [])).toEqual({
      pid: kind === 'thread' ? process.pid : expect.any(Number),
      isThread: kind === 'thread',
    })
    const order: number[] = []
    await Promise.all([200, 1].map((ms) => remote.call('later', [ms]).then((answer) => order.push(answer))))
    expect(order).toEqual([1, 200])
    expect(states).toEqual([1, 2, 3])
  })

  test('is handed tensors wherever they lie, and hands them back in memory of their own', async () => {
    const { remote } = remoteOn(open())
    const large = Float32Array.from({ length: 40_000 }, (_, at) => at)
    const shared = new Float32Array(new SharedArrayBuffer(16))
    shared.set([1, 2, 3, 4])
    const message = {
      part: large.subarray(1000, 39_000),
      shared,
      longs: BigInt64Array.of(-1n, 2n ** 60n),
      odd: new Uint8Array(Uint8Array.of(9, 8, 7, 6).buffer, 1, 2),
      none: new Float32Array(0),
      deep: [{ shape: [1, 2], data: Uint16Array.of(1), name: undefined, when: new Date(0), by: new Map([['a', 1n]]) }],
    }
    const answer = (await remote.call('echo', [message])) as typeof message
    expect(answer).toEqual({ ...message, shared: expect.anything() })
    expect([...answer.shared]).toEqual([1, 2, 3, 4])
    expect(large).toHaveLength(40_000)
    const { part, odd } = answer
    if (kind === 'process') expect([part.buffer.byteLength, odd.buffer.byteLength]).toEqual([part.byteLength, odd.byteLength])
  })

  test('refuses with code, details and problems; of a bug the message crosses', async () => {
    const { remote, deaths } = remoteOn(open())
    await expect(remote.call('refuse', [])).rejects.toMatchObject({
      code: 'INPUT_INVALID',
      details: { path: 'a', problem: 'is odd' },
      problems: [{ path: 'a.b', message: 'is odd' }],
    })
    await expect(remote.call('fail', [])).rejects.toThrow('a bug')
    await expect(remote.call('echo', [() => 'a function'])).rejects.toThrow('could not be cloned')
    expect(await remote.call('echo', [1])).toBe(1)
    expect(deaths).toEqual([])
  })

  test('ends a call that is called off, and serves the next', async () => {
    const { remote } = remoteOn(open())
    const gaveUp = new AbortController()
    const waiting = remote.call('wait', [], { signal: gaveUp.signal })
    await remote.call('echo', [0])
    gaveUp.abort()
    await expect(waiting).rejects.toThrow(code('CANCELLED'))
    expect(await remote.call('echo', [1])).toBe(1)
  })

  test('that ends by itself fails the calls in flight and all later ones, with the reason', async () => {
    const { remote, deaths } = remoteOn(open())
    const inFlight = remote.call('later', [60_000])
    const last = remote.call('die', [3])
    for (const call of [inFlight, last]) await expect(call).rejects.toThrow(died)
    await expect(remote.call('echo', [1])).rejects.toThrow(code('WORKER_DIED'))
    expect(deaths).toEqual([died])
  })

  test('that is asked to finish does so when its call lets it', async () => {
    const { remote, deaths } = remoteOn(open())
    await remote.call('echo', [0])
    const computed = remote.call('compute', [150])
    const start = performance.now()
    await Promise.all([remote.finish(), expect(computed).resolves.toBe('computed')])
    expect(performance.now() - start).toBeGreaterThan(140)
    expect(deaths).toEqual(['it was ended'])
  })

  test('that is ended in the middle of a call is started anew by its supervisor, and so is one whose device is lost', async () => {
    const deaths: string[] = []
    const open_: Channel[] = []
    const supervisor = new Supervisor<SmallWorker, { readonly pid: number }>({
      open: () => {
        open_.push(open())
        return open_.at(-1)!
      },
      start: (remote) => remote.call('whoAreYou', []),
      onDeath: (reason) => deaths.push(reason),
      policy: { maxDeaths: 5, windowMs: 60_000, cooldownMs: 60_000, backoffMs: 0 },
    })
    opened.push({ finish: () => supervisor.close() })
    const first = await supervisor.remote()
    const { pid } = supervisor.info!
    const doomed = first.call('compute', [kind === 'thread' ? 50 : 60_000])
    await Promise.all([open_[0]!.terminate(), expect(doomed).rejects.toThrow(code('WORKER_DIED'))])
    const second = await supervisor.remote()
    expect(await second.call('echo', ['again'])).toBe('again')
    await expect(second.call('lose', [])).rejects.toThrow(code('DEVICE_LOST'))
    expect(await (await supervisor.remote()).call('echo', ['and again'])).toBe('and again')
    expect(supervisor).toMatchObject({ state: 'ready', restarts: 2 })
    expect(deaths).toEqual(['it was ended', expect.stringContaining('an illegal memory access')])
    expect(supervisor.info!.pid === pid).toBe(kind === 'thread')
  })
})

describe('a process', () => {
  const start = () => {
    const child = startProcess(file, 'refract test')
    return { child, ...remoteOn(processChannel(child)) }
  }
  const kill = (child: ChildProcess, signal: NodeJS.Signals) => process.kill(child.pid!, signal)

  test('shows its name', async () => {
    const { child, remote } = start()
    await remote.call('echo', [0])
    expect(execFileSync('ps', ['-o', 'command=', '-p', String(child.pid)], { encoding: 'utf8' }).trim()).toBe('refract test')
  })

  test('that is killed from outside says by what', async () => {
    const { child, remote, deaths } = start()
    await remote.call('echo', [0])
    const doomed = remote.call('compute', [60_000])
    kill(child, 'SIGKILL')
    await expect(doomed).rejects.toThrow('its process ended by SIGKILL')
    expect(deaths).toEqual(['its process ended by SIGKILL'])
  })

  test('outlives what ends its owner, which may have work for it until then', async () => {
    const { child, remote } = start()
    await remote.call('echo', [0])
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) kill(child, signal)
    expect(await remote.call('echo', ['here'])).toBe('here')
  })

  test('ends with its owner, however that ends', async () => {
    const owner = spawn(process.execPath, ['--import', 'tsx', 'test/engine/host/owner-of-a-process.ts'], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const [line] = (await once(owner.stdout!, 'data')) as [Buffer]
    const pid = Number(line.toString())
    expect(process.kill(pid, 0)).toBe(true)
    kill(owner, 'SIGKILL')
    // it writes to the owner's standard error, too, which is closed when both are gone
    await once(owner, 'close')
  })

  test('that does not start says why', async () => {
    const { deaths, remote } = remoteOn(processChannel(spawn('/nowhere/node', [], { stdio: ['ignore', 2, 2, 'pipe'] })))
    await expect(remote.call('echo', [0])).rejects.toThrow('ENOENT')
    expect(deaths).toEqual([expect.stringContaining('ENOENT')])
  })
})

describe('frames', () => {
  const array = fc.oneof(fc.float32Array(), fc.float64Array(), fc.bigInt64Array(), fc.uint8Array(), fc.int16Array(), fc.uint8ClampedArray())
  const message = fc.anything({ withTypedArray: false, withNullPrototype: false, withBigInt: true, withMap: true, withDate: true })

  test('are read in whatever pieces they arrive', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(message, fc.array(array)), { maxLength: 4 }),
        fc.array(fc.integer({ min: 1, max: 40 })),
        (sent, sizes) => {
          const bytes = Buffer.concat(sent.flatMap((each) => frameOf(each)))
          const received: unknown[] = []
          const reader = new FrameReader({
            deliver: (each) => received.push(each),
            unreadable: (error) => {
              throw error
            },
          })
          for (let at = 0, nth = 0; at < bytes.length; nth++) {
            const size = sizes[nth % sizes.length] ?? bytes.length
            reader.read(bytes.subarray(at, at + size))
            at += size
          }
          expect(received).toEqual(sent.map((each) => structuredClone(each)))
        },
      ),
    )
  })

  test('of which one cannot be read deliver nothing more', () => {
    const frame = Buffer.concat(frameOf({ a: 1 }))
    frame.fill(0xaa, 4)
    const received: unknown[] = []
    const errors: Error[] = []
    const reader = new FrameReader({ deliver: (each) => received.push(each), unreadable: (error) => errors.push(error) })
    reader.read(Buffer.concat([...frameOf('before'), frame, ...frameOf('after')]))
    expect(received).toEqual(['before'])
    expect(errors).toHaveLength(1)
  })
})
