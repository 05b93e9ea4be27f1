import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'

const SCRIPTS = path.resolve(import.meta.dirname, '../../scripts')

let folder: string
const children: ChildProcess[] = []
beforeEach(async () => {
  folder = await fs.mkdtemp(path.join(os.tmpdir(), 'refract-prepare-'))
})
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
  await fs.rm(folder, { recursive: true, force: true })
})

/** A process that takes the lock of `scripts/lock.mjs`, says so, runs `body`, and says that it is done. */
function locking(body: string): { child: ChildProcess; said(word: string): Promise<void>; output(): string } {
  const script = `
    import { spawn } from 'node:child_process'
    import { withLock } from ${JSON.stringify(path.join(SCRIPTS, 'lock.mjs'))}
    await withLock(${JSON.stringify(path.join(folder, 'lock'))}, () => console.log('waiting'), async (heldBy) => { console.log('in'); ${body} })
    console.log('done')`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], { stdio: ['pipe', 'pipe', 'inherit'] })
  children.push(child)
  let output = ''
  child.stdout.on('data', (chunk) => {
    output += chunk
  })
  return {
    child,
    output: () => output,
    async said(word) {
      while (!output.includes(word)) await once(child.stdout, 'data')
    },
  }
}

const untilTold = `await new Promise((resolve) => process.stdin.once('data', resolve)); process.stdin.destroy()`

describe('the lock that preparing takes', () => {
  test('lets the second in when the first is done', async () => {
    const first = locking(untilTold)
    await first.said('in')
    const second = locking('')
    await second.said('waiting')
    expect(second.output()).toBe('waiting\n')
    first.child.stdin?.write('go')
    await second.said('done')
    expect(first.output()).toContain('done')
    expect(await fs.readdir(folder)).toEqual([])
  })

  test('of one that was killed is taken over', async () => {
    const first = locking(untilTold)
    await first.said('in')
    first.child.kill('SIGKILL')
    await once(first.child, 'exit')
    await locking('').said('done')
  })

  test('of one that was killed is held while its child goes on', async () => {
    const first = locking(`
      const child = spawn(process.execPath, ['--eval', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' })
      heldBy(child.pid); console.log('child ' + child.pid + ';'); ${untilTold}`)
    await first.said(';')
    const child = Number(/child (\d+)/.exec(first.output())?.[1])
    first.child.kill('SIGKILL')
    await once(first.child, 'exit')
    const second = locking('')
    await second.said('waiting')
    expect(second.output()).toBe('waiting\n')
    process.kill(child, 'SIGKILL')
    await second.said('done')
  })

  test.each(['', '999999999 1', 'nonsense'])('that says %j is taken over', async (text) => {
    const lock = path.join(folder, 'lock')
    await fs.writeFile(lock, text)
    await fs.utimes(lock, 0, 0)
    await locking('').said('done')
  })
})

describe('preparing', () => {
  /** A repository that needs nothing but itself: no package, and stand-ins for the two programs that the steps run. */
  async function repository(): Promise<void> {
    const write = async (file: string, text: string) => {
      await fs.mkdir(path.dirname(path.join(folder, file)), { recursive: true })
      await fs.writeFile(path.join(folder, file), text)
    }
    await fs.cp(SCRIPTS, path.join(folder, 'scripts'), { recursive: true })
    await write('package.json', '{"name":"x","version":"1.0.0","type":"module"}')
    await write('package-lock.json', '{"lockfileVersion":3,"packages":{}}')
    await write('node_modules/.package-lock.json', '{"packages":{}}')
    await write('node_modules/prisma/package.json', '{"bin":{"prisma":"run.cjs"}}')
    await write(
      'node_modules/prisma/run.cjs',
      `const fs = require('fs'); fs.mkdirSync('src/generated', { recursive: true }); fs.appendFileSync('generated.log', 'x')`,
    )
    await write('node_modules/typescript/package.json', '{"bin":{"tsc":"run.cjs"}}')
    await write(
      'node_modules/typescript/run.cjs',
      `const fs = require('fs'); const out = process.argv[process.argv.indexOf('--outDir') + 1]
       if (fs.readFileSync('src/cli/main.ts', 'utf8').includes('broken')) { console.error('main.ts(1,1): a syntax error'); process.exit(2) }
       fs.mkdirSync(out + '/cli', { recursive: true }); fs.copyFileSync('src/cli/main.ts', out + '/cli/main.js'); fs.appendFileSync('compiled.log', 'x')`,
    )
    await write('prisma/schema.prisma', 'model A {}')
    await write('src/cli/main.ts', 'export const main = async (argv) => { console.log(argv.join()); return 3 }')
    await write('src/page.html', '<p>')
  }

  async function refract(): Promise<{ code: number; out: string; err: string }> {
    const child = spawn(process.execPath, ['scripts/refract.mjs', 'models', '--json'], { cwd: folder })
    let [out, err] = ['', '']
    child.stdout.on('data', (chunk) => {
      out += chunk
    })
    child.stderr.on('data', (chunk) => {
      err += chunk
    })
    const [code] = await once(child, 'close')
    return { code, out, err }
  }
  const countOf = async (log: string) => (await fs.readFile(path.join(folder, log), 'utf8')).length

  test('does what is missing, once; passes arguments and exit code on; keeps standard output clean', async () => {
    await repository()
    const first = await refract()
    expect(first).toMatchObject({ code: 3, out: 'models,--json\n' })
    expect(first.err).toMatch(/Generating the database client \.\.\. .* s\nRefract: Compiling \.\.\. .* s\n/)
    expect(await fs.readFile(path.join(folder, 'dist/page.html'), 'utf8')).toBe('<p>')
    expect(await refract()).toEqual({ code: 3, out: 'models,--json\n', err: '' })
  })

  test('does again what is stale, and only that', async () => {
    await repository()
    await refract()
    await fs.appendFile(path.join(folder, 'src/page.html'), '<b>')
    await refract()
    expect([await countOf('generated.log'), await countOf('compiled.log')]).toEqual([1, 2])
    await fs.appendFile(path.join(folder, 'prisma/schema.prisma'), 'model B {}')
    await refract()
    expect([await countOf('generated.log'), await countOf('compiled.log')]).toEqual([2, 3])
    await fs.utimes(path.join(folder, 'src/page.html'), 0, 0)
    expect((await refract()).err).toBe('')
  })

  test('by two at once is done by one', async () => {
    await repository()
    const both = await Promise.all([refract(), refract()])
    expect(both.map(({ code }) => code)).toEqual([3, 3])
    expect(await countOf('compiled.log')).toBe(1)
  })

  test('that fails says what the step said, and leaves what was there', async () => {
    await repository()
    await refract()
    await fs.writeFile(path.join(folder, 'src/cli/main.ts'), 'broken')
    expect(await refract()).toMatchObject({ code: 1, out: '', err: expect.stringContaining('a syntax error') })
    expect(await fs.readFile(path.join(folder, 'dist/cli/main.js'), 'utf8')).toContain('main')
    expect((await fs.readdir(path.join(folder, '.bootstrap'))).filter((name) => !name.startsWith('dist-'))).toEqual([])
  })
})
