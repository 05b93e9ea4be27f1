/**
 * The false discovery rate at which each of many tests would be called a finding.
 * Benjamini and Hochberg (1995), for tests that are independent or positively dependent.
 */

/** q-values in the order of the p-values: the smallest over all larger p of p n / rank. */
export function falseDiscoveryRates(pValues: Float64Array): Float64Array {
  const n = pValues.length
  const order = Array.from(pValues.keys()).sort((a, b) => pValues[a]! - pValues[b]!)
  const rates = new Float64Array(n)
  let smallest = 1
  for (let rank = n; rank >= 1; rank--) {
    const at = order[rank - 1]!
    smallest = Math.min(smallest, (pValues[at]! * n) / rank)
    rates[at] = smallest
  }
  return rates
}
