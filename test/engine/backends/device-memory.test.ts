/** What lies in a device's memory, and when it leaves; without a device. */

import fc from 'fast-check'
import type * as Ort from 'onnxruntime-node'
import { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node'
import { describe, expect, test, vi } from 'vitest'
import { onProvider } from '../../../src/engine/backends/onnxruntime/backend.js'
import { DeviceMemory, type Occupant } from '../../../src/engine/backends/onnxruntime/device-memory.js'
import { DeviceWeights } from '../../../src/engine/backends/onnxruntime/device-weights.js'
import { GraphBuilder } from '../../../src/engine/graph/builder.js'
import { float32, int64, scalar, type Tensor } from '../../../src/engine/tensor.js'

/** What all sessions inherit. */
const sessions = (InferenceSession as unknown as { readonly prototype: Ort.InferenceSession }).prototype
const ort = { Tensor: OrtTensor, InferenceSession } as typeof Ort

describe('what lies in a device', () => {
  test('is never sent away while a run uses it, and is within the budget but for that', async () => {
    const step = fc.record({ which: fc.nat(5), isUse: fc.boolean() })
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), fc.integer({ min: 0, max: 12 }), async (steps, budget) => {
        const memory = new DeviceMemory('fake', budget)
        const there = new Set<Occupant>()
        const held = new Map<Occupant, (() => void)[]>()
        const occupants = Array.from({ length: 6 }, (_, at): Occupant => {
          const occupant = {
            bytes: at + 1,
            leave: async () => {
              expect(held.get(occupant) ?? []).toEqual([])
              there.delete(occupant)
            },
          }
          return occupant
        })
        for (const { which, isUse } of steps) {
          const occupant = occupants[which]!
          const holds = held.get(occupant) ?? []
          if (!isUse) {
            holds.pop()?.()
            continue
          }
          const letGo = memory.hold(occupant)
          if (letGo === undefined) continue
          held.set(occupant, [...holds, letGo])
          there.add(occupant)
          await memory.makeRoom()
          expect(there.has(occupant)).toBe(true)
          expect(memory.use.usedBytes).toBe([...there].reduce((sum, { bytes }) => sum + bytes, 0))
          expect(memory.use.usedBytes).toBeLessThanOrEqual(budget)
        }
      }),
    )
  })

  test('leaves when memory is short, for one more attempt; what is used stays', async () => {
    const memory = new DeviceMemory('cuda', 10)
    const left: string[] = []
    const occupant = (name: string): Occupant => ({ bytes: 2, leave: async () => void left.push(name) })
    memory.hold(occupant('idle'))!()
    memory.hold(occupant('used'))
    let attempts = 0
    const work = async () => {
      if (++attempts < 2) throw new Error('CUDA failure 2: out of memory')
      return 'done'
    }
    expect(await memory.attempt('running', work)).toBe('done')
    expect(left).toEqual(['idle'])
    attempts = -9
    await expect(memory.attempt('running', work)).rejects.toMatchObject({ code: 'DEVICE_OUT_OF_MEMORY', details: { device: 'cuda' } })
    expect(attempts).toBe(-8) // nothing had left
  })
})

describe('weights of a device', () => {
  /** Tensors "there" are those of a device that copies. */
  function fakeDevice(budgetBytes: number) {
    const alive = new Set<Ort.Tensor>()
    const journal: string[] = []
    const onDevice = ({ dtype, shape, data }: Tensor): Ort.Tensor => {
      const tensor = {
        type: dtype,
        dims: shape,
        location: 'gpu-buffer',
        dispose: () => alive.delete(tensor as unknown as Ort.Tensor),
        copied: data.slice(),
      } as unknown as Ort.Tensor
      alive.add(tensor)
      return tensor
    }
    const dataOf = (tensor: Ort.Tensor) => {
      if (tensor.location === 'cpu') return Array.from(tensor.data as Float32Array)
      expect(alive.has(tensor)).toBe(true)
      return Array.from((tensor as unknown as { copied: Float32Array }).copied)
    }
    const moves = {
      toDevice: async (tensor: Tensor) => {
        journal.push(`in ${tensor.data[0]}`)
        return onDevice(tensor)
      },
      toHost: async (tensor: Ort.Tensor) => {
        const data = dataOf(tensor)
        journal.push(`out ${data[0]}`)
        return float32([...tensor.dims], data)
      },
    }
    const memory = new DeviceMemory('fake', budgetBytes)
    const upload = (weights: Record<string, Tensor>) => new DeviceWeights(weights, { ort, moves, memory })
    return { alive, journal, memory, upload, dataOf, onDevice }
  }
  const pair = (value: number) => float32([2], [value, value])

  test('come when a run needs them, leave for others, and come back from host memory', async () => {
    const { upload, journal, memory, alive } = fakeDevice(16)
    const [a, b] = [upload({ x: pair(1), y: pair(2) }), upload({ x: pair(3) })]
    expect(journal).toEqual([])
    const letGo = await a.hold(['x', 'y'])
    expect([a.feed('x')!.location, memory.use.usedBytes]).toEqual(['gpu-buffer', 16])
    letGo()
    ;(await b.hold(['x']))()
    expect([a.feed('x')!.location, a.feed('y')!.location, memory.use.usedBytes]).toEqual(['cpu', 'gpu-buffer', 16])
    ;(await a.hold(['x', 'y']))()
    // What was not written is not read back.
    expect(journal).toEqual(['in 1', 'in 2', 'in 3', 'in 1'])
    await Promise.all([a.dispose(), b.dispose()])
    expect([alive.size, memory.use.usedBytes]).toEqual([0, 0])
  })

  test('that do not fit beside what runs use are fed from host memory', async () => {
    const { upload, memory } = fakeDevice(8)
    const weights = upload({ x: pair(1), y: pair(2), n: int64([1], [3]) })
    const letGo = await weights.hold(['x', 'y', 'n', 'nothing'])
    expect(['x', 'y', 'n'].map((name) => weights.feed(name)!.location)).toEqual(['gpu-buffer', 'cpu', 'cpu'])
    expect(memory.use.usedBytes).toBe(8)
    letGo()
    ;(await weights.hold(['y']))()
    expect(['x', 'y'].map((name) => weights.feed(name)!.location)).toEqual(['cpu', 'gpu-buffer'])
  })

  test('that a run has written are read back before they leave', async () => {
    const { upload, journal, dataOf, onDevice, alive } = fakeDevice(8)
    const weights = upload({ x: pair(1), y: pair(2) })
    const letGo = await weights.hold(['x'])
    await weights.write({ x: onDevice(pair(5)) })
    expect(dataOf(weights.feed('x')!)).toEqual([5, 5])
    letGo()
    ;(await weights.hold(['y']))()
    expect([weights.feed('x')!.location, dataOf(weights.feed('x')!)]).toEqual(['cpu', [5, 5]])
    ;(await weights.hold(['x']))()
    expect(dataOf(weights.feed('x')!)).toEqual([5, 5])
    expect(journal).toEqual(['in 1', 'out 5', 'in 2', 'in 5'])
    // Written from the host: the copy there is dropped.
    await weights.write({ x: new OrtTensor('float32', Float32Array.of(7, 7), [2]) })
    expect(dataOf(weights.feed('x')!)).toEqual([7, 7])
    ;(await weights.hold(['x']))()
    expect(Array.from((await weights.read(['x'])).x!.data as Float32Array)).toEqual([7, 7])
    expect(alive.size).toBe(1)
    await expect(weights.write({ x: onDevice(float32([1], [1])) })).rejects.toMatchObject({ code: 'SHAPE_MISMATCH' })
    await weights.dispose()
  })

  test('are what they were written to be, whatever was held, written and sent away at the same time', async () => {
    const names = ['x', 'y', 'z']
    const step = fc.record({ name: fc.constantFrom(...names), write: fc.option(fc.constantFrom('host', 'device')), stays: fc.boolean() })
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), fc.constantFrom(0, 8, 16, 24), async (steps, budget) => {
        const { upload, dataOf, onDevice, alive, memory } = fakeDevice(budget)
        const weights = upload(Object.fromEntries(names.map((name, at) => [name, pair(at)])))
        const expected = new Map(names.map((name, at) => [name, at]))
        const pending: Promise<unknown>[] = []
        for (const [at, { name, write, stays }] of steps.entries()) {
          const holding = weights.hold([name]).then((letGo) => letGo())
          if (stays) pending.push(holding)
          else await holding
          if (write === null) continue
          const letGo = await weights.hold(names)
          for (const each of names) expect(dataOf(weights.feed(each)!)[0]).toBe(expected.get(each))
          await weights.write({
            [name]: write === 'device' ? onDevice(pair(100 + at)) : new OrtTensor('float32', pair(100 + at).data, [2]),
          })
          expected.set(name, 100 + at)
          letGo()
        }
        await Promise.all(pending)
        await memory.makeRoom()
        expect(alive.size * 8).toBeLessThanOrEqual(budget)
        for (const name of names) expect((await weights.read([name]))[name]!.data[0]).toBe(expected.get(name))
        await weights.dispose()
        expect(alive.size).toBe(0)
      }),
    )
  })
})

describe('sessions that hold weights', () => {
  const provider = { options: () => 'cpu', memory: 'session', precisions: ['float32'] } as const
  const graphOf = (name: string) => {
    const b = new GraphBuilder(name)
    return b.build([b.named('y', b.op('Mul', [b.parameter('w', [2]), b.input('x', 'float32', [])]))])
  }

  test('make way for a run that finds no memory, and come back', async () => {
    const backend = await onProvider(provider, { device: 'cpu', intraOpThreads: 1, deviceBytes: 100 })
    const [one, two] = [await backend.compile(graphOf('one')), await backend.compile(graphOf('two'))]
    const weights = await backend.upload({ w: float32([2], [3, 4]) })
    const y = async (program: typeof one) =>
      Array.from((await program.run({ inputs: { x: scalar(2) }, weights, fetch: ['y'] })).y!.data as Float32Array)
    expect(await y(one)).toEqual([6, 8])
    expect(await y(two)).toEqual([6, 8])
    const released = vi.spyOn(sessions, 'release')
    const failing = vi.spyOn(sessions, 'run').mockRejectedValueOnce(new Error('CUDA failure 2: out of memory'))
    expect(await y(two)).toEqual([6, 8])
    expect(released).toHaveBeenCalledTimes(1)
    failing.mockRestore()
    expect(await y(one)).toEqual([6, 8])
    await Promise.all([one.dispose(), two.dispose(), weights.dispose()])
    vi.restoreAllMocks()
  })
})
