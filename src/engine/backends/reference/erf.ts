/**
 * The error function to about 1e-15, by textbook expansions rather than fitted coefficients.
 * @see https://dlmf.nist.gov/7.6.E2 (series), https://dlmf.nist.gov/7.9.E1 (continued fraction)
 */
export function erf(x: number): number {
  const size = Math.abs(x)
  if (Number.isNaN(x)) return Number.NaN
  return Math.sign(x) * (size < 2.5 ? bySeries(size) : 1 - complementByFraction(size))
}

/** 2 / sqrt(pi) exp(-x^2) sum of 2^n x^(2n+1) / (2n+1)!!; every term is positive, so nothing cancels. */
function bySeries(x: number): number {
  let term = x
  let sum = x
  for (let n = 1; term > sum * 1e-17; n++) {
    term *= (2 * x * x) / (2 * n + 1)
    sum += term
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum
}

/** erfc(x) = exp(-x^2) / sqrt(pi) / (x + (1/2) / (x + 1 / (x + (3/2) / (x + ...)))), from the inside out. */
function complementByFraction(x: number): number {
  if (x > 30) return 0
  let inner = x
  for (let n = 120; n >= 1; n--) inner = x + n / 2 / inner
  return Math.exp(-x * x) / Math.sqrt(Math.PI) / inner
}
