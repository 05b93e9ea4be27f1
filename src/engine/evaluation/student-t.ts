/** The 97.5 % quantile of Student's t: half the width of a 95 % interval, in standard errors. */

/** For 1 to 10 degrees of freedom; the expansion is good to 4 digits beyond. */
const table = [12.7062, 4.30265, 3.18245, 2.77645, 2.57058, 2.44691, 2.36462, 2.306, 2.26216, 2.22814]

const Z = 1.959964

/** @see Abramowitz and Stegun 26.7.5, the Cornish-Fisher expansion */
export function studentT(degrees: number): number {
  const exact = table[degrees - 1]
  if (exact !== undefined) return exact
  const first = (Z ** 3 + Z) / 4
  const second = (5 * Z ** 5 + 16 * Z ** 3 + 3 * Z) / 96
  const third = (3 * Z ** 7 + 19 * Z ** 5 + 17 * Z ** 3 - 15 * Z) / 384
  return Z + first / degrees + second / degrees ** 2 + third / degrees ** 3
}
