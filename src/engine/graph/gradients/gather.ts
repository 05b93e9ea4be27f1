/** Gradients of reading by index and of writing by index. What is read twice is summed. */

import type { GradientRule } from '../operator.js'
import { int, normalizeAxis } from '../operators/rules.js'
import { filled, inputOf, lengths, literal, transpose, wholes } from './building.js'

export const gather: GradientRule = (b, call) => {
  const [data, indices] = [inputOf(call, 0), inputOf(call, 1)]
  const rank = data.shape.length
  const axis = normalizeAxis(int(call, 'axis'), rank)
  const others = data.shape.flatMap((_, at) => (at === axis ? [] : [at]))
  const nIndexAxes = indices.shape.length
  // The index's axes first, then the others: what belongs to one place is then in one piece.
  const indexAxes = Array.from({ length: nIndexAxes }, (_, at) => axis + at)
  const updates = transpose(b, call.gradients[0]!, [...indexAxes, ...others.map((at) => (at < axis ? at : at + nIndexAxes - 1))])
  const shape = [data.shape[axis]!, ...others.map((at) => data.shape[at]!)]
  const zeros = b.op('Expand', [literal(b, data, 0), lengths(b, shape, [data])])
  const whole = indices.dtype === 'int64' ? indices.name : b.op('Cast', [indices.name], { to: 'int64' })
  const places = b.op('Unsqueeze', [whole, wholes(b, [-1])])
  const sums = b.op('ScatterND', [zeros, places, updates], { reduction: 'add' })
  const back = data.shape.map((_, at) => (at === axis ? 0 : at < axis ? at + 1 : at))
  return [transpose(b, sums, back)]
}

export const gatherElements: GradientRule = (b, call) => {
  const [data, indices] = [inputOf(call, 0), inputOf(call, 1)]
  const attributes = { axis: int(call, 'axis'), reduction: 'add' }
  return [b.op('ScatterElements', [filled(b, data, 0), indices.name, call.gradients[0]!], attributes)]
}

/** Where indices repeat, each takes the gradient of the place it was written to, even if another's value is there. */
export const scatterElements: GradientRule = (b, call) => {
  const [indices, updates] = [inputOf(call, 1), inputOf(call, 2)]
  const gradient = call.gradients[0]!
  const axis = int(call, 'axis')
  const isAdded = call.attributes.reduction === 'add'
  const ofData = () => (isAdded ? gradient : b.op('ScatterElements', [gradient, indices.name, filled(b, updates, 0)], { axis }))
  return [
    call.wanted[0] ? ofData() : undefined,
    undefined,
    call.wanted[2] ? b.op('GatherElements', [gradient, indices.name], { axis }) : undefined,
  ]
}

/** As for ScatterElements. */
export const scatterND: GradientRule = (b, call) => {
  const [indices, updates] = [inputOf(call, 1), inputOf(call, 2)]
  const gradient = call.gradients[0]!
  const isAdded = call.attributes.reduction === 'add'
  const ofData = () => (isAdded ? gradient : b.op('ScatterND', [gradient, indices.name, filled(b, updates, 0)]))
  const ofUpdates = () => b.op('Gather', [gradient, b.op('Squeeze', [indices.name, wholes(b, [-1])])], { axis: 0 })
  return [call.wanted[0] ? ofData() : undefined, undefined, call.wanted[2] ? ofUpdates() : undefined]
}
