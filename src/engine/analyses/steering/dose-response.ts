/** What a curve of effects over strengths says: how steeply it begins, where it has half of what it reaches, how it compares with chance. */

/** A strength and what it changes; changes count from the picture as it is. */
export interface Response {
  readonly strength: number
  readonly change: number
}

/** Where strength 0 is the picture as it is, that is a point of the curve too. */
export function withOrigin(curve: readonly Response[], zeroIsDefault: boolean): Response[] {
  const hasZero = curve.some(({ strength }) => strength === 0)
  const points = zeroIsDefault && !hasZero ? [{ strength: 0, change: 0 }, ...curve] : curve
  return points.toSorted((a, b) => a.strength - b.strength)
}

/**
 * The slope at strength 0: of the parabola through the points nearest to 0, one from each side where there are; of a line where there are but two.
 * @param curve  strengths ascending, each once
 * @returns      null with one point, or where the curve is not finite
 */
export function slopeAtZero(curve: readonly Response[]): number | null {
  const near = curve.toSorted((a, b) => Math.abs(a.strength) - Math.abs(b.strength))
  const [below, above] = [near.find(({ strength }) => strength < 0), near.find(({ strength }) => strength > 0)]
  const zero = near.find(({ strength }) => strength === 0)
  const points = zero && below && above ? [zero, below, above] : near.slice(0, 3)
  if (points.length < 2) return null
  const slope = points.reduce((sum, { strength, change }) => sum + change * slopeOfBasis(strength, othersOf(points, strength)), 0)
  return Number.isFinite(slope) ? slope : null
}

const othersOf = (points: readonly Response[], strength: number) =>
  points.filter((each) => each.strength !== strength).map((each) => each.strength)

/** Of Lagrange's polynomial that is 1 at `at` and 0 at the others, the slope at 0. */
function slopeOfBasis(at: number, others: readonly number[]): number {
  const scale = others.reduce((product, other) => product * (at - other), 1)
  return others.length === 1 ? 1 / scale : -(others[0]! + others[1]!) / scale
}

/**
 * The strength at which the change is first half of the largest one, going from 0 towards it; linear between points.
 * @param curve  strengths ascending, each once
 * @returns      null where nothing changes, where the largest change is at strength 0, or where the curve is not finite
 */
export function halfEffectStrength(curve: readonly Response[]): number | null {
  if (curve.some(({ change }) => !Number.isFinite(change))) return null
  const largest = curve.reduce((most, each) => (Math.abs(each.change) > Math.abs(most.change) ? each : most), { strength: 0, change: 0 })
  if (largest.change === 0 || largest.strength === 0) return null
  const side = Math.sign(largest.strength)
  const way = curve.filter(({ strength }) => strength * side >= 0).toSorted((a, b) => side * (a.strength - b.strength))
  const whole = Math.abs(largest.change)
  const reached = ({ change }: Response) => change * Math.sign(largest.change)
  // twice what is reached against the whole: half of the smallest number would be 0
  const first = way.findIndex((point) => 2 * reached(point) >= whole)
  const [before, after] = [way[first - 1], way[first]!]
  if (!before) return after.strength
  const share = (whole - 2 * reached(before)) / (2 * (reached(after) - reached(before)))
  return before.strength + share * (after.strength - before.strength)
}

/** The share of controls that change less, in either direction. */
export function shareBeaten(change: number, controls: readonly number[]): number {
  return controls.filter((control) => Math.abs(control) < Math.abs(change)).length / controls.length
}

/** The largest change of a curve, in either direction; NaN where one is. */
export function largestChange(changes: Iterable<number>): number {
  let largest = 0
  for (const change of changes) {
    if (Number.isNaN(change)) return Number.NaN
    if (Math.abs(change) > Math.abs(largest)) largest = change
  }
  return largest
}

/** Linear between ranks, as numpy's default. @param sorted  ascending, at least one */
export function quantile(sorted: ArrayLike<number>, share: number): number {
  const place = share * (sorted.length - 1)
  const [low, high] = [Math.floor(place), Math.ceil(place)]
  return sorted[low]! + (place - low) * (sorted[high]! - sorted[low]!)
}
