/**
 * Edits of SAE features, all of which are one formula and so one program: z' - z = (clamp(z, low, high) - z) + factor z + offset.
 *
 *   feature-add       factor 0, offset s       feature-scale     factor s - 1
 *   feature-set       factor -1, offset v      feature-ablate    factor -1
 *   feature-clamp     low, high
 *
 * The error kept, the change of the reconstruction is all that is computed: the decoder's rows of the edited features, times z' - z. Of those
 * features alone is z computed too, but for `topk`, whose latents depend on one another; and `feature-add` needs no z at all.
 * Bricken et al. (2023), "Towards Monosemanticity"; Templeton et al. (2024), "Scaling Monosemanticity", for steering with the error kept.
 */

import type { GraphBuilder } from '../graph/builder.js'
import { add, literal, multiply, subtract, wholes } from '../graph/expressions.js'
import { decodeChange, type Encoded, encode, encoderInput } from '../saes/encode-decode.js'
import type { Edit, FeatureEdit } from './edit.js'
import { asHookPoint, encodeAll, saeOf, siteOf, tokensOf, whereWritten } from './spliced-sae.js'
import type { EditingSae, Operand, Place, Technique } from './technique.js'

export type FeatureChange = Exclude<FeatureEdit, { op: 'reconstruct' }> & Pick<Edit, 'hookPoint' | 'positions' | 'heads'>
type Add = Extract<FeatureChange, { op: 'feature-add' }>

/** The numbers of the formula, one for each feature. */
interface Change {
  readonly low: number
  readonly high: number
  readonly factor: number
  readonly offset: number
}

const none: Change = { low: Number.NEGATIVE_INFINITY, high: Number.POSITIVE_INFINITY, factor: 0, offset: 0 }

function changesOf(edit: FeatureChange): Change[] {
  switch (edit.op) {
    case 'feature-add':
      return edit.features.map(({ strength }) => ({ ...none, offset: strength }))
    case 'feature-set':
      return edit.features.map(({ value }) => ({ ...none, factor: -1, offset: value }))
    case 'feature-scale':
      return edit.features.map(({ strength }) => ({ ...none, factor: strength - 1 }))
    case 'feature-clamp':
      return edit.features.map(({ min = none.low, max = none.high }) => ({ ...none, low: min, high: max }))
    case 'feature-ablate':
      return edit.features.map(() => ({ ...none, factor: -1 }))
    default:
      return edit satisfies never
  }
}

export const changeFeatures: Technique<FeatureChange> = {
  form: ({ sae, features, keepError = true }) => `features ${sae} ${features.length} ${keepError}`,
  operands: (edit) => {
    const changes = changesOf(edit)
    const numbers = (name: keyof Change) => perFeature(changes.map((change) => change[name]))
    const [low, high, factor, offset] = (['low', 'high', 'factor', 'offset'] as const).map(numbers) as [Numbers, Numbers, Numbers, Numbers]
    return { features: indices(edit.features), low, high, factor, offset }
  },
  build: (b, x, { features: chosen, low, high, factor, offset }, { edit, place }) => {
    const sae = saeOf(edit, place)
    const [site, config] = [siteOf(sae, x), sae.config]
    const tokens = tokensOf(b, x, sae, place)
    const needsAll = edit.keepError === false || config.activation === 'topk'
    const whole = needsAll ? encodeAll(b, tokens, sae, x) : undefined
    const own = whole ? encoderInput(b, tokens, config, site) : encode(b, tokens, config, { ...site, chosen: chosen! })
    const z = whole ? ofFeatures(b, whole.latentActs, chosen!) : (own as Encoded).latentActs
    const clamped = b.op('Min', [b.op('Max', [z, low!]), high!])
    const change = add(b, subtract(b, clamped, z), add(b, multiply(b, clamped, factor!), offset!))
    const decoded = decodeChange(b, change, { from: own, chosen: chosen! }, config, site)
    if (edit.keepError !== false) return added(b, { x, change: decoded }, sae, place)
    const edited = asHookPoint(b, add(b, whole!.decoded(), decoded), sae, place)
    return whereWritten(b, { edited, x }, sae, place)
  },
}

/** Without the error kept, the reconstruction needs z. */
export const addFeatures: Technique<Add> = {
  form: (edit) => (edit.keepError === false ? changeFeatures.form(edit) : `feature-add ${edit.sae} ${edit.features.length}`),
  operands: (edit, place) => {
    if (edit.keepError === false) return changeFeatures.operands(edit, place)
    return { features: indices(edit.features), strengths: perFeature(edit.features.map(({ strength }) => strength)) }
  },
  build: (b, x, operands, about) => {
    const { edit, place } = about
    if (edit.keepError === false) return changeFeatures.build(b, x, operands, about)
    const sae = saeOf(edit, place)
    const site = siteOf(sae, x)
    const from = encoderInput(b, tokensOf(b, x, sae, place), sae.config, site)
    const change = decodeChange(b, operands.strengths!, { from, chosen: operands.features! }, sae.config, site)
    return added(b, { x, change }, sae, place)
  },
}

type Numbers = Operand<'float32'>

/** `[batch, 1, n]`: the same at every position. */
function perFeature(values: readonly number[]): Numbers {
  return { role: 'perRow', dtype: 'float32', rowShape: [1, values.length], data: Float32Array.from(values) }
}

function indices(features: readonly { readonly feature: number }[]): Operand<'int64'> {
  const data = BigInt64Array.from(features, ({ feature }) => BigInt(feature))
  return { role: 'perRow', dtype: 'int64', rowShape: [features.length], data }
}

/** `[batch, pos, n]` of `[batch, pos, dSae]`. */
function ofFeatures(b: GraphBuilder, latentActs: string, chosen: string): string {
  const batchAndPos = b.op('Shape', [latentActs], { end: 2 })
  const shape = b.op('Concat', [batchAndPos, b.op('Shape', [chosen], { start: 1 })], { axis: 0 })
  return b.op('GatherElements', [latentActs, b.op('Expand', [b.op('Unsqueeze', [chosen, wholes(b, [1])]), shape])], { axis: 2 })
}

/** x + change; where that is 0, x bit for bit (-0 + 0 would be 0). */
function added(b: GraphBuilder, { x, change }: { x: string; change: string }, sae: EditingSae, place: Place): string {
  const placed = asHookPoint(b, change, sae, place)
  const edited = b.op('Where', [b.op('Equal', [placed, literal(b, 0)]), x, add(b, x, placed)])
  return whereWritten(b, { edited, x }, sae, place)
}
