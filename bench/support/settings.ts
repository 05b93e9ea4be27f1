/** What `npm run bench` hands to each benchmark. */

/** Time for each candidate. */
export const seconds = Number(process.env.BENCH_SECONDS ?? 6)

/** For files that benchmarks share; removed when all of them are done. @throws when a benchmark is started by itself */
export function sharedFolder(): string {
  const folder = process.env.BENCH_FOLDER
  if (!folder) throw new Error('Benchmarks are started by name: npm run bench -- <name>')
  return folder
}
