/**
 * Edits that contradict: two that both say what a value is, and not the same. The first would be as if it were not there, at the places that
 * both apply to.
 */

import type { Edit } from './edit.js'
import type { Findings } from './findings.js'
import { selectHeads, selectPositions } from './selection.js'
import { type EditedTower, lastLength, type Place } from './technique.js'

/** @param path  of the list of edits. Edits that are wrong by themselves must have been reported: they are passed over. */
export function checkContradictions(
  edits: readonly Edit[],
  tower: EditedTower,
  { findings, path }: { findings: Findings; path: string },
): void {
  const said = edits.map((edit, index) => ({ edit, index, place: placeOf(edit, tower) }))
  for (const later of said) {
    if (!fixes(later.edit)) continue
    for (const earlier of said.slice(0, later.index)) {
      if (earlier.edit.hookPoint !== later.edit.hookPoint || !fixes(earlier.edit)) continue
      const { place } = later
      if (place === undefined || !overlap(earlier.edit, later.edit, place)) continue
      const what = difference(earlier.edit, later.edit, place)
      if (what === undefined) continue
      const problem = `contradicts ${path}[${earlier.index}]: both say what ${what} is, and not the same; choose other positions, or leave one out`
      findings.refuseIf(true, `${path}[${later.index}]`, problem)
      break
    }
  }
}

function placeOf({ hookPoint: name }: Edit, tower: EditedTower): Place | undefined {
  const hookPoint = tower.hookPoints.find((each) => each.name === name)
  return hookPoint && { hookPoint, tower }
}

function fixes(edit: Edit): boolean {
  const { op } = edit
  return op === 'set' || op === 'zero' || op === 'feature-set' || op === 'feature-ablate' || (op === 'mean' && edit.vector !== undefined)
}

/** What both say, and not the same; undefined where they agree or speak of different things. */
function difference(earlier: Edit, later: Edit, place: Place): string | undefined {
  const [was, is] = [featureValues(earlier), featureValues(later)]
  if (was && is) {
    if (!('sae' in earlier && 'sae' in later && earlier.sae === later.sae)) return undefined
    const feature = [...is.keys()].find((each) => was.has(each) && was.get(each) !== is.get(each))
    return feature === undefined ? undefined : `feature ${feature}`
  }
  if (was || is) return undefined
  const [before, after] = [fixedValue(earlier, place), fixedValue(later, place)]
  return before.every((value, at) => value === after[at]) ? undefined : `"${place.hookPoint.name}"`
}

function featureValues(edit: Edit): Map<number, number> | undefined {
  if (edit.op === 'feature-ablate') return new Map(edit.features.map(({ feature }) => [feature, 0]))
  return edit.op === 'feature-set' ? new Map(edit.features.map(({ feature, value }) => [feature, value])) : undefined
}

function fixedValue(edit: Edit, place: Place): Float32Array {
  if ('vector' in edit && edit.vector) return edit.vector
  return new Float32Array(lastLength(place)).fill(edit.op === 'set' && 'value' in edit ? edit.value : 0)
}

/** Whether both apply to some position and head. */
function overlap(one: Edit, other: Edit, place: Place): boolean {
  return [selectPositions, selectHeads].every((select) => {
    const [first, second] = [select(one, place, '')?.indices, select(other, place, '')?.indices]
    if (first === undefined || second === undefined) return true
    const chosen = new Set(first)
    return second.some((index) => chosen.has(index))
  })
}
