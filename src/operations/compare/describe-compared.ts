/** What the catalog knows of features that were found: explanations and top pictures, of the index over most images. */

import type { Context } from '../operation.js'
import { describeHits, type Shown, storedFeatures } from '../search/describe-hits.js'
import { largestSet } from '../search/searched-saes.js'

/** In the order of `indices`. */
export async function describeCompared(
  context: Context,
  { sae, indices, nExamples }: { readonly sae: string; readonly indices: readonly number[]; readonly nExamples: number },
): Promise<Shown[]> {
  const set = await largestSet(context.catalog, sae)
  const keys = indices.map((index) => ({ sae, index }))
  const about = { setOf: () => set, nExamples }
  const stored = await storedFeatures(context, keys, about)
  return keys.length === 0 ? [] : describeHits(context, keys, { ...about, stored })
}
