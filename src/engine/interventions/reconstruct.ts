/** The value is replaced by an SAE's reconstruction: x' = decode(z). With the error kept that is x itself, bit for bit. */

import { decode, encode } from '../saes/encode-decode.js'
import type { Edit } from './edit.js'
import { asHookPoint, saeOf, siteOf, tokensOf, whereWritten } from './spliced-sae.js'
import type { Technique } from './technique.js'

export const reconstruct: Technique<Extract<Edit, { op: 'reconstruct' }>> = {
  form: ({ sae, keepError = true }) => (keepError ? 'nothing' : `reconstruct ${sae}`),
  operands: () => ({}),
  build: (b, x, _operands, { edit, place }) => {
    if (edit.keepError !== false) return x
    const sae = saeOf(edit, place)
    const site = siteOf(sae, x)
    const encoded = encode(b, tokensOf(b, x, sae, place), sae.config, site)
    const edited = asHookPoint(b, decode(b, encoded.latentActs, encoded, sae.config, site), sae, place)
    return whereWritten(b, { edited, x }, sae, place)
  },
}
