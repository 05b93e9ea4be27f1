import { expect, test } from 'vitest'
import { chooseBackend } from '../../../src/engine/host/choose-backend.js'

const open = (device: string, precision: 'float32' | 'tf32' | 'float16') => chooseBackend({ device, precision, intraOpThreads: 1 })

test.each([
  ['cpu', 'float16'],
  ['cpu', 'tf32'],
  ['webgpu', 'tf32'],
  ['reference', 'float16'],
  ['tfjs:cpu', 'float16'],
  ['auto', 'float16'],
] as const)('%s is refused in %s, and why is said', async (device, precision) => {
  await expect(open(device, precision)).rejects.toMatchObject({
    code: 'DEVICE_UNAVAILABLE',
    message: expect.stringMatching(new RegExp(`${precision} \\(REFRACT_PRECISION\\)`)),
  })
})

test.each(['cpu', 'reference', 'tfjs:cpu', 'auto'])('%s computes in float32, and says so', async (device) => {
  expect((await open(device, 'float32')).precision).toBe('float32')
})
