/** What every import is given, and what it tells of how far it is. */

import type { Config } from '../../config.js'
import type { HubConfig } from './hub-client.js'

export interface ImportProgress {
  readonly step: 'find' | 'download' | 'copy' | 'check' | 'measure' | 'register'
  /** What is being worked on. */
  readonly what: string
  readonly doneBytes: number
  /** 0 where a step has no bytes to count. */
  readonly totalBytes: number
}

export interface ImportOptions {
  readonly config: HubConfig & Pick<Config, 'dataDir'>
  readonly onProgress?: (progress: ImportProgress) => void
  /** Before a broken download is tried again. */
  readonly retryDelayMs?: number
  readonly signal?: AbortSignal
}

/** Tells of a step that has no bytes to count. */
export function tellStep({ onProgress }: Pick<ImportOptions, 'onProgress'>, step: ImportProgress['step'], what: string): void {
  onProgress?.({ step, what, doneBytes: 0, totalBytes: 0 })
}
