/** Runs the command line in this process, with its surroundings in the test's hands. */

import { EventEmitter } from 'node:events'
import { PassThrough } from 'node:stream'
import { main } from '../../src/cli/main.js'

export interface RunningCli {
  readonly signals: EventEmitter
  /** What was written so far. */
  out(): string
  err(): string
  /** Resolves once `pattern` is in the results. */
  said(pattern: RegExp): Promise<RegExpExecArray>
  readonly exitCode: Promise<number>
  /** Codes with which the process would have been ended at once. */
  readonly insisted: readonly number[]
}

export function startCli(argv: readonly string[], env: Record<string, string> = {}): RunningCli {
  const signals = new EventEmitter()
  const insisted: number[] = []
  const [out, err] = [new PassThrough(), new PassThrough()]
  const written = { out: '', err: '' }
  const said = new EventEmitter()
  out.on('data', (chunk) => {
    written.out += chunk
    said.emit('more')
  })
  err.on('data', (chunk) => {
    written.err += chunk
  })
  const exitCode = main(argv, { env, out, err, signals, exit: (code) => void insisted.push(code) })
  return {
    signals,
    insisted,
    exitCode,
    out: () => written.out,
    err: () => written.err,
    said: (pattern) =>
      new Promise((resolve, reject) => {
        const look = () => {
          const found = pattern.exec(written.out)
          if (found) resolve(found)
        }
        look()
        said.on('more', look)
        void exitCode.then((code) => reject(new Error(`it ended with ${code} before it said ${pattern}:\n${written.err}`)))
      }),
  }
}

export async function runCli(
  argv: readonly string[],
  env: Record<string, string> = {},
): Promise<{ code: number; out: string; err: string }> {
  const running = startCli(argv, env)
  const code = await running.exitCode
  return { code, out: running.out(), err: running.err() }
}
