/** What Postgres was asked meanwhile, by every connection of the catalog. */
export async function countingStatements(work: () => Promise<void>): Promise<string[]> {
  const pg = await import('pg')
  const statements: string[] = []
  const { query } = pg.default.Client.prototype
  pg.default.Client.prototype.query = function (this: unknown, ...args: unknown[]) {
    const [first] = args as [string | { text: string }]
    statements.push(typeof first === 'string' ? first : first.text)
    return (query as (...all: unknown[]) => unknown).apply(this, args)
  } as typeof query
  try {
    await work()
  } finally {
    pg.default.Client.prototype.query = query
  }
  return statements
}
