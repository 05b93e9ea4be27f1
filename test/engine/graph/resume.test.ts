import { describe, expect, test } from 'vitest'
import { createReferenceBackend } from '../../../src/engine/backends/reference/backend.js'
import { GraphBuilder } from '../../../src/engine/graph/builder.js'
import { resumeFrom, resumeInput } from '../../../src/engine/graph/resume.js'
import { float32 } from '../../../src/engine/tensor.js'

function graph() {
  const b = new GraphBuilder('g')
  const x = b.input('x', 'float32', ['batch', 2])
  const middle = b.hook('middle', ['batch', 'dModel'], b.op('Mul', [x, x]))
  const last = b.hook('last', ['batch', 'dModel'], b.op('Add', [middle, middle]))
  return b.build([last])
}

describe('a graph that begins in the middle', () => {
  test('gives what the whole graph gives, and is fed the value in the place of what made it', async () => {
    const backend = createReferenceBackend()
    const resumed = resumeFrom(graph(), ['middle'])
    expect(Object.keys(resumed.inputs)).toEqual([resumeInput('middle')])
    expect(resumed.hookPoints.map(({ name }) => name)).toEqual(['middle', 'last'])
    const program = await backend.compile(resumed)
    const weights = await backend.upload({})
    const { last } = await program.run({ inputs: { [resumeInput('middle')]: float32([1, 2], [9, 16]) }, weights, fetch: ['last'] })
    expect([...last!.data]).toEqual([18, 32])
  })

  test('cannot begin where there is nothing', () => {
    expect(() => resumeFrom(graph(), ['nowhere'])).toThrow(expect.objectContaining({ code: 'VALUE_UNKNOWN' }))
  })
})
