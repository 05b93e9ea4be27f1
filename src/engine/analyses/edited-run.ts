/**
 * A tower as it runs with edits, for an analysis that looks at the edited run. The SAEs of the bench are those that the edits name. Reading a hook point reads
 * it edited.
 */

import { applyEdits } from '../interventions/apply-edits.js'
import type { BuiltTower } from '../interventions/built-towers.js'
import type { Edit } from '../interventions/edit.js'
import { saePrefix } from '../saes/attach-saes.js'
import type { Tensor } from '../tensor.js'
import { imageRuns } from './image-runs.js'
import { rowsOf } from './shared-prefix.js'
import type { Workbench } from './workbench.js'

export interface EditedRun {
  /** Part of the key of every graph that is made of it. */
  readonly structure: string
  /** With the edits in it. */
  build(): BuiltTower
  /** Feeds of some images each: their pixels and what the edits need. Images that edits relate to each other stay together. */
  portions(pixels: Tensor<'float32'>, most: number): Generator<Readonly<Record<string, Tensor>> & { readonly pixels: Tensor<'float32'> }>
}

/** @throws what validateEdits throws */
export function editedRun({ model, saes }: Workbench, edits: readonly Edit[], nImages: number): EditedRun {
  if (edits.length === 0) {
    return {
      structure: '',
      build: () => model.build(new Set()),
      *portions(pixels, most) {
        for (const images of imageRuns(pixels, most)) yield { pixels: images }
      },
    }
  }
  const touched = [...edits.map(({ hookPoint }) => hookPoint), ...saes.map(({ config }) => config.hookPoint)]
  const plain = model.build(new Set(touched))
  const editing = saes.map(({ key, config }, index) => ({ config, prefix: saePrefix(index), name: key }))
  const tower = { ...plain.tower, saes: editing }
  const edited = applyEdits(plain.graph, edits, tower, { types: plain.types, nInputs: nImages })
  const feeds = edited.inputs(nImages)
  return {
    structure: edited.structure,
    build: () => ({ tower, graph: edited.graph, types: edited.types }),
    *portions(pixels, most) {
      let from = 0
      for (const images of imageRuns(pixels, edited.needsWholeRequest ? nImages : most)) {
        const to = from + images.shape[0]!
        yield { ...rowsOf(feeds, from, to), pixels: images }
        from = to
      }
    },
  }
}
