/**
 * Eigenvalues of a real square matrix, real and complex: balanced, reduced to Hessenberg form by elimination, then Francis' double-shift QR
 * steps. Golub and Van Loan, "Matrix Computations", 7.4-7.5; Martin, Peters and Wilkinson (1970).
 */

import { invariant } from '../../../errors.js'
import type { Matrix } from './matrix.js'

export interface Eigenvalue {
  readonly real: number
  readonly imaginary: number
}

const MOST_STEPS = 60

/** In no particular order; of a pair of conjugates both. */
export function eigenvalues({ rows, columns, data }: Matrix): Eigenvalue[] {
  invariant(rows === columns, 'a matrix with eigenvalues is square')
  const a = Array.from({ length: rows }, (_, row) => Float64Array.from(data.subarray(row * rows, (row + 1) * rows)))
  balance(a)
  reduceToHessenberg(a)
  return shiftedQr(a)
}

/** Rows and columns scaled by powers of two until they are about as long, which keeps eigenvalues and makes small ones exact. */
function balance(a: Float64Array[]): void {
  const n = a.length
  for (let isDone = false; !isDone; ) {
    isDone = true
    for (let i = 0; i < n; i++) {
      let [row, column] = [0, 0]
      for (let j = 0; j < n; j++) {
        if (j === i) continue
        column += Math.abs(a[j]![i]!)
        row += Math.abs(a[i]![j]!)
      }
      if (row === 0 || column === 0) continue
      const whole = row + column
      const exponent = Math.round(Math.log2(row / column) / 2)
      const factor = 2 ** exponent
      if (column * factor + row / factor >= 0.95 * whole) continue
      isDone = false
      for (let j = 0; j < n; j++) a[i]![j]! /= factor
      for (let j = 0; j < n; j++) a[j]![i]! *= factor
    }
  }
}

/** Zeros below the first subdiagonal, by elimination with pivots. */
function reduceToHessenberg(a: Float64Array[]): void {
  const n = a.length
  for (let m = 1; m < n - 1; m++) {
    let pivot = m
    for (let i = m; i < n; i++) if (Math.abs(a[i]![m - 1]!) > Math.abs(a[pivot]![m - 1]!)) pivot = i
    const x = a[pivot]![m - 1]!
    if (x === 0) continue
    if (pivot !== m) {
      for (let j = m - 1; j < n; j++) [a[pivot]![j], a[m]![j]] = [a[m]![j]!, a[pivot]![j]!]
      for (let j = 0; j < n; j++) [a[j]![pivot], a[j]![m]] = [a[j]![m]!, a[j]![pivot]!]
    }
    for (let i = m + 1; i < n; i++) {
      const factor = a[i]![m - 1]! / x
      if (factor === 0) continue
      a[i]![m - 1] = 0
      for (let j = m; j < n; j++) a[i]![j]! -= factor * a[m]![j]!
      for (let j = 0; j < n; j++) a[j]![m]! += factor * a[j]![i]!
    }
  }
}

function shiftedQr(a: Float64Array[]): Eigenvalue[] {
  const found: Eigenvalue[] = []
  const size = a.reduce((sum, row) => row.reduce((most, value) => most + Math.abs(value), sum), 0)
  let end = a.length - 1
  let shifted = 0
  for (let steps = 0; end >= 0; ) {
    const start = firstOfBlock(a, end, size)
    const x = a[end]![end]!
    if (start === end) {
      found.push({ real: x + shifted, imaginary: 0 })
      end--
      steps = 0
      continue
    }
    const y = a[end - 1]![end - 1]!
    const w = a[end]![end - 1]! * a[end - 1]![end]!
    if (start === end - 1) {
      found.push(...pairOf({ x, y, w, shifted }))
      end -= 2
      steps = 0
      continue
    }
    invariant(steps < MOST_STEPS, 'eigenvalues of a matrix of finite numbers are found')
    if (steps > 0 && steps % 10 === 0) {
      // an exceptional shift, against going in circles
      shifted += x
      for (let i = 0; i <= end; i++) a[i]![i]! -= x
      const s = Math.abs(a[end]![end - 1]!) + Math.abs(a[end - 1]![end - 2]!)
      francisStep(a, { start, end }, { x: 0.75 * s, y: 0.75 * s, w: -0.4375 * s * s })
    } else francisStep(a, { start, end }, { x, y, w })
    steps++
  }
  return found
}

/** Where the unreduced block that ends at `end` begins; what is negligible on the subdiagonal becomes 0. */
function firstOfBlock(a: Float64Array[], end: number, size: number): number {
  for (let at = end; at > 0; at--) {
    const scale = Math.abs(a[at - 1]![at - 1]!) + Math.abs(a[at]![at]!) || size
    if (Math.abs(a[at]![at - 1]!) > Number.EPSILON * scale) continue
    a[at]![at - 1] = 0
    return at
  }
  return 0
}

/** The eigenvalues of the last two rows and columns. */
function pairOf({ x, y, w, shifted }: { x: number; y: number; w: number; shifted: number }): Eigenvalue[] {
  const p = (y - x) / 2
  const q = p * p + w
  const root = Math.sqrt(Math.abs(q))
  if (q < 0) {
    const real = x + shifted + p
    return [
      { real, imaginary: root },
      { real, imaginary: -root },
    ]
  }
  const z = p + (p >= 0 ? root : -root)
  const first = x + shifted + z
  return [
    { real: first, imaginary: 0 },
    { real: z === 0 ? first : x + shifted - w / z, imaginary: 0 },
  ]
}

/** One implicit double step on the block, with the eigenvalues of its last two rows as shifts. */
function francisStep(
  a: Float64Array[],
  { start, end }: { readonly start: number; readonly end: number },
  { x, y, w }: { readonly x: number; readonly y: number; readonly w: number },
): void {
  let [p, q, r] = [0, 0, 0]
  let m = end - 2
  // two small subdiagonal elements in a row are as good as a zero
  for (; m >= start; m--) {
    const z = a[m]![m]!
    const [dx, dy] = [x - z, y - z]
    p = (dx * dy - w) / a[m + 1]![m]! + a[m]![m + 1]!
    q = a[m + 1]![m + 1]! - z - dx - dy
    r = a[m + 2]![m + 1]!
    const s = Math.abs(p) + Math.abs(q) + Math.abs(r)
    p /= s
    q /= s
    r /= s
    if (m === start) break
    const left = Math.abs(a[m]![m - 1]!) * (Math.abs(q) + Math.abs(r))
    const right = Math.abs(p) * (Math.abs(a[m - 1]![m - 1]!) + Math.abs(z) + Math.abs(a[m + 1]![m + 1]!))
    if (left <= Number.EPSILON * right) break
  }
  for (let i = m + 2; i <= end; i++) {
    a[i]![i - 2] = 0
    if (i > m + 2) a[i]![i - 3] = 0
  }
  for (let k = m; k < end; k++) {
    let scale = 1
    if (k > m) {
      p = a[k]![k - 1]!
      q = a[k + 1]![k - 1]!
      r = k + 1 < end ? a[k + 2]![k - 1]! : 0
      scale = Math.abs(p) + Math.abs(q) + Math.abs(r)
      if (scale === 0) continue
      p /= scale
      q /= scale
      r /= scale
    }
    const s = (p >= 0 ? 1 : -1) * Math.sqrt(p * p + q * q + r * r)
    if (s === 0) continue
    if (k > m) a[k]![k - 1] = -s * scale
    else if (start !== m) a[k]![k - 1] = -a[k]![k - 1]!
    p += s
    const [hx, hy, hz] = [p / s, q / s, r / s]
    q /= p
    r /= p
    const hasThird = k + 1 < end
    for (let j = k; j <= end; j++) {
      let sum = a[k]![j]! + q * a[k + 1]![j]!
      if (hasThird) {
        sum += r * a[k + 2]![j]!
        a[k + 2]![j]! -= sum * hz
      }
      a[k + 1]![j]! -= sum * hy
      a[k]![j]! -= sum * hx
    }
    for (let i = start; i <= Math.min(end, k + 3); i++) {
      let sum = hx * a[i]![k]! + hy * a[i]![k + 1]!
      if (hasThird) {
        sum += hz * a[i]![k + 2]!
        a[i]![k + 2]! -= sum * r
      }
      a[i]![k + 1]! -= sum * q
      a[i]![k]! -= sum
    }
  }
}
