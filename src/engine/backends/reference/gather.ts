import { elementCount, strides } from '../../tensor.js'
import { axisOf, forEachCoordinate, indexInto, type Kernel, numbersOf, offsetAt, pick, store } from './kernel.js'

const gather: Kernel = ({ inputs: [data, indices], attributes }) => {
  const axis = axisOf(attributes.axis as number, data!.shape.length)
  const shape = [...data!.shape.slice(0, axis), ...indices!.shape, ...data!.shape.slice(axis + 1)]
  const places = numbersOf(indices!)
  const [own, indexSteps] = [strides(data!.shape), strides(indices!.shape)]
  const picked = pick(data!, shape, (coordinate) => {
    const index = coordinate.slice(axis, axis + indices!.shape.length)
    const place = indexInto(data!.shape[axis]!, places[offsetAt(index, indexSteps)]!)
    return offsetAt([...coordinate.slice(0, axis), place, ...coordinate.slice(axis + index.length)], own)
  })
  return [picked]
}

const gatherElements: Kernel = ({ inputs: [data, indices], attributes }) => {
  const axis = axisOf(attributes.axis as number, data!.shape.length)
  const places = numbersOf(indices!)
  const [own, indexSteps] = [strides(data!.shape), strides(indices!.shape)]
  const picked = pick(data!, indices!.shape, (coordinate) => {
    const place = indexInto(data!.shape[axis]!, places[offsetAt(coordinate, indexSteps)]!)
    return offsetAt(coordinate.with(axis, place), own)
  })
  return [picked]
}

const scatterElements: Kernel = ({ inputs: [data, indices, updates], attributes }) => {
  const { dtype, shape } = data!
  const axis = axisOf(attributes.axis as number, shape.length)
  const [places, values, own] = [numbersOf(indices!), numbersOf(updates!), strides(shape)]
  const result = Float64Array.from(numbersOf(data!))
  forEachCoordinate(indices!.shape, (coordinate, offset) => {
    const at = offsetAt(coordinate.with(axis, indexInto(shape[axis]!, places[offset]!)), own)
    result[at] = attributes.reduction === 'add' ? result[at]! + values[offset]! : values[offset]!
  })
  return [store(dtype, shape, result)]
}

const scatterND: Kernel = ({ inputs: [data, indices, updates], attributes }) => {
  const { dtype, shape } = data!
  const [places, values] = [numbersOf(indices!), numbersOf(updates!)]
  const sliceLength = elementCount(shape.slice(1))
  const result = Float64Array.from(numbersOf(data!))
  for (let slice = 0; slice < places.length; slice++) {
    const from = indexInto(shape[0]!, places[slice]!) * sliceLength
    for (let at = 0; at < sliceLength; at++) {
      const value = values[slice * sliceLength + at]!
      result[from + at] = attributes.reduction === 'add' ? result[from + at]! + value : value
    }
  }
  return [store(dtype, shape, result)]
}

export const gathering = {
  Gather: gather,
  GatherElements: gatherElements,
  ScatterElements: scatterElements,
  ScatterND: scatterND,
} as const satisfies Record<string, Kernel>
