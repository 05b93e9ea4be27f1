/**
 * Activation patching: the value is taken from another input of the same run, or from values given by the caller (a cached run).
 * Another input's value is the one of this run, with every edit before this one. Vig et al. (2020); Meng et al. (2022), "ROME".
 */

import type { Edit } from './edit.js'
import type { Technique } from './technique.js'

export const patch: Technique<Extract<Edit, { op: 'patch' }>> = {
  form: ({ source }) => ('input' in source ? 'patch from input' : 'patch'),
  rowsTogether: ({ source }) => ('input' in source ? 'gather' : undefined),
  operands: ({ source }, { hookPoint }) => {
    if ('input' in source)
      return { source: { role: 'rowIndex', dtype: 'int64', rowShape: [], data: BigInt64Array.of(BigInt(source.input)) } }
    return { values: { role: 'perRow', dtype: 'float32', rowShape: hookPoint.shape.slice(1).map(Number), data: source.values.data } }
  },
  build: (builder, x, { source, values }) => values ?? builder.op('Gather', [x, source!], { axis: 0 }),
}
