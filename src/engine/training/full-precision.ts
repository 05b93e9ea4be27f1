import type { Backend } from '../backends/backend.js'
import { EngineError } from '../errors.js'

/** An update is often smaller than what float16, or a product in TF32, can tell of a weight. @throws CONFIG_INVALID */
export function requireFullPrecision({ precision, device }: Backend): void {
  if (precision === 'float32' || precision === 'float64') return
  const problem = `"${device}" computes in ${precision}, and training needs float32 (REFRACT_PRECISION=float32)`
  throw new EngineError('CONFIG_INVALID', { problems: [problem] })
}
