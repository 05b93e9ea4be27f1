import { expect, test } from 'vitest'
import { runCli } from './run-cli.js'

test.each([
  [undefined, '0'],
  ['float32', '0'],
  ['float16', '0'],
  ['tf32', undefined],
])("with REFRACT_PRECISION %s NVIDIA's libraries are told %s before anything loads them", async (precision, told) => {
  const env: Record<string, string> = { NVIDIA_TF32_OVERRIDE: '1', ...(precision !== undefined && { REFRACT_PRECISION: precision }) }
  expect((await runCli(['evaluate'], env)).code).toBe(2)
  expect(env.NVIDIA_TF32_OVERRIDE).toBe(told)
})

test('a precision that there is not is refused with those there are', async () => {
  const { code, err } = await runCli(['evaluate'], { REFRACT_PRECISION: 'bfloat16' })
  expect(code).not.toBe(0)
  expect(err).toContain('REFRACT_PRECISION: "bfloat16" is not float32, tf32, float16')
})
