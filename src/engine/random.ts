/**
 * Seeded random numbers: the same seed gives the same numbers on every machine, and a generator's state can be written down and taken
 * up again. xoshiro128** (Blackman and Vigna, 2018), seeded by splitmix32.
 */

export interface Random {
  /** The next 32 bits. */
  bits(): number
  /** Uniform in [0, 1), in steps of 2^-32. */
  uniform(): number
  /** Normal with mean 0 and variance 1 (Box-Muller; two draws each). */
  normal(): number
  /** Uniform among 0 .. n - 1, for n up to 2^32. */
  below(n: number): number
  /** A permutation of 0 .. n - 1. */
  permutation(n: number): Uint32Array
  /**
   * A generator of its own for a purpose: depends on this one's seed and on the label, and not on how many numbers either has drawn.
   * `fork('epoch 3')` is the same before and after a restart.
   */
  fork(label: string): Random
  /** Where the sequence stands: four 32-bit words. */
  state(): RandomState
}

export type RandomState = readonly [number, number, number, number]

/** @param seed  a whole number; its lower 32 bits count */
export function createRandom(seed: number): Random {
  return generator(seed >>> 0, expand(seed >>> 0))
}

/** A generator that goes on where another with this seed stood. */
export function resumeRandom(seed: number, state: RandomState): Random {
  return generator(seed >>> 0, state)
}

function generator(seed: number, start: RandomState): Random {
  let [a, b, c, d] = start
  const bits = () => {
    const result = Math.imul(rotate(Math.imul(b, 5), 7), 9) >>> 0
    const shifted = b << 9
    c ^= a
    d ^= b
    b ^= c
    a ^= d
    c ^= shifted
    d = rotate(d, 11)
    return result
  }
  const uniform = () => bits() / 2 ** 32
  const below = (n: number) => {
    // Draws past the last whole multiple of n would favour small numbers.
    const limit = 2 ** 32 - (2 ** 32 % n)
    let drawn = bits()
    while (drawn >= limit) drawn = bits()
    return drawn % n
  }
  return {
    bits,
    uniform,
    below,
    normal: () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()),
    permutation: (n) => {
      const order = Uint32Array.from({ length: n }, (_, index) => index)
      for (let last = n - 1; last > 0; last--) {
        const chosen = below(last + 1)
        const moved = order[last]!
        order[last] = order[chosen]!
        order[chosen] = moved
      }
      return order
    },
    fork: (label) => createRandom(hash(seed, label)),
    state: () => [a >>> 0, b >>> 0, c >>> 0, d >>> 0],
  }
}

const rotate = (word: number, by: number) => (word << by) | (word >>> (32 - by))

/** Four words of a splitmix32 sequence: never all zero. */
function expand(seed: number): RandomState {
  let state = seed
  const next = () => {
    state = (state + 0x9e3779b9) | 0
    return mix(state)
  }
  return [next(), next(), next(), next()]
}

/** The finaliser of MurmurHash3. */
function mix(word: number): number {
  let mixed = word ^ (word >>> 16)
  mixed = Math.imul(mixed, 0x85ebca6b)
  mixed ^= mixed >>> 13
  mixed = Math.imul(mixed, 0xc2b2ae35)
  return (mixed ^ (mixed >>> 16)) >>> 0
}

function hash(seed: number, label: string): number {
  let word = mix(seed ^ 0x5bd1e995)
  for (const character of label) word = mix((word + character.codePointAt(0)! + 0x9e3779b9) | 0)
  return word
}
