import type { OpName } from '../../graph/operators.js'
import { alongAxes } from './along-axes.js'
import { convolutions } from './convolution.js'
import { elementwise } from './elementwise.js'
import { gathering } from './gather.js'
import type { TfKernel } from './kernel.js'
import { linearAlgebra } from './linear-algebra.js'
import { shape } from './shape.js'
import { updates } from './updates.js'

export const kernels: Readonly<Record<OpName, TfKernel>> = {
  ...elementwise,
  ...linearAlgebra,
  ...convolutions,
  ...alongAxes,
  ...shape,
  ...gathering,
  ...updates,
}
