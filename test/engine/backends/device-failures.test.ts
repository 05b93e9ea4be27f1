/** What devices say when they fail, and what becomes of it: by text alone, and through the host over a real backend whose session fails. */

import { InferenceSession } from 'onnxruntime-node'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { deviceFailure } from '../../../src/engine/backends/device-failures.js'
import { EngineError } from '../../../src/engine/errors.js'
import { Engine } from '../../../src/engine/host/engine.js'
import { createEngineHost } from '../../../src/engine/host/engine-host.js'
import type { EngineWorker } from '../../../src/engine/host/engine-worker-calls.js'
import type { Tensor } from '../../../src/engine/tensor.js'
import { onnxruntime } from '../each-backend.js'
import { type LocalChannel, localChannel } from '../host/fake-engine.js'
import { expectedOf, folderOf } from '../models/fixtures.js'

/** What all sessions inherit. */
const sessions = (InferenceSession as unknown as { readonly prototype: InferenceSession }).prototype

/** As the libraries write them; file names and hosts are left out. */
const texts = {
  DEVICE_OUT_OF_MEMORY: [
    "Non-zero status code returned while running MatMul node. Name:'v0:MatMul' Status Message: bfc_arena.cc:360 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*) Failed to allocate memory for requested buffer of size 36000000000000",
    'bfc_arena.cc:376 Available memory of 1024 is smaller than requested bytes of 2048',
    'CudaCall CUDA failure 2: out of memory ; GPU=0 ; hostname=h ; file=cuda_allocator.cc ; line=48 ; expr=cudaMalloc((void**)&p, size);',
    'CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0 ; hostname=h ; expr=cublasCreate(&cublas_handle_);',
    'CUDNN failure 4: CUDNN_STATUS_ALLOC_FAILED ; GPU=0 ; hostname=h ; expr=cudnnCreate(&cudnn_handle_);',
    'cudaErrorMemoryAllocation',
    'std::bad_alloc',
    'bad allocation',
    'Array buffer allocation failed',
    'WebGPU device error(2): Out of memory',
    'WebGPU validation failed. [Invalid Buffer (unlabeled)] is invalid due to a previous error.\n - While validating entries[2] against { binding: 2 }',
    'Failed to create GPU buffer: size=1024, usage=140.',
    'vkAllocateMemory failed with VK_ERROR_OUT_OF_DEVICE_MEMORY',
    '8007000E Not enough memory resources are available to complete this operation.',
    'OOM when allocating tensor with shape[32,3072] and type float on /job:localhost/replica:0/task:0/device:GPU:0',
  ],
  DEVICE_LIMIT_EXCEEDED: [
    'Buffer size (3185049600) exceeds the max buffer size limit (1073741824).',
    'Binding size (151781376) of [Buffer (unlabeled)] is larger than the maximum binding size (134217728).',
    'Dispatch workgroup count X (70000) exceeds max compute workgroups per dimension (65535).',
    'shader_helper.cc:306 numbers_storage_buffers_ <= limits_.maxStorageBuffersPerShaderStage was false. Too many storage buffers in shader. Current: 16, Max is 12',
    'Invalid typed array length: 8589934592',
  ],
  DEVICE_LOST: [
    'CudaCall CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; hostname=h ; expr=cudaStreamSynchronize(stream_);',
    'CUDA failure 719: unspecified launch failure ; GPU=0 ; hostname=h ; expr=cudaGetLastError();',
    'CUDA error 702',
    'CUDA failure 100: no CUDA-capable device is detected ; GPU=0',
    'CUDA failure 214: uncorrectable ECC error encountered ; GPU=0',
    'CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered',
    'cudaErrorLaunchFailure',
    'WebGPU device lost (1): Device was destroyed.',
    '[Device] is lost.',
    'Failed to download data from buffer. wgpu::MapAsyncStatus value: 4, message: ',
    'vkQueueSubmit failed with VK_ERROR_DEVICE_LOST',
    'ExecutionProvider.cpp(962) Exception(3) tid(5a68) 887A0005 The GPU device instance has been suspended. Use GetDeviceRemovedReason to determine the appropriate action.',
    '0x887a0006',
  ],
} as const

const cases = Object.entries(texts).flatMap(([code, own]) => own.map((text) => [code, text] as const))
const others = [
  'CUDA failure 209: no kernel image is available for execution on the device',
  "Non-zero status code returned while running Gather node. Name:'x' Status Message: indices element out of data bounds, idx=7",
  'Failed to load model with error: invalid wire type',
  'the input has 700 rows, 2 too many',
]

describe('what a device says', () => {
  const about = { device: 'cuda:0', doing: 'running "clip"' }

  test.each(cases)('is %s: %s', (code, text) => {
    const failure = deviceFailure(new Error(text), about)
    expect(failure).toMatchObject({ code, details: about })
    expect(failure!.message).toContain('cuda:0')
    expect(failure!.message).not.toContain('\n')
    expect(deviceFailure(text, about)?.code).toBe(code)
  })

  test.each(others)('is about something else: %s', (text) => expect(deviceFailure(new Error(text), about)).toBeUndefined())

  test('is not looked for in what has a code already', () => {
    expect(deviceFailure(new EngineError('IMAGE_INVALID', { problem: 'out of memory' }), about)).toBeUndefined()
  })
})

describe('a host whose device fails', () => {
  const model = { key: 'clip', folder: folderOf('hf-clip'), processing: [] }
  const channels: LocalChannel[] = []
  afterEach(() => {
    vi.restoreAllMocks()
    channels.length = 0
  })

  async function openHost() {
    const deaths: string[] = []
    const engines: Engine[] = []
    const host = await createEngineHost({
      devices: ['cpu'],
      memoryBytes: 2 ** 28,
      observe: (event) => event.kind === 'worker-died' && deaths.push(event.reason),
      transport: {
        openEngine: () => {
          let engine: Engine | undefined
          const start: EngineWorker['start'] = async () => {
            const backend = await onnxruntime.create()
            engine = new Engine(backend)
            engines.push(engine)
            return { backend: backend.name, device: backend.device }
          }
          const worker = new Proxy({} as EngineWorker, {
            get: (_, name: keyof EngineWorker) =>
              name === 'start'
                ? start
                : (...args: never[]) => (engine![name as 'load'] as (...args: unknown[]) => Promise<unknown>)(...args),
          })
          channels.push(localChannel<EngineWorker>(worker))
          return channels.at(-1)!
        },
        openImages: () => localChannel({}),
      },
    })
    const pixels = (await expectedOf('hf-clip')).get('vision/pixels') as Tensor<'float32'>
    const ask = (read: string[] = []) => host.run({ model, inputs: { kind: 'pixels', pixels }, read, edits: [] })
    return { host, deaths, engines, ask }
  }

  /** Of the next runs of any session, so many fail. */
  function failRuns(text: string, times = Number.POSITIVE_INFINITY) {
    const { run } = sessions
    let left = times
    return vi.spyOn(sessions, 'run').mockImplementation(function (this: InferenceSession, ...args: Parameters<InferenceSession['run']>) {
      return left-- > 0 ? Promise.reject(new Error(text)) : run.apply(this, args)
    })
  }

  test.each(texts.DEVICE_OUT_OF_MEMORY)(
    'answers the request that found no memory, and the next one is served by the same worker: %s',
    async (text) => {
      const { host, deaths, ask } = await openHost()
      const before = await ask()
      const { usedBytes } = host.status().memory
      const spy = failRuns(text)
      await expect(ask()).rejects.toMatchObject({ code: 'DEVICE_OUT_OF_MEMORY', details: { device: 'cpu' } })
      // Three rows, then two, then one.
      expect(spy).toHaveBeenCalledTimes(3)
      spy.mockRestore()
      expect((await ask()).output).toEqual(before.output)
      expect(host.status()).toMatchObject({ state: 'ready', restarts: 0, memory: { usedBytes } })
      expect(deaths).toEqual([])
      await host.close()
    },
  )

  test('computes in smaller parts what finds no memory, or is beyond a limit, as a whole', async () => {
    const { host, ask } = await openHost()
    const before = await ask()
    for (const text of [texts.DEVICE_OUT_OF_MEMORY[0], texts.DEVICE_LIMIT_EXCEEDED[0]]) {
      const spy = failRuns(text, 1)
      const { output } = await ask()
      expect(output.shape).toEqual(before.output.shape)
      expect(spy).toHaveBeenCalledTimes(3)
      spy.mockRestore()
    }
    failRuns(texts.DEVICE_LIMIT_EXCEEDED[0])
    await expect(ask()).rejects.toMatchObject({ code: 'DEVICE_LIMIT_EXCEEDED' })
    await host.close()
  })

  test.each(texts.DEVICE_LOST)('fails the run with the reason and starts a new worker, which loads what is asked for: %s', async (text) => {
    const { host, deaths, engines, ask } = await openHost()
    const before = await ask()
    const spy = failRuns(text)
    await expect(ask()).rejects.toMatchObject({ code: 'DEVICE_LOST', details: { device: 'cpu' } })
    expect(spy).toHaveBeenCalledTimes(1)
    spy.mockRestore()
    expect(host.status().models).toEqual([])
    expect((await ask()).output).toEqual(before.output)
    expect(host.status()).toMatchObject({ state: 'ready', restarts: 1, device: 'cpu', models: [{ key: 'clip', inUse: false }] })
    expect(deaths).toHaveLength(1)
    expect(engines).toHaveLength(2)
    await host.close()
  })

  test('serves those that wait, too, when the device is lost under a run', async () => {
    const { host, ask } = await openHost()
    const before = await ask()
    const spy = failRuns(texts.DEVICE_LOST[0], 1)
    const [lost, ...waiting] = [ask(), ask(['blocks.0.hook_resid_post']), ask(['blocks.1.hook_resid_post'])]
    await expect(lost).rejects.toMatchObject({ code: 'DEVICE_LOST' })
    for (const { output } of await Promise.all(waiting)) expect(output).toEqual(before.output)
    spy.mockRestore()
    expect(host.status()).toMatchObject({ restarts: 1, queueLength: 0 })
    await host.close()
  })

  test('that cannot compile for want of memory compiles once there is some', async () => {
    const { host, ask } = await openHost()
    const create = vi.spyOn(InferenceSession, 'create').mockRejectedValue(new Error(texts.DEVICE_OUT_OF_MEMORY[2]))
    await expect(ask()).rejects.toMatchObject({ code: 'DEVICE_OUT_OF_MEMORY', details: { doing: expect.stringContaining('compiling') } })
    create.mockRestore()
    await expect(ask()).resolves.toBeDefined()
    expect(host.status().programs.count).toBe(1)
    await host.close()
  })
})
