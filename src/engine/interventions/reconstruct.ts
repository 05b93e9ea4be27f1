/** The value is replaced by an SAE's reconstruction: x' = decode(z). With the error kept that is x itself, bit for bit. */

import type { Edit } from './edit.js'
import { asHookPoint, encodeAll, saeOf, tokensOf, whereWritten } from './spliced-sae.js'
import type { Technique } from './technique.js'

export const reconstruct: Technique<Extract<Edit, { op: 'reconstruct' }>> = {
  form: ({ sae, keepError = true }) => (keepError ? 'nothing' : `reconstruct ${sae}`),
  operands: () => ({}),
  build: (b, x, _operands, { edit, place }) => {
    if (edit.keepError !== false) return x
    const sae = saeOf(edit, place)
    const edited = asHookPoint(b, encodeAll(b, tokensOf(b, x, sae, place), sae, x).decoded(), sae, place)
    return whereWritten(b, { edited, x }, sae, place)
  },
}
