/** Opens what `refract import` names. */

import { openFolder } from './folder-source.js'
import { openRepository } from './hub-source.js'
import type { ImportOptions } from './import-progress.js'
import type { OpenedSource } from './opened-source.js'
import { parseSource } from './source.js'

/**
 * @param source    a folder, or `org/name[@revision]`
 * @param revision  of a hub repository: branch, tag or commit. Default `main`
 * @throws INPUT_INVALID, HUB_REFUSED, HUB_UNAVAILABLE
 */
export async function openSource(
  { source, revision }: { readonly source: string; readonly revision?: string | undefined },
  options: ImportOptions,
): Promise<OpenedSource> {
  const parsed = await parseSource(source, revision)
  return parsed.kind === 'hub' ? openRepository(parsed, options) : openFolder(parsed, options)
}
