/** `npm test [-- <files and options of vitest>]`: prepares what is missing, runs the tests, and closes with a line that counts them. */

import { spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { finished, preparedThen, root } from './prepare.mjs'
import { softwareVulkan } from './vulkan.mjs'

await preparedThen({ dev: true, build: false }, async () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'refract-tests-'))
  const report = path.join(folder, 'report.json')
  const args = ['run', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`, ...process.argv.slice(2)]
  const child = spawn(process.execPath, [path.join(root, 'node_modules/vitest/vitest.mjs'), ...args], {
    ...{ cwd: root, stdio: 'inherit' },
    env: { ...process.env, ...softwareVulkan() },
  })
  const { code } = await finished(child)
  const counts = fs.existsSync(report) ? count(JSON.parse(fs.readFileSync(report, 'utf8'))) : { passed: 0, failed: 0, skipped: 0 }
  fs.rmSync(folder, { recursive: true, force: true })
  if (code !== 0 && counts.failed === 0) {
    console.log('The run itself failed; see above.')
    counts.failed = 1
  }
  const { passed, failed, skipped } = counts
  console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
  process.exitCode = failed > 0 ? code || 1 : 0
})

/** A file that could not even be read counts as one failure. */
function count({ testResults }) {
  const tests = testResults.flatMap(({ assertionResults }) => assertionResults)
  const broken = testResults.filter(({ status, assertionResults }) => status === 'failed' && !assertionResults.some(isFailed)).length
  const skipped = tests.filter(({ status }) => ['pending', 'skipped', 'todo', 'disabled'].includes(status)).length
  return { passed: tests.filter(({ status }) => status === 'passed').length, failed: tests.filter(isFailed).length + broken, skipped }
}

function isFailed({ status }) {
  return status === 'failed'
}
