import fc from 'fast-check'
import { expect, test } from 'vitest'
import { fakeRun } from './fake-engine.js'
import { fakeHost } from './fake-host.js'

const model = fc.constantFrom('a', 'b', 'c', 'large', 'huge')
const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('run' as const),
      model,
      rows: fc.integer({ min: 1, max: 5 }),
      read: fc.constantFrom('x', 'y', 'nowhere'),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('give up' as const), which: fc.nat(30) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('load' as const), model }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('unload' as const), model }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('kill' as const), place: fc.nat(1) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('keep' as const), length: fc.nat(60) }) },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('wait' as const), turns: fc.nat(12) }) },
)

test.each([
  { devices: ['fake'], memoryBytes: 1000 },
  { devices: ['fake', 'fake'], memoryBytes: 2700 },
] as const)(
  'whatever happens in whatever order on $devices, every request is answered, right or with a reason, and the books balance',
  async ({ devices, memoryBytes }) => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 50 }), async (steps) => {
        const restart = { maxDeaths: Number.POSITIVE_INFINITY, windowMs: 1000, cooldownMs: 0, backoffMs: 0 }
        const { host, engines, kill } = await fakeHost({ devices, memoryBytes, restart, queueLimit: 10, maxBatch: 6 })
        for (const { modelBytes } of engines) modelBytes.set('large', 800).set('huge', 5000)
        const answers: Promise<unknown>[] = []
        const callers: AbortController[] = []
        const expectRun = async (name: string, rows: number, read: string) => {
          const values = Array.from({ length: rows }, (_, index) => callers.length * 10 + index)
          const caller = new AbortController()
          callers.push(caller)
          const allowed = ['CANCELLED', 'WORKER_DIED', 'QUEUE_FULL']
          if (read === 'nowhere') allowed.push('HOOK_POINT_UNKNOWN')
          if (name === 'huge') allowed.push('MEMORY_EXCEEDED')
          const answer = await host.run(fakeRun(name, values, { read: [read] }), caller.signal).catch((error) => error as { code?: string })
          if ('output' in answer) expect(Array.from(answer.activations[read]!.data)).toEqual(values.map((value) => 2 * value))
          else expect(allowed).toContain(answer.code)
        }
        for (const step of steps) {
          if (step.kind === 'run') answers.push(expectRun(step.model, step.rows, step.read))
          else if (step.kind === 'give up') callers[step.which]?.abort()
          else if (step.kind === 'load') answers.push(host.load({ key: step.model, folder: '/', processing: [] }).catch(() => undefined))
          else if (step.kind === 'unload') answers.push(host.unload(step.model))
          else if (step.kind === 'kill') kill('it was killed', step.place % devices.length)
          else if (step.kind === 'keep')
            host.keep(
              { x: { dtype: 'float32', shape: [step.length], data: new Float32Array(step.length) } },
              { modelId: 'a', tower: 'vision' },
            )
          else for (let turn = 0; turn < step.turns; turn++) await Promise.resolve()
          expect(host.status().memory.usedBytes).toBeLessThanOrEqual(memoryBytes)
          for (const { memory } of host.status().devices) expect(memory.usedBytes).toBeLessThanOrEqual(memory.budgetBytes)
        }
        await Promise.all(answers)
        // Who gives up is answered at once; a load that was begun for it ends a few turns later. So does a restart.
        const isBusy = () => host.status().devices.some(({ state, models }) => state !== 'ready' || models.some(({ inUse }) => inUse))
        await new Promise(setImmediate)
        for (let turn = 0; turn < 100 && isBusy(); turn++) await new Promise(setImmediate)
        const { queueLength, models, memory, devices: each } = host.status()
        expect({ queueLength, run: memory.byKind.run, inUse: models.filter(({ inUse }) => inUse) }).toEqual({
          queueLength: 0,
          run: 0,
          inUse: [],
        })
        expect(memory.usedBytes).toBe(Object.values(memory.byKind).reduce((sum, bytes) => sum + bytes))
        // What the ledger says is in the worker is what is in the worker.
        expect(each.map(({ models }) => models.map(({ key }) => key).sort())).toEqual(engines.map(({ loaded }) => loaded))
        await host.close()
      }),
      { numRuns: 150 },
    )
  },
)
