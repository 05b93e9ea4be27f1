/**
 * The command line: `refract <command>`. Reads the arguments and the environment, runs the command, and says what went wrong.
 */

import { type Config, readConfig, SettingsError } from '../config.js'
import { version } from '../operations/capabilities.js'
import { isRefusal } from '../operations/errors.js'
import { type Command, CommandFailed, findCommand, helpOf, overview, readArguments, UsageError } from './command.js'
import { datasetCommands } from './datasets.js'
import { evaluateCommand } from './evaluate.js'
import { importCommand } from './import.js'
import { jobCommands } from './jobs.js'
import { keyCommands } from './keys.js'
import { modelsCommand, removeCommand } from './models.js'
import { pushCommand } from './push.js'
import { serveCommand } from './serve.js'
import { listenForStop } from './stop-signals.js'
import { trainCommands } from './train.js'
import { workerCommand } from './worker.js'

export const commands: readonly Command[] = [
  serveCommand,
  workerCommand,
  ...jobCommands,
  importCommand,
  modelsCommand,
  removeCommand,
  pushCommand,
  ...datasetCommands,
  ...trainCommands,
  evaluateCommand,
  ...keyCommands,
]

/** What a process has, for tests to stand in for. */
export interface Surroundings {
  readonly env: Record<string, string | undefined>
  readonly out: NodeJS.WritableStream & { isTTY?: boolean }
  readonly err: NodeJS.WritableStream & { isTTY?: boolean }
  /** Emits SIGINT, SIGTERM and SIGHUP. */
  readonly signals: NodeJS.EventEmitter
  /** Ends the process at once. */
  readonly exit: (code: number) => void
}

const thisProcess = (): Surroundings => ({
  env: process.env,
  out: process.stdout,
  err: process.stderr,
  signals: process,
  exit: (code) => process.exit(code),
})

/** Its libraries compute float32 as TF32 where they may, and look here when they are loaded; what reaches them through ONNX Runtime is the device alone. */
function tellNvidia(env: Surroundings['env'], { precision }: Config): void {
  if (precision === 'tf32') delete env.NVIDIA_TF32_OVERRIDE
  else env.NVIDIA_TF32_OVERRIDE = '0'
}

/** @returns the exit code: 0 done, 1 failed, 2 not understood, 128 + n stopped by signal n */
export async function main(argv: readonly string[], surroundings: Surroundings = thisProcess()): Promise<number> {
  const { env, out, err, signals, exit } = surroundings
  // a reader that has seen enough (`| head`) is no failure
  out.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') exit(0)
  })
  const stop = listenForStop(signals, exit)
  try {
    if (argv.length === 0 || isHelp(argv[0])) {
      out.write(overview(commands))
      return argv.length === 0 ? 2 : 0
    }
    if (argv[0] === '--version') {
      out.write(`${version}\n`)
      return 0
    }
    const { command, rest } = findCommand(commands, argv)
    if (rest.some((argument) => argument === '--help' || argument === '-h')) {
      out.write(helpOf(command))
      return 0
    }
    const { values, positionals } = readArguments(command, rest)
    const config = readConfig(env)
    tellNvidia(env, config)
    await command.run({ config, values, positionals, out, err, signal: stop.signal })
    return 0
  } catch (error) {
    const stopped = stop.exitCode()
    if (stopped !== undefined) return stopped
    err.write(`${explain(error)}\n`)
    return error instanceof UsageError || error instanceof SettingsError ? 2 : 1
  } finally {
    stop.uninstall()
  }
}

const isHelp = (word: string | undefined) => word === '--help' || word === '-h' || word === 'help'

/** A refusal is its message. Anything else is a mistake of ours, and whoever looks for it needs the stack. */
function explain(error: unknown): string {
  if (isRefusal(error)) return [error.message, ...error.problems.map(({ path, message }) => `  ${path}: ${message}`)].join('\n')
  if (error instanceof UsageError || error instanceof CommandFailed || error instanceof SettingsError) return error.message
  return error instanceof Error ? (error.stack ?? error.message) : String(error)
}
