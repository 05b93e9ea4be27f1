/** Checks edits of SAE features: that the SAE writes where they are, and that it has these features. */

import { isVision } from '../hook-points.js'
import { checkFit } from '../saes/fit-model.js'
import type { Edit, FeatureEdit } from './edit.js'
import type { Findings } from './findings.js'
import { writtenHookPoint } from './spliced-sae.js'
import type { EditingSae, Place } from './technique.js'

/** Of one edit: every row of the batch gathers their directions. */
export const MAX_FEATURES = 1024

interface Checking {
  readonly findings: Findings
  readonly path: string
  readonly model: string
}

export function checkFeatures(edit: Edit & FeatureEdit, place: Place, checking: Checking): void {
  const { findings, path } = checking
  const { tower } = place
  findings.refuseIf(!isVision(tower.config), path, 'SAEs here read pictures; these inputs are texts')
  if (!isVision(tower.config)) return
  findings.refuseIf(edit.heads !== undefined, `${path}.heads`, 'an SAE writes all that it writes; its edits take no heads')
  const isKnownFlag = edit.keepError === undefined || typeof edit.keepError === 'boolean'
  findings.refuseIf(!isKnownFlag, `${path}.keepError`, 'expected true or false')
  const sae = tower.saes?.[edit.sae]
  findings.refuseIf(sae === undefined, `${path}.sae`, `SAE ${edit.sae} does not come with the edits`)
  if (sae === undefined) return
  checkPlace(sae, place, checking)
  if (edit.op !== 'reconstruct') checkNumbers(edit, sae, checking)
}

function checkPlace(sae: EditingSae, { hookPoint, tower }: Place, { findings, path, model }: Checking): void {
  const { config, name } = sae
  const { hookPoints } = tower
  findings.check(`${path}.sae`, () => checkFit(config, { sae: name, model, hookPoints }))
  const written = writtenHookPoint(config)
  findings.refuseIf(written !== hookPoint.name, `${path}.hookPoint`, `${name} writes "${written}", not "${hookPoint.name}"`)
  const read = hookPoints.findIndex((each) => each.name === config.hookPoint)
  const writes = hookPoints.findIndex((each) => each.name === written)
  if (!config.transcoder || read < 0 || writes < 0) return
  findings.refuseIf(read >= writes, `${path}.sae`, `${name} predicts "${written}" from "${config.hookPoint}", which comes after it`)
  const tokens = (at: number) => hookPoints[at]!.shape.slice(0, hookPoints[at]!.axes.length > 2 ? 2 : 1).join()
  findings.refuseIf(tokens(read) !== tokens(writes), `${path}.sae`, `${name} reads and predicts different positions`)
}

function checkNumbers(edit: Exclude<FeatureEdit, { op: 'reconstruct' }>, { config, name }: EditingSae, { findings, path }: Checking): void {
  const { features } = edit
  if (!Array.isArray(features) || features.length === 0 || features.length > MAX_FEATURES) {
    const problem = Array.isArray(features) ? `there are ${features.length}` : 'this is no list'
    findings.refuseIf(true, `${path}.features`, `expected 1 to ${MAX_FEATURES} features; ${problem}`)
    return
  }
  const seen = new Map<number, number>()
  for (const [index, { feature }] of features.entries()) {
    const at = `${path}.features[${index}].feature`
    const isIndex = Number.isInteger(feature) && feature >= 0 && feature < config.dSae
    findings.refuseIf(!isIndex, at, `feature ${feature} is out of range; ${name} has features 0 to ${config.dSae - 1}`)
    findings.refuseIf(seen.has(feature), at, `feature ${feature} is there already (features[${seen.get(feature)}])`)
    if (!seen.has(feature)) seen.set(feature, index)
  }
  const at = (index: number, field: string) => `${path}.features[${index}].${field}`
  switch (edit.op) {
    case 'feature-add':
    case 'feature-scale':
      for (const [index, { strength }] of edit.features.entries()) findings.checkNumber(strength, at(index, 'strength'))
      return
    case 'feature-set':
      for (const [index, { value }] of edit.features.entries()) findings.checkNumber(value, at(index, 'value'))
      return
    case 'feature-clamp':
      for (const [index, bounds] of edit.features.entries()) findings.checkBounds(bounds, `${path}.features[${index}]`)
      return
    case 'feature-ablate':
      return
    default:
      edit satisfies never
  }
}
