/**
 * Every setting, in one table: the environment variable, its default, what it means, what it accepts. `Config`, the errors and
 * `docs/configuration.md` derive from it. Nothing else reads the environment.
 */

import os from 'node:os'
import path from 'node:path'
import { type DeviceList, deviceNames, isDeviceName } from './engine/host/device-names.js'
import { nearest } from './engine/nearest.js'

export interface Config {
  readonly port: number
  readonly host: string
  /** Where images, models, caches and the embedded database live. */
  readonly dataDir: string
  /** Empty: start the embedded PostgreSQL in `dataDir`. */
  readonly databaseUrl: string
  readonly devices: DeviceList
  /** Of each accelerator's memory, for weights; 0: as its backend has it. */
  readonly deviceBytes: number
  readonly precision: (typeof precisions)[number]
  /** Budget in MB over models, programs, activation caches and prepared pictures. */
  readonly memoryMb: number
  /** Requests that may wait for a device; the next one is answered 503 at once. */
  readonly queueLimit: number
  readonly maxBodyBytes: number
  /** Of a data set that is uploaded, as a zip file and unpacked. */
  readonly maxDatasetBytes: number
  /** Width x height of one picture. */
  readonly maxImagePixels: number
  /** Pictures or texts in one request. */
  readonly maxInputsPerRequest: number
  /** Per client (API key, or address without one); 0: no limit. */
  readonly rateLimitPerMinute: number
  readonly logLevel: LogLevel
  readonly hubToken: string
  readonly hubEndpoint: string
  readonly hubHome: string
  /** The hub cache proper, in Python's layout: `models--<org>--<name>/...`. */
  readonly hubCache: string
  /** Jobs that the server itself works on at once; 0: only `refract worker` does. */
  readonly jobs: number
  /** 0: for ever. */
  readonly keepJobsDays: number
  /** `s3://bucket/folder`; empty: `dataDir`. */
  readonly blobStore: string
  readonly s3Endpoint: string
  readonly s3Region: string
}

export const precisions = ['float32', 'tf32', 'float16'] as const

export const logLevels = ['silent', 'error', 'warn', 'info', 'debug'] as const
export type LogLevel = (typeof logLevels)[number]

/** What defaults are computed from. */
export interface Machine {
  readonly memoryBytes: number
  readonly homeDir: string
  /** Against which relative folders are resolved. */
  readonly workingDir: string
}

interface Setting<T> {
  readonly variable: string
  /** As it would be written in the environment; computed where it depends on the machine or on other settings. */
  readonly default: string | ((machine: Machine, env: Environment) => string)
  /** For the documentation, where `default` is computed. */
  readonly defaultInWords?: string
  /** What is accepted, for the documentation and for the error. */
  readonly accepts: string
  readonly meaning: string
  /** Undefined when `text` is not acceptable. */
  parse(text: string, machine: Machine): T | undefined
  /** Which parts of it are not, where it has parts. */
  problems?(text: string): readonly string[]
}

export type Environment = Readonly<Record<string, string | undefined>>

/** @see https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html */
const S3_URL = /^s3:\/\/[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](\/(?!\.{1,2}(\/|$))[A-Za-z0-9!_.*'()-]+)*\/?$/

const integer = (from: number, to: number) => ({
  accepts: `a whole number from ${from} to ${to}`,
  parse: (text: string) => (/^\d+$/.test(text) && Number(text) >= from && Number(text) <= to ? Number(text) : undefined),
})
const folder = {
  accepts: 'a folder; it is created when missing',
  parse: (text: string, machine: Machine) => path.resolve(machine.workingDir, text.replace(/^~(?=$|[\\/])/, machine.homeDir)),
}
const megabytes = (from: number, to: number) => {
  const { accepts, parse } = integer(from, to)
  return {
    accepts,
    parse: (text: string) => {
      const value = parse(text)
      return value === undefined ? undefined : value * 2 ** 20
    },
  }
}
const url = (protocols: readonly string[], text: string) =>
  URL.canParse(text) && protocols.includes(new URL(text).protocol) && new URL(text).hostname !== '' ? text : undefined

export const settings: { readonly [K in keyof Config]: Setting<Config[K]> } = {
  port: {
    variable: 'PORT',
    default: '8080',
    meaning: 'The port to listen on; 0 takes any free one.',
    ...integer(0, 65535),
  },
  host: {
    variable: 'HOST',
    default: '127.0.0.1',
    meaning: 'The address to listen on. Anything but loopback needs at least one API key (`npm run refract -- keys create`).',
    accepts: 'a host name or an address without a port',
    parse: (text) => (/^[A-Za-z0-9.:_%-]+$/.test(text) && !/^[^:]+:\d+$/.test(text) ? text : undefined),
  },
  dataDir: {
    variable: 'DATA_DIR',
    default: '.refract',
    meaning: 'Where images, imported models and the embedded database live.',
    ...folder,
  },
  databaseUrl: {
    variable: 'DATABASE_URL',
    default: '',
    defaultInWords: 'empty: a PostgreSQL of its own, started in `DATA_DIR`',
    meaning: 'The PostgreSQL (15 or later) to use instead of the embedded one.',
    accepts: 'a URL such as postgresql://user:password@host:5432/database',
    parse: (text) => (text === '' ? '' : url(['postgres:', 'postgresql:'], text)),
  },
  devices: {
    variable: 'REFRACT_DEVICE',
    default: 'auto',
    meaning:
      'What the models run on. `auto` takes the fastest that works here; any other choice is an error when it does not work. Several, as `cuda:0,cuda:1`, share the models ([devices.md](devices.md)).',
    accepts: `auto, or one or several, with commas between, of ${deviceNames.join(', ')}`,
    parse: (text) => (deviceProblems(text).length === 0 ? (devicesIn(text) as [string, ...string[]]) : undefined),
    problems: deviceProblems,
  },
  deviceBytes: {
    variable: 'REFRACT_DEVICE_MEMORY_MB',
    default: '0',
    defaultInWords: '`0`: 8192 of CUDA, 4096 of WebGPU',
    meaning:
      "How much of each accelerator's own memory weights may take; the rest is for what runs compute. Weights beyond it wait in the server's memory.",
    ...megabytes(0, 16_777_216),
  },
  precision: {
    variable: 'REFRACT_PRECISION',
    default: 'float32',
    meaning:
      'What accelerators compute in: `float32`; `tf32`, products of factors with 10 bits (CUDA); `float16`, products with weights (CUDA, WebGPU, CoreML, DirectML). What each costs in exactness is in [devices.md](devices.md). Training needs `float32`.',
    accepts: precisions.join(', '),
    parse: (text) => precisions.find((precision) => precision === text),
  },
  memoryMb: {
    variable: 'REFRACT_MEMORY_MB',
    default: (machine) => String(Math.max(512, Math.floor(machine.memoryBytes / 2 / 2 ** 20))),
    defaultInWords: "half of the machine's (or container's) memory",
    meaning:
      'Memory budget over models, compiled programs, activation caches and prepared pictures; the least recently used goes first. Several devices have equal parts of three quarters of it, pictures and caches the fourth.',
    ...integer(64, 16_777_216),
  },
  queueLimit: {
    variable: 'REFRACT_QUEUE_LIMIT',
    default: '256',
    meaning: 'Requests that may wait for a device. The next one is answered 503 at once.',
    ...integer(1, 100_000),
  },
  maxBodyBytes: {
    variable: 'REFRACT_MAX_BODY_MB',
    default: '64',
    meaning: 'The largest request body, in MB. A larger one is answered 413.',
    ...megabytes(1, 4096),
  },
  maxDatasetBytes: {
    variable: 'REFRACT_MAX_DATASET_MB',
    default: '2048',
    meaning: 'The largest zip file of pictures that can be uploaded as a data set, in MB, and what it may hold when it is unpacked.',
    ...megabytes(1, 1_048_576),
  },
  maxImagePixels: {
    variable: 'REFRACT_MAX_IMAGE_PIXELS',
    default: '50000000',
    meaning: 'The largest picture, width x height. A larger one is refused before it is decoded.',
    ...integer(1, 1_000_000_000),
  },
  maxInputsPerRequest: {
    variable: 'REFRACT_MAX_INPUTS',
    default: '256',
    meaning: 'Pictures or texts in one request.',
    ...integer(1, 100_000),
  },
  rateLimitPerMinute: {
    variable: 'REFRACT_RATE_LIMIT',
    default: '0',
    defaultInWords: '`0`: no limit',
    meaning: 'Requests a minute for each client (an API key, or an address without one). Beyond it: 429.',
    ...integer(0, 1_000_000),
  },
  logLevel: {
    variable: 'REFRACT_LOG_LEVEL',
    default: 'warn',
    meaning: 'What the server writes to its log (JSON lines on standard error). `info` has a line for each request.',
    accepts: `${logLevels.slice(0, -1).join(', ')} or ${logLevels.at(-1)}`,
    parse: (text) => logLevels.find((level) => level === text),
  },
  hubToken: {
    variable: 'HF_TOKEN',
    default: '',
    defaultInWords: 'empty: the token in `HF_HOME/token`, where there is one',
    meaning: 'Access token for gated and private repositories of the hub, and for pushing to it.',
    accepts: 'a token without spaces',
    parse: (text) => (/^[\x21-\x7e]*$/.test(text) ? text : undefined),
  },
  hubEndpoint: {
    variable: 'HF_ENDPOINT',
    default: 'https://huggingface.co',
    meaning: 'The hub that models are imported from, and folders pushed to.',
    accepts: 'an http or https URL',
    parse: (text) => url(['http:', 'https:'], text)?.replace(/\/+$/, ''),
  },
  hubHome: {
    variable: 'HF_HOME',
    default: (machine, env) => path.join(env.XDG_CACHE_HOME || path.join(machine.homeDir, '.cache'), 'huggingface'),
    defaultInWords: '`~/.cache/huggingface`',
    meaning: 'The home folder of the hub, shared with Python.',
    ...folder,
  },
  hubCache: {
    variable: 'HF_HUB_CACHE',
    default: (machine, env) => path.join(settings.hubHome.parse(given(settings.hubHome, machine, env), machine) ?? '', 'hub'),
    defaultInWords: '`HF_HOME/hub`',
    meaning: 'Where downloads from the hub are kept, in the layout that Python uses and shared with it.',
    ...folder,
  },
  jobs: {
    variable: 'REFRACT_JOBS',
    default: '1',
    meaning:
      'How many pieces of long work (training, evaluation) the server runs at once, in processes of their own; imports run beside them. 0: it runs none, `refract worker` does.',
    ...integer(0, 64),
  },
  keepJobsDays: {
    variable: 'REFRACT_KEEP_JOBS_DAYS',
    default: '0',
    defaultInWords: '`0`: for ever',
    meaning:
      'How long jobs are kept after they are over. Then they go, with their logs and the files they left; what they made (models, SAEs, features, numbers) stays.',
    ...integer(0, 36_500),
  },
  blobStore: {
    variable: 'REFRACT_BLOB_STORE',
    default: '',
    defaultInWords: 'empty: a folder in `DATA_DIR`',
    meaning:
      'Where uploaded pictures and results of jobs are kept. A bucket (S3, or a server that speaks its language) lets workers on several machines share them; credentials are found as by the `aws` command (`AWS_ACCESS_KEY_ID`, `~/.aws`, roles).',
    accepts: 'empty, or s3://bucket/folder',
    parse: (text) => (text === '' || S3_URL.test(text) ? text.replace(/\/+$/, '') : undefined),
  },
  s3Endpoint: {
    variable: 'AWS_ENDPOINT_URL_S3',
    default: '',
    defaultInWords: "empty: Amazon's own",
    meaning: 'The server that has the bucket.',
    accepts: 'an http or https URL',
    parse: (text) => (text === '' ? '' : url(['http:', 'https:'], text)?.replace(/\/+$/, '')),
  },
  s3Region: {
    variable: 'AWS_REGION',
    default: 'us-east-1',
    meaning: 'The region of the bucket.',
    accepts: 'a region such as eu-central-1',
    parse: (text) => (/^[a-z0-9-]{1,40}$/.test(text) ? text : undefined),
  },
}

const devicesIn = (text: string) => text.split(',').map((name) => name.trim())

function deviceProblems(text: string): string[] {
  const names = devicesIn(text)
  return names.flatMap((name, index) => {
    if (name === '') return [`entry ${index + 1} is empty`]
    if (name === 'auto') return names.length > 1 ? ['auto takes one device, and stands alone'] : []
    if (isDeviceName(name)) return []
    const near = nearest(name, ['auto', ...deviceNames])[0]
    return [`there is no device "${name}"${near === undefined ? '' : ` (did you mean ${near}?)`}`]
  })
}

function given(setting: Setting<unknown>, machine: Machine, env: Environment): string {
  const fallback = () => (typeof setting.default === 'string' ? setting.default : setting.default(machine, env))
  return env[setting.variable]?.trim() || fallback()
}

/** Everything that is wrong with the settings, at once. */
export class SettingsError extends Error {
  readonly problems: readonly string[]

  constructor(problems: readonly string[]) {
    super(`The settings cannot be used:\n${problems.map((problem) => `  ${problem}`).join('\n')}`)
    this.name = 'SettingsError'
    this.problems = problems
  }
}

/**
 * The configuration that an environment describes. Pure: the same arguments give the same answer.
 *
 * A variable that is empty counts as not set.
 * @throws SettingsError with every bad value and every unknown `REFRACT_*` variable
 */
export function readConfig(env: Environment, machine: Machine = thisMachine()): Config {
  const problems: string[] = []
  const config = Object.fromEntries(
    Object.entries(settings).map(([key, setting]) => {
      const text = given(setting, machine, env)
      const value = setting.parse(text, machine)
      if (value === undefined) {
        const shown = setting.variable === 'DATABASE_URL' ? 'the given value' : `"${text}"`
        const parts = setting.problems?.(text) ?? []
        problems.push(`${setting.variable}: ${shown} is not ${setting.accepts}${parts.length > 0 ? `: ${parts.join('; ')}` : ''}.`)
      }
      return [key, value]
    }),
  )
  const known = Object.values(settings).map(({ variable }) => variable)
  for (const variable of Object.keys(env).filter((name) => name.startsWith('REFRACT_') && !known.includes(name))) {
    const near = nearest(variable, known).map((name) => ` Did you mean ${name}?`)
    problems.push(`${variable}: there is no such setting.${near[0] ?? ` See docs/configuration.md.`}`)
  }
  if (problems.length > 0) throw new SettingsError(problems)
  return config as unknown as Config
}

/** This machine; in a container its memory limit counts, not the host's memory. */
export function thisMachine(): Machine {
  // 0, or a number beyond any memory, where nothing limits the process
  const limit = process.constrainedMemory() || Number.POSITIVE_INFINITY
  return { memoryBytes: Math.min(limit, os.totalmem()), homeDir: os.homedir(), workingDir: process.cwd() }
}

/** The text of `docs/configuration.md`. */
export function configurationPage(): string {
  const rows = Object.values(settings).map((setting) => {
    const fallback = setting.defaultInWords ?? `\`${setting.default}\``
    return `| \`${setting.variable}\` | ${fallback} | ${setting.meaning} | ${setting.accepts} |`
  })
  return [
    '# Configuration',
    '',
    'Settings are environment variables; `PORT=9000 npm start` is all it takes. All bad values are reported at once, and an unknown',
    '`REFRACT_*` is refused, so that a misspelt setting is never ignored. This page is made from the table in `src/config.ts`.',
    '',
    '| variable | default | meaning | accepts |',
    '|---|---|---|---|',
    ...rows,
    '',
  ].join('\n')
}
