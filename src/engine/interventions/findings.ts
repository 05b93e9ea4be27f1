/** Collects what is wrong with edits, so that one answer names it all. */

import { EngineError } from '../errors.js'

export interface Found {
  readonly path: string
  readonly error: EngineError
}

export class Findings {
  readonly found: Found[] = []

  /** Runs a check; what it throws is a problem at `path`. */
  check(path: string, run: () => void): void {
    try {
      run()
    } catch (error) {
      if (!(error instanceof EngineError)) throw error
      this.found.push({ path, error })
    }
  }

  refuseIf(isWrong: boolean, path: string, problem: string): void {
    if (isWrong) this.found.push({ path, error: new EngineError('EDIT_INVALID', { path, problem }) })
  }

  /** A number that the graph takes. */
  checkNumber(value: number, path: string): void {
    const isFloat32 = typeof value === 'number' && Number.isFinite(Math.fround(value))
    this.refuseIf(!isFloat32, path, `it is ${String(value)}; expected a finite float32 number`)
  }

  checkBounds({ min, max }: { readonly min?: number; readonly max?: number }, path: string): void {
    if (min !== undefined) this.checkNumber(min, `${path}.min`)
    if (max !== undefined) this.checkNumber(max, `${path}.max`)
    this.refuseIf(min === undefined && max === undefined, path, 'needs "min", "max" or both')
    this.refuseIf(min !== undefined && max !== undefined && min > max, path, `"min" (${min}) is more than "max" (${max})`)
  }
}
