import { describe, expect, test } from 'vitest'
import { configurationPage, type Environment, type Machine, readConfig, SettingsError, settings } from '../../src/config.js'

const machine: Machine = { memoryBytes: 8 * 2 ** 30, homeDir: '/home/ada', workingDir: '/srv' }
const read = (env: Environment) => readConfig(env, machine)
const problemsOf = (env: Environment) => {
  try {
    read(env)
  } catch (error) {
    if (error instanceof SettingsError) return error.problems
    throw error
  }
  return []
}

describe('settings', () => {
  test('that nobody set are the defaults, computed from the machine', () => {
    expect(read({})).toEqual({
      port: 8080,
      host: '127.0.0.1',
      dataDir: '/srv/.refract',
      databaseUrl: '',
      devices: ['auto'],
      deviceBytes: 0,
      precision: 'float32',
      memoryMb: 4096,
      queueLimit: 256,
      maxBodyBytes: 64 * 2 ** 20,
      maxDatasetBytes: 2048 * 2 ** 20,
      maxImagePixels: 50_000_000,
      maxInputsPerRequest: 256,
      rateLimitPerMinute: 0,
      logLevel: 'warn',
      hubToken: '',
      hubEndpoint: 'https://huggingface.co',
      hubHome: '/home/ada/.cache/huggingface',
      hubCache: '/home/ada/.cache/huggingface/hub',
      jobs: 1,
      keepJobsDays: 0,
      blobStore: '',
      s3Endpoint: '',
      s3Region: 'us-east-1',
    })
  })

  test('that are empty or blank count as not set', () => {
    expect(read(Object.fromEntries(Object.values(settings).map(({ variable }) => [variable, ' '])))).toEqual(read({}))
  })

  test('are read as they are meant', () => {
    expect(
      read({
        PORT: '0',
        DATA_DIR: '~/data',
        REFRACT_DEVICE: 'cuda:1',
        REFRACT_MAX_BODY_MB: '2',
        HF_HOME: 'hf',
        HF_ENDPOINT: 'http://hub.example/',
        DATABASE_URL: 'postgres://u:p@h/d',
        REFRACT_BLOB_STORE: 's3://my.bucket/one/two/',
        AWS_ENDPOINT_URL_S3: 'http://127.0.0.1:9000/',
      }),
    ).toMatchObject({
      port: 0,
      dataDir: '/home/ada/data',
      devices: ['cuda:1'],
      maxBodyBytes: 2 * 2 ** 20,
      hubHome: '/srv/hf',
      hubCache: '/srv/hf/hub',
      hubEndpoint: 'http://hub.example',
      databaseUrl: 'postgres://u:p@h/d',
      blobStore: 's3://my.bucket/one/two',
      s3Endpoint: 'http://127.0.0.1:9000',
    })
    expect(read({ XDG_CACHE_HOME: '/cache' }).hubCache).toBe('/cache/huggingface/hub')
    expect(read({ HF_HUB_CACHE: '/elsewhere' })).toMatchObject({ hubCache: '/elsewhere', hubHome: '/home/ada/.cache/huggingface' })
  })

  test.each([
    ['PORT', '65536'],
    ['PORT', '-1'],
    ['PORT', '80a'],
    ['PORT', '0x50'],
    ['HOST', 'http://x'],
    ['HOST', 'localhost:8080'],
    ['DATABASE_URL', 'mysql://x/y'],
    ['DATABASE_URL', 'localhost'],
    ['REFRACT_DEVICE', 'gpu'],
    ['REFRACT_DEVICE', 'cuda:x'],
    ['REFRACT_MEMORY_MB', '1'],
    ['REFRACT_MEMORY_MB', '1e9'],
    ['REFRACT_LOG_LEVEL', 'loud'],
    ['REFRACT_JOBS', '-1'],
    ['REFRACT_BLOB_STORE', '/srv/blobs'],
    ['REFRACT_BLOB_STORE', 's3://Bucket'],
    ['REFRACT_BLOB_STORE', 's3://bucket/../other'],
    ['HF_ENDPOINT', 'hub.example'],
    ['HF_TOKEN', 'a b'],
  ])('%s=%s is refused with what would be right', (variable, value) => {
    const [problem, ...more] = problemsOf({ [variable]: value })
    expect(more).toEqual([])
    expect(problem).toContain(variable)
    expect(problem).toContain(Object.values(settings).find((setting) => setting.variable === variable)?.accepts)
  })

  test('name one device or several, and everything that is wrong with a list is said at once', () => {
    expect(read({ REFRACT_DEVICE: 'cuda:0, cuda:1,cpu,cpu' }).devices).toEqual(['cuda:0', 'cuda:1', 'cpu', 'cpu'])
    const [problem, ...more] = problemsOf({ REFRACT_DEVICE: 'cuda:0,,cpus,auto,tpu9000' })
    expect(more).toEqual([])
    expect(problem).toMatch(
      /: entry 2 is empty; there is no device "cpus" \(did you mean cpu\?\); auto takes one device, and stands alone; there is no device "tpu9000"\.$/,
    )
    expect(read({ REFRACT_DEVICE_MEMORY_MB: '40000' }).deviceBytes).toBe(40_000 * 2 ** 20)
  })

  test('are all reported at once', () => {
    expect(problemsOf({ PORT: 'x', REFRACT_DEVICE: 'gpu', REFRACT_MEMROY_MB: '1' })).toHaveLength(3)
  })

  test('that are unknown are refused, with the nearest that exists', () => {
    expect(problemsOf({ REFRACT_MEMORY: '100' })).toEqual(['REFRACT_MEMORY: there is no such setting. Did you mean REFRACT_MEMORY_MB?'])
    expect(problemsOf({ REFRACT_XYZZYPLUGH: '1' })).toEqual(['REFRACT_XYZZYPLUGH: there is no such setting. See docs/configuration.md.'])
    expect(problemsOf({ REFRACTOR: '1', HF_DATASETS_CACHE: 'x' })).toEqual([])
  })

  test('never show the password of a database', () => {
    expect(problemsOf({ DATABASE_URL: 'mysql://u:secret@h/d' }).join()).not.toContain('secret')
  })

  test('are documented as they are', async () => {
    await expect(configurationPage()).toMatchFileSnapshot('../../docs/configuration.md')
  })
})
