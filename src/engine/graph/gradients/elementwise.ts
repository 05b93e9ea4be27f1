/**
 * Gradients of the elementwise operators. Where a function has a kink or a jump, the rule says what is taken there; it is what PyTorch
 * takes, unless it says otherwise.
 */

import type { GradientBuilder, GradientRule } from '../operator.js'
import { indicator, inputOf, literal, ofOne, outputOf, scalarLiteral, scaleBy, sumTo, times, unrepeated, type Value } from './building.js'

/** A gradient of an operand that was broadcast, made before the sum over what was repeated. */
type OfOperand = (builder: GradientBuilder, given: { gradient: string; a: Value; b: Value; y: Value }) => string | undefined

/** A rule of an operator with two operands, which broadcast. */
const ofTwo =
  (ofA: OfOperand, ofB: OfOperand): GradientRule =>
  (builder, call) => {
    const given = { gradient: call.gradients[0]!, a: inputOf(call, 0), b: inputOf(call, 1), y: outputOf(call, 0) }
    return [ofA, ofB].map((rule, at) => {
      const made = call.wanted[at] ? rule(builder, given) : undefined
      return made === undefined ? undefined : sumTo(builder, { ...given.y, name: made }, call.inputs[at]!.shape)
    })
  }

const same: OfOperand = (_, { gradient }) => gradient

export const identity = ofOne((_, { gradient }) => gradient)

/** Only between floats; what is whole takes no gradient. */
export const cast = ofOne((b, { gradient, x }) => b.op('Cast', [gradient], { to: x.dtype }))

export const neg = ofOne((b, { gradient }) => b.op('Neg', [gradient]))

/** 0 at 0. */
export const abs = ofOne((b, { gradient, x }) => times(b, gradient, b.op('Sign', [x.name])))

/**
 * 0 at 0, where PyTorch has infinity: a norm written as the root of a sum of squares then has the gradient 0 at the zero vector, as
 * PyTorch's own `norm` does, and not 0 times infinity.
 */
export const sqrt = ofOne((b, { gradient, y }) => {
  const slope = b.op('Div', [literal(b, y, 0.5), y.name])
  const guarded = b.op('Where', [b.op('Equal', [y.name, literal(b, y, 0)]), literal(b, y, 0), slope])
  return times(b, gradient, guarded)
})

export const reciprocal = ofOne((b, { gradient, y }) => b.op('Neg', [times(b, gradient, b.op('Mul', [y.name, y.name]))]))

export const exp = ofOne((b, { gradient, y }) => times(b, gradient, y.name))

export const log = ofOne((b, { gradient, x }) => b.op('Div', [unrepeated(b, gradient), x.name]))

/** 2 / sqrt(pi) exp(-x^2) */
export const erf = ofOne((b, { gradient, x }) => {
  const bell = b.op('Exp', [b.op('Neg', [b.op('Mul', [x.name, x.name])])])
  return times(b, gradient, scaleBy(b, bell, x, 2 / Math.sqrt(Math.PI)))
})

/** g (1 - y^2) */
export const tanh = ofOne((b, { gradient, y }) => times(b, gradient, b.op('Sub', [literal(b, y, 1), b.op('Mul', [y.name, y.name])])))

/** g y (1 - y) */
export const sigmoid = ofOne((b, { gradient, y }) => b.op('Mul', [times(b, gradient, y.name), b.op('Sub', [literal(b, y, 1), y.name])]))

/** 0 at 0. */
export const relu = ofOne((b, { gradient, y }) => {
  return times(b, gradient, indicator(b, b.op('Greater', [y.name, literal(b, y, 0)]), y))
})

export const gelu = ofOne((b, { gradient, x, call }) => {
  if (call.attributes.approximate === 'tanh') return times(b, gradient, geluTanhSlope(b, x))
  return scaleBy(b, times(b, gradient, twiceGeluSlope(b, x)), x, 0.5)
})

/** Phi(x) + x phi(x), with u = x / sqrt(2): (1 + erf(u)) / 2 + u exp(-u^2) / sqrt(pi). */
function twiceGeluSlope(b: GradientBuilder, x: Value): string {
  const u = scaleBy(b, x.name, x, Math.SQRT1_2)
  // Divided by the growing exponential, which may overflow: u / infinity is 0.
  const bell = b.op('Div', [u, b.op('Exp', [b.op('Mul', [u, u])])])
  const twice = b.op('Add', [b.op('Erf', [u]), scaleBy(b, bell, x, 2 / Math.sqrt(Math.PI))])
  return b.op('Add', [twice, literal(b, x, 1)])
}

/** x s(w) with s the sigmoid and w = 2 sqrt(2 / pi) (x + 0.044715 x^3) is the same function; its slope is s (1 + x w' (1 - s)). */
function geluTanhSlope(b: GradientBuilder, x: Value): string {
  const [linear, cubic] = [2 * Math.sqrt(2 / Math.PI), 2 * Math.sqrt(2 / Math.PI) * 0.044715]
  const square = b.op('Mul', [x.name, x.name])
  const inner = b.op('Mul', [x.name, b.op('Add', [scaleBy(b, square, x, cubic), literal(b, x, linear)])])
  const share = b.op('Sigmoid', [inner])
  // x w' = 3 w - 2 linear x
  const steepness = b.op('Sub', [scaleBy(b, inner, x, 3), scaleBy(b, x.name, x, 2 * linear)])
  const bell = b.op('Mul', [steepness, b.op('Sub', [literal(b, x, 1), share])])
  return b.op('Mul', [share, b.op('Add', [bell, literal(b, x, 1)])])
}

/** Passes at a bound. A bound takes the gradient of what lies strictly beyond it; with lower > upper everything is upper's. */
export const clip: GradientRule = (b, call) => {
  const gradient = call.gradients[0]!
  const x = inputOf(call, 0)
  const [, low, high] = call.names
  const where = (condition: string) => times(b, gradient, indicator(b, condition, x))
  const inside = [...(low ? [b.op('GreaterOrEqual', [x.name, low])] : []), ...(high ? [b.op('LessOrEqual', [x.name, high])] : [])]
  const ofLow = () => {
    const isBelow = b.op('Less', [x.name, low!])
    return where(high ? b.op('And', [isBelow, b.op('Less', [low!, high])]) : isBelow)
  }
  const ofHigh = () => {
    const isAbove = b.op('Greater', [x.name, high!])
    return where(low ? b.op('Or', [isAbove, b.op('Less', [high!, low])]) : isAbove)
  }
  return [
    inside.length === 0 ? gradient : where(inside.reduce((left, right) => b.op('And', [left, right]))),
    call.wanted[1] ? sumTo(b, { ...x, name: ofLow() }, []) : undefined,
    call.wanted[2] ? sumTo(b, { ...x, name: ofHigh() }, []) : undefined,
  ]
}

export const add = ofTwo(same, same)

export const sub: GradientRule = (b, call) => {
  const [left, right] = add(b, call)
  return [left, right === undefined ? undefined : b.op('Neg', [right])]
}

const byFactor = (b: GradientBuilder, gradient: string, { factor, y }: { factor: Value; y: Value }) =>
  factor.shape.join() === y.shape.join() ? times(b, gradient, factor.name) : b.op('Mul', [gradient, factor.name])

export const mul = ofTwo(
  (b, { gradient, b: factor, y }) => byFactor(b, gradient, { factor, y }),
  (b, { gradient, a: factor, y }) => byFactor(b, gradient, { factor, y }),
)

/** With y = a / b: g / b and -(g / b) y. */
export const div: GradientRule = (b, call) => {
  const [left, right] = ofTwo(
    (_, { gradient, b: divisor }) => b.op('Div', [gradient, divisor.name]),
    (_, { gradient, b: divisor, y }) => b.op('Mul', [b.op('Div', [gradient, divisor.name]), y.name]),
  )(b, call)
  return [left, right === undefined ? undefined : b.op('Neg', [right])]
}

/** With exponent 0 the base takes none; with base 0 and an exponent that is not negative the exponent takes none. */
export const pow = ofTwo(
  (b, { gradient, a: base, b: exponent }) => {
    const known = scalarLiteral(b, exponent.name)
    if (known === 0) return undefined
    if (known === 1) return gradient
    if (known === 2) return scaleBy(b, b.op('Mul', [gradient, base.name]), base, 2)
    const lowered = b.op('Pow', [base.name, b.op('Sub', [exponent.name, literal(b, exponent, 1)])])
    const slope = b.op('Mul', [lowered, exponent.name])
    if (known !== undefined) return b.op('Mul', [gradient, slope])
    const isConstant = b.op('Equal', [exponent.name, literal(b, exponent, 0)])
    return b.op('Where', [isConstant, literal(b, base, 0), b.op('Mul', [gradient, slope])])
  },
  (b, { gradient, a: base, b: exponent, y }) => {
    const zero = literal(b, base, 0)
    const isFlat = b.op('And', [b.op('Equal', [base.name, zero]), b.op('GreaterOrEqual', [exponent.name, zero])])
    const slope = b.op('Mul', [b.op('Mul', [gradient, y.name]), b.op('Log', [base.name])])
    return b.op('Where', [isFlat, zero, slope])
  },
)

/** All to the operand that was taken, half to each where they are equal. */
const chosen =
  (op: 'Greater' | 'Less', of: 'a' | 'b'): OfOperand =>
  (b, { gradient, a, b: other }) => {
    const [mine, theirs] = of === 'a' ? [a, other] : [other, a]
    const isAlone = indicator(b, b.op(op, [mine.name, theirs.name]), a)
    const isShared = indicator(b, b.op('Equal', [a.name, other.name]), a)
    return b.op('Mul', [gradient, b.op('Add', [isAlone, scaleBy(b, isShared, a, 0.5)])])
  }

export const max = ofTwo(chosen('Greater', 'a'), chosen('Greater', 'b'))
export const min = ofTwo(chosen('Less', 'a'), chosen('Less', 'b'))

/** What was not chosen takes 0, whatever the gradient is there. */
export const where: GradientRule = (b, call) => {
  const gradient = call.gradients[0]!
  const [condition, then, otherwise] = call.names as [string, string, string]
  const y = outputOf(call, 0)
  const back = (value: string, at: number) => sumTo(b, { ...y, name: value }, call.inputs[at]!.shape)
  // A choice between a value and itself repeats it.
  if (then === otherwise) return [undefined, back(gradient, 1)]
  const zero = literal(b, y, 0)
  // A mask of infinities is for a function that levels off there, with a gradient that is 0 already: a product is enough, and faster.
  const [afterThen, afterOtherwise] = [then, otherwise].map((value) => Math.abs(scalarLiteral(b, value) ?? 0) === Number.POSITIVE_INFINITY)
  const ofThen = () => (afterOtherwise ? b.op('Mul', [gradient, indicator(b, condition, y)]) : b.op('Where', [condition, gradient, zero]))
  const ofOtherwise = () =>
    afterThen ? b.op('Mul', [gradient, indicator(b, b.op('Not', [condition]), y)]) : b.op('Where', [condition, zero, gradient])
  return [undefined, call.wanted[1] ? back(ofThen(), 1) : undefined, call.wanted[2] ? back(ofOtherwise(), 2) : undefined]
}
