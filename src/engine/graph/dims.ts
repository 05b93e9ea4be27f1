/**
 * Arithmetic with symbolic axis lengths. A length is a polynomial in symbols with positive whole coefficients, written canonically:
 * terms sorted and joined by `+`, each a coefficient (unless 1) and its symbols joined by `*`: `batch`, `50*batch`, `2+3*batch`.
 * That is just enough to follow `[batch, pos, d] -> [batch*pos, d] -> [batch, pos, d]` and concatenation along a symbolic axis.
 */

import type { Dim } from './value-type.js'

/** Coefficient by monomial; a monomial is its symbols, sorted and joined by `*`; `''` is the constant term. */
type Polynomial = Map<string, number>

/** A plain symbol, as an input's axis may be declared. */
export function isSymbol(dim: Dim): dim is string {
  return typeof dim === 'string' && /^[A-Za-z_]\w*$/.test(dim)
}

export function add(dims: readonly Dim[]): Dim {
  if (dims.every((dim) => typeof dim === 'number')) return dims.reduce((sum, dim) => sum + dim, 0)
  const sum: Polynomial = new Map()
  for (const dim of dims) for (const [monomial, factor] of toPolynomial(dim)) sum.set(monomial, (sum.get(monomial) ?? 0) + factor)
  return toDim(sum)
}

export function multiply(dims: readonly Dim[]): Dim {
  let factor = 1
  for (const dim of dims) if (typeof dim === 'number') factor *= dim
  const symbolic = dims.filter((dim) => typeof dim === 'string')
  // By far the most frequent: no symbol, or one.
  if (symbolic.length === 0 || factor === 0) return factor
  if (symbolic.length === 1 && isSymbol(symbolic[0]!)) return factor === 1 ? symbolic[0] : `${factor}*${symbolic[0]}`
  let product: Polynomial = new Map([['', factor]])
  for (const dim of symbolic) {
    const next: Polynomial = new Map()
    for (const [left, leftFactor] of product) {
      for (const [right, rightFactor] of toPolynomial(dim)) {
        const monomial = [...symbols(left), ...symbols(right)].sort().join('*')
        next.set(monomial, (next.get(monomial) ?? 0) + leftFactor * rightFactor)
      }
    }
    product = next
  }
  return toDim(product)
}

/** `dividend / divisor` where that is a length for every binding of the symbols and the divisor has one term; otherwise undefined. */
export function divide(dividend: Dim, divisor: Dim): Dim | undefined {
  const terms = [...toPolynomial(divisor)]
  if (terms.length !== 1) return undefined
  const [monomial, factor] = terms[0]!
  if (factor === 0) return undefined
  const quotient: Polynomial = new Map()
  for (const [term, termFactor] of toPolynomial(dividend)) {
    const rest = symbols(term)
    for (const symbol of symbols(monomial)) {
      const at = rest.indexOf(symbol)
      if (at < 0) return undefined
      rest.splice(at, 1)
    }
    if (termFactor % factor !== 0) return undefined
    quotient.set(rest.join('*'), termFactor / factor)
  }
  return toDim(quotient)
}

function symbols(monomial: string): string[] {
  return monomial === '' ? [] : monomial.split('*')
}

function toPolynomial(dim: Dim): Polynomial {
  if (typeof dim === 'number') return dim === 0 ? new Map() : new Map([['', dim]])
  const polynomial: Polynomial = new Map()
  for (const term of dim.split('+')) {
    const factors = term.split('*')
    const isNumeric = /^\d+$/.test(factors[0]!)
    const monomial = (isNumeric ? factors.slice(1) : factors).sort().join('*')
    polynomial.set(monomial, (polynomial.get(monomial) ?? 0) + (isNumeric ? Number(factors[0]) : 1))
  }
  return polynomial
}

function toDim(polynomial: Polynomial): Dim {
  const terms = [...polynomial].filter(([, factor]) => factor !== 0).sort(([left], [right]) => (left < right ? -1 : 1))
  if (terms.length === 0) return 0
  if (terms.length === 1 && terms[0]![0] === '') return terms[0]![1]
  return terms.map(([monomial, factor]) => (monomial === '' ? String(factor) : factor === 1 ? monomial : `${factor}*${monomial}`)).join('+')
}
