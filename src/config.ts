/**
 * Every setting, in one table: the environment variable, its default, what it means. Nothing else reads the environment.
 */

export interface Config {
  readonly port: number
  readonly host: string
  /** Where images, models, caches and the embedded database live. */
  readonly dataDir: string
  /** Empty: start the embedded PostgreSQL in `dataDir`. */
  readonly databaseUrl: string
  readonly device: string
  /** Budget in MB over models, programs, activation caches and prepared pictures. */
  readonly memoryMb: number
  readonly hubToken: string
  readonly hubEndpoint: string
  readonly hubHome: string
}
