/** Ten steps of PyTorch's, number by number. */

import { describe, expect, test } from 'vitest'
import type { Tensor } from '../../../src/engine/tensor.js'
import { objectiveGraph, objectiveProjections } from '../../../src/engine/training/model-objective.js'
import { learningRateAt } from '../../../src/engine/training/schedules.js'
import { Stepper } from '../../../src/engine/training/stepper.js'
import { type BackendUnderTest, onnxruntime, reference, referenceFloat64 } from '../each-backend.js'
import { expected, type GoldenRun, goldenTensors, settings } from './golden.js'

const runs: readonly GoldenRun[] = ['classifier', 'clip', 'clipGrouped', 'clipClasses', 'clipMuon']

/** All steps of a golden run; the numbers of each, and the parameters after the last. */
async function train(backend: BackendUnderTest, name: GoldenRun, nMicroBatches = 1) {
  const { first, last, batches } = await goldenTensors(name)
  const { objective, schedule, learningRate, ...rest } = settings[name]
  const graph = objectiveGraph(objective)
  const stepper = await Stepper.create({
    ...rest,
    backend: await backend.create(),
    graph,
    loss: 'loss',
    trainable: Object.keys(graph.parameters),
    projections: objectiveProjections(objective),
    weights: first,
    nMicroBatches,
  })
  const steps: Record<string, number>[] = []
  for (const [step, batch] of batches.entries()) {
    const rate = learningRateAt(schedule, { step, nSteps: batches.length, learningRate })
    steps.push({ ...(await stepper.update(batch, rate)).numbers, learningRate: rate })
  }
  const { parameters } = await stepper.snapshot()
  await stepper.dispose()
  return { steps, parameters, last, first, learningRate }
}

function largestDifference(parameters: Readonly<Record<string, Tensor>>, last: Readonly<Record<string, Tensor>>) {
  return Object.keys(last).map((name) => {
    const [ours, theirs] = [parameters[name]!.data as Float32Array, last[name]!.data as Float64Array]
    const scale = Math.max(...Array.from(theirs, Math.abs))
    return { name, difference: Math.max(...Array.from(theirs, (value, at) => Math.abs(value - ours[at]!))), scale }
  })
}

describe.each(runs)('%s', (name) => {
  test.each([
    [onnxruntime, 1e-4],
    [reference, 1e-4],
    [referenceFloat64, 2e-6],
  ] as const)('is trained as by PyTorch on %s', async (backend, tolerance) => {
    const { steps, parameters, last, learningRate } = await train(backend, name)
    for (const [step, numbers] of expected[name].entries()) {
      expect(Object.keys(steps[step]!).sort()).toEqual(Object.keys(numbers).sort())
      for (const [key, value] of Object.entries(numbers)) {
        expect(Math.abs(steps[step]![key]! - value), `${key} at step ${step}`).toBeLessThanOrEqual(
          tolerance * Math.max(1e-3, Math.abs(value)),
        )
      }
    }
    expect(Object.keys(parameters).sort()).toEqual(Object.keys(last).sort())
    for (const { name: parameter, difference, scale } of largestDifference(parameters, last)) {
      // A key's bias moves no softmax: its gradient is 0, and rounding makes noise of it that Adam brings to full steps.
      const allowed = parameter.endsWith('b_K') ? 10 * learningRate : tolerance * scale
      expect(difference, parameter).toBeLessThanOrEqual(allowed)
    }
  })
})

test('micro-batches that add up are the batch', async () => {
  for (const backend of [onnxruntime, reference]) {
    const [whole, parts] = [await train(backend, 'classifier'), await train(backend, 'classifier', 4)]
    for (const [step, { loss, gradientNorm, accuracy }] of whole.steps.entries()) {
      expect(parts.steps[step]!.loss).toBeCloseTo(loss!, 5)
      expect(parts.steps[step]!.gradientNorm).toBeCloseTo(gradientNorm!, 4)
      expect(parts.steps[step]!.accuracy).toBeCloseTo(accuracy!, 6)
    }
    for (const { name, difference, scale } of largestDifference(parts.parameters, whole.parameters)) {
      expect(difference, name).toBeLessThanOrEqual(1e-4 * scale)
    }
  }
})

test('the same steps give the same bits', async () => {
  for (const backend of [onnxruntime, reference]) expect(await train(backend, 'clip')).toEqual(await train(backend, 'clip'))
})
