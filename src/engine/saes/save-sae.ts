/** Writes an SAE so that the libraries of its layout load it, and so does `loadSae`. */

import path from 'node:path'
import { EngineError } from '../errors.js'
import { writeFolderAtomically, writeThrough } from '../io/atomic-write.js'
import { zeros } from '../tensor.js'
import type { SaeLayoutName, SaeToWrite } from './layouts/layout.js'
import { saeLayouts } from './layouts/registry.js'
import { checkSaeConfig, type SaeConfig, saeParameters } from './sae.js'

export type { SaeToWrite } from './layouts/layout.js'

/**
 * The folder is there whole or not at all.
 * @param replace  whether a folder that holds files may be replaced
 * @throws MODEL_UNSUPPORTED when the layout cannot express this SAE (`refract` can express any); INPUT_INVALID, WEIGHTS_MISMATCH; STORAGE_FULL
 */
export async function saveSae(
  folder: string,
  sae: SaeToWrite,
  { layout, replace = false }: { readonly layout: SaeLayoutName; readonly replace?: boolean },
): Promise<void> {
  checkSaeConfig(sae.config)
  requireWeights(layout, sae.config, sae.weights)
  const files = saeLayouts[layout].write(sae)
  await writeFolderAtomically(
    folder,
    async (aside) => {
      for (const { name, content } of files) await writeThrough(path.join(aside, name), content)
    },
    { replace },
  )
}

/**
 * Asks whether a layout can express an SAE, before it is trained.
 * @throws MODEL_UNSUPPORTED, INPUT_INVALID as `saveSae`
 */
export function checkSaeLayout(config: SaeConfig, layout: SaeLayoutName): void {
  checkSaeConfig(config)
  const weights = Object.fromEntries(Object.entries(saeParameters(config)).map(([name, shape]) => [name, zeros('float32', shape)]))
  saeLayouts[layout].write({ config, weights: weights as SaeToWrite['weights'] })
}

function requireWeights(layout: SaeLayoutName, config: SaeConfig, weights: SaeToWrite['weights']): void {
  const expected = saeParameters(config)
  const problems = Object.entries(expected).flatMap(([name, shape]) => {
    const given = weights[name]
    if (!given) return [`"${name}" [${shape.join(', ')}] is missing`]
    return given.shape.join() === shape.join() ? [] : [`"${name}" has shape [${given.shape.join(', ')}]; expected [${shape.join(', ')}]`]
  })
  const extra = Object.keys(weights).filter((name) => !Object.hasOwn(expected, name))
  problems.push(...extra.map((name) => `"${name}" is not a weight of this SAE`))
  if (problems.length > 0) throw new EngineError('WEIGHTS_MISMATCH', { layout, problems })
}
