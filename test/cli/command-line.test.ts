import { EventEmitter } from 'node:events'
import { describe, expect, test } from 'vitest'
import { commands } from '../../src/cli/main.js'
import { listenForStop } from '../../src/cli/stop-signals.js'
import { table } from '../../src/cli/table.js'
import { runCli } from './run-cli.js'

describe('the command line', () => {
  test('without a command, and with --help, lists the commands', async () => {
    for (const [argv, code] of [
      [[], 2],
      [['--help'], 0],
      [['help'], 0],
    ] as const) {
      const result = await runCli(argv)
      expect(result.code).toBe(code)
      for (const { name } of commands) expect(result.out).toContain(name)
    }
  })

  test.each(commands.map((command) => [command.name, command] as const))('%s --help shows each of its options', async (name, command) => {
    const { code, out } = await runCli([...name.split(' '), '--help'])
    expect(code).toBe(0)
    expect(out).toContain(command.summary)
    for (const option of Object.keys(command.options)) expect(out).toContain(`--${option}`)
  })

  test('--version is the version', async () => {
    expect(await runCli(['--version'])).toMatchObject({ code: 0, out: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) })
  })

  test.each([
    [['modles'], /no command "modles". Did you mean "models"\?/],
    [['key', 'list'], /Did you mean "keys list"\?/],
    [['keys'], /"keys" needs one more word: keys create, keys list, keys revoke/],
    [['xyzzyplugh'], /no command "xyzzyplugh"\.\n/],
    [['import'], /import needs <folder \| hub repo>/],
    [['import', 'a', 'b'], /takes no argument "b"/],
    [['import', 'a', '--revison', 'x'], /no option --revison. Did you mean "--revision"\?/],
    [['import', 'a', '--id'], /--id needs a value: --id <slug>/],
    [['import', 'a', '--id', '--json'], /--id needs a value/],
    [['models', '--json=yes'], /--json takes no value/],
    [['serve', '--port', '9000'], /no option --port/],
    [['-x'], /no command "-x"/],
  ])('%j is not understood, and says why', async (argv, message) => {
    const { code, out, err } = await runCli(argv)
    expect(code).toBe(2)
    expect(out).toBe('')
    expect(`${err}\n`).toMatch(message)
  })

  test('all wrong arguments are named at once', async () => {
    const { err } = await runCli(['import', '--idd', '--jsn'])
    expect(err).toMatch(/--idd.*--jsn.*import needs/s)
  })

  test('bad settings are all named before anything is started', async () => {
    const { code, err } = await runCli(['models'], { PORT: 'x', REFRACT_DEVIC: 'cpu' })
    expect(code).toBe(2)
    expect(err).toMatch(/PORT: "x".*REFRACT_DEVIC: .*REFRACT_DEVICE\?/s)
  })
})

describe('a signal to stop', () => {
  const listen = () => {
    const signals = new EventEmitter()
    const insisted: number[] = []
    let time = 0
    const stop = listenForStop(
      signals,
      (code) => insisted.push(code),
      () => time,
    )
    return { signals, insisted, stop, later: (ms: number) => (time += ms) }
  }

  test('asks once, and is reported as shells report it', () => {
    const { signals, insisted, stop } = listen()
    expect(stop.exitCode()).toBeUndefined()
    signals.emit('SIGTERM')
    expect(stop.signal.aborted).toBe(true)
    expect(stop.exitCode()).toBe(143)
    expect(insisted).toEqual([])
  })

  test('that npm passes on a second time is the same one', () => {
    const { signals, insisted, later } = listen()
    signals.emit('SIGINT')
    later(20)
    signals.emit('SIGINT')
    expect(insisted).toEqual([])
    later(1000)
    signals.emit('SIGINT')
    expect(insisted).toEqual([130])
  })

  test('is left to others afterwards', () => {
    const { signals, stop } = listen()
    stop.uninstall()
    expect(signals.eventNames()).toEqual([])
  })
})

test('a table is as wide as its cells, numbers to the right', () => {
  expect(
    table(
      ['name', 'n'],
      [
        ['a', 5],
        ['longer', 12],
      ],
    ),
  ).toBe('name     n\na        5\nlonger  12\n')
})
