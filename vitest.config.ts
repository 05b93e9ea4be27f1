import { defineConfig } from 'vitest/config'

export default defineConfig({
  // Node loads graphql's CommonJS for everyone; Vite would give our own imports a second copy, whose classes nobody else knows
  resolve: { alias: [{ find: /^graphql$/, replacement: 'graphql/index.js' }] },
  // Files share a process: loading the same modules for each of 200 files took a third of the time. A test that changes the process puts it back.
  test: { include: ['test/**/*.test.ts'], testTimeout: 30_000, hookTimeout: 60_000, pool: 'forks', maxWorkers: 2, isolate: false },
})
