import { elementCount, type Tensor } from '../../tensor.js'
import { broadcastShape, broadcastStrides, forEachCoordinate, type Kernel, numbersOf, offsetAt, store } from './kernel.js'
import { transpose } from './shape.js'

/** Sum over the inner axis of `[m, k]` times `[k, n]` matrices that begin at an offset and have these strides. */
interface Matrix {
  readonly data: ArrayLike<number>
  readonly offset: number
  readonly rowStep: number
  readonly columnStep: number
}

function dot(a: Matrix, b: Matrix, { row, column, inner }: { row: number; column: number; inner: number }): number {
  let sum = 0
  for (let k = 0; k < inner; k++) {
    sum += a.data[a.offset + row * a.rowStep + k * a.columnStep]! * b.data[b.offset + k * b.rowStep + column * b.columnStep]!
  }
  return sum
}

function matMul(left: Tensor, right: Tensor): Tensor {
  const a = left.shape.length === 1 ? [1, left.shape[0]!] : left.shape
  const b = right.shape.length === 1 ? [right.shape[0]!, 1] : right.shape
  const [rows, inner, columns] = [a.at(-2)!, a.at(-1)!, b.at(-1)!]
  const batch = broadcastShape(a.slice(0, -2), b.slice(0, -2))
  const [aSteps, bSteps] = [a, b].map((shape) => broadcastStrides(shape, [...batch, ...shape.slice(-2)]).slice(0, -2))
  const [aData, bData] = [numbersOf(left), numbersOf(right)]
  const product = new Float64Array(elementCount([...batch, rows, columns]))
  forEachCoordinate(batch, (coordinate, at) => {
    const matrixA = { data: aData, offset: offsetAt(coordinate, aSteps!), rowStep: inner, columnStep: 1 }
    const matrixB = { data: bData, offset: offsetAt(coordinate, bSteps!), rowStep: columns, columnStep: 1 }
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        product[(at * rows + row) * columns + column] = dot(matrixA, matrixB, { row, column, inner })
      }
    }
  })
  const shape = [...batch, ...(left.shape.length === 1 ? [] : [rows]), ...(right.shape.length === 1 ? [] : [columns])]
  return store(left.dtype, shape, product)
}

const fusedMatMul: Kernel = ({ inputs: [a, b], attributes }) => {
  const turned = (x: Tensor) => {
    const axes = x.shape.map((_, axis) => axis)
    return transpose(x, [...axes.slice(0, -2), axes.at(-1)!, axes.at(-2)!])
  }
  const product = matMul(attributes.transA === 1 ? turned(a!) : a!, attributes.transB === 1 ? turned(b!) : b!)
  // ONNX holds the attribute in float32.
  const alpha = Math.fround(attributes.alpha as number)
  return [
    alpha === 1
      ? product
      : store(
          product.dtype,
          product.shape,
          Float64Array.from(numbersOf(product), (value) => alpha * value),
        ),
  ]
}

const gemm: Kernel = ({ inputs: [a, b, c], attributes }) => {
  const matrix = (tensor: Tensor, isTransposed: boolean): Matrix & { rows: number; columns: number } => {
    const [height, width] = tensor.shape as [number, number]
    const plain = { data: numbersOf(tensor), offset: 0, rowStep: width, columnStep: 1, rows: height, columns: width }
    return isTransposed ? { ...plain, rowStep: 1, columnStep: width, rows: width, columns: height } : plain
  }
  const left = matrix(a!, attributes.transA === 1)
  const right = matrix(b!, attributes.transB === 1)
  const shape = [left.rows, right.columns]
  const bias = c && { data: numbersOf(c), steps: broadcastStrides(c.shape, shape) }
  const result = new Float64Array(elementCount(shape))
  forEachCoordinate(shape, (coordinate, offset) => {
    const [row, column] = coordinate as [number, number]
    const product = (attributes.alpha as number) * dot(left, right, { row, column, inner: left.columns })
    result[offset] = bias ? product + (attributes.beta as number) * bias.data[offsetAt(coordinate, bias.steps)]! : product
  })
  return [store(a!.dtype, shape, result)]
}

export const linearAlgebra = {
  MatMul: ({ inputs: [left, right] }) => [matMul(left!, right!)],
  FusedMatMul: fusedMatMul,
  Gemm: gemm,
} as const satisfies Record<string, Kernel>
