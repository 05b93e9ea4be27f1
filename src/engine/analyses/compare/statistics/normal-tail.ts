/** Tail probabilities of the normal distribution, exact to about 1e-14 of their size however small they are. */

/** P(|Z| >= |z|). */
export function twoSidedTail(z: number): number {
  return complementaryErf(Math.abs(z) / Math.SQRT2)
}

/** 1 - erf(x) for x >= 0: below 2 by the series of erf, above by the continued fraction, which loses nothing where the tail is thin. */
function complementaryErf(x: number): number {
  return x < 2 ? 1 - erfSeries(x) : Math.exp(-x * x) * erfcFraction(x)
}

/** erf(x) = 2/sqrt(pi) exp(-x^2) sum over n of 2^n x^(2n+1) / (1 3 5 ... (2n+1)): all terms have one sign. */
function erfSeries(x: number): number {
  let term = x
  let sum = x
  for (let n = 1; term > 1e-17 * sum; n++) {
    term *= (2 * x * x) / (2 * n + 1)
    sum += term
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum
}

/** exp(x^2) erfc(x) for x >= 2: the continued fraction of Laplace, from its end. */
function erfcFraction(x: number): number {
  let fraction = x
  for (let n = 120; n >= 1; n--) fraction = x + n / 2 / fraction
  return 1 / (fraction * Math.sqrt(Math.PI))
}
