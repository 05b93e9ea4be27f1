/** For the Prisma command line: `npx prisma ...` works without the engine that Prisma would download. */

import { defineConfig } from 'prisma/config'

process.env.PRISMA_SCHEMA_ENGINE_BINARY ??= `${import.meta.dirname}/tools/schema-engine.mjs`

export default defineConfig({
  schema: 'prisma/schema.prisma',
  migrations: { path: 'migrations' },
  datasource: { url: process.env.DATABASE_URL ?? '' },
})
