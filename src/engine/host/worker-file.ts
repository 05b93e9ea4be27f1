/** The files that run as workers, beside this one; compiled or from sources (tests), as this one is. */

export type WorkerName = 'engine-worker' | 'image-worker'

export function workerFile(name: WorkerName): URL {
  return new URL(`./${name}${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url)
}
