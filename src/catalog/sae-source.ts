/** How the engine finds a catalogued SAE. */

import type { SaeSource } from '../engine/host/host.js'
import type { SaeDownload } from './saes.js'

export function saeSource({ id, download }: { readonly id: string; readonly download: SaeDownload }): SaeSource {
  const { folder, weightsSha256, description } = download
  return { key: `${id}@${weightsSha256.slice(0, 16)}`, folder, overrides: description.overrides ?? {} }
}
