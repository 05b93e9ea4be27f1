import { type Kernel, numbersOf, store } from './kernel.js'

export const updates = {
  AdamUpdate: ({ inputs, attributes }) => {
    const [p, g, m, v] = inputs.slice(0, 4).map((each) => Array.from(numbersOf(each!)))
    const [rate, epsilon, decay] = [4, 5, 6].map((at) => (inputs[at] ? numbersOf(inputs[at])[0]! : 1))
    const { beta1, beta2 } = attributes as { readonly beta1: number; readonly beta2: number }
    const nextM = m!.map((moment, at) => beta1 * moment + g![at]!)
    const nextV = v!.map((square, at) => beta2 * square + g![at]! ** 2)
    const nextP = p!.map((value, at) => decay! * value - (rate! * nextM[at]!) / (Math.sqrt(nextV[at]!) + epsilon!))
    const { dtype, shape } = inputs[0]!
    return [nextP, nextM, nextV].map((values) => store(dtype, shape, values))
  },
} as const satisfies Record<string, Kernel>
