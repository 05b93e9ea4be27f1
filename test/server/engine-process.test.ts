/** The server with its engine in a process of its own, as an accelerator's is: it answers the same, and it is there again when that is killed. */

import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { processChannel, startProcess } from '../../src/engine/host/process-channel.js'
import { openThread } from '../../src/engine/host/thread-channel.js'
import { workerFile } from '../../src/engine/host/worker-file.js'
import { bytesSource } from '../../src/engine/io/byte-source.js'
import { readNpz } from '../../src/engine/io/npz.js'
import { NPZ } from '../../src/server/negotiate.js'
import { folderOf } from '../engine/models/fixtures.js'
import { get, picture, post, startTestServer, type TestServer, testModels, upload } from './test-server.js'

const RESID = 'blocks.1.hook_resid_post'

let server: TestServer
let child: ChildProcess
let image: string
beforeAll(async () => {
  server = await startTestServer({
    transport: {
      openEngine: () => {
        child = startProcess(workerFile('engine-worker'), 'refract test')
        return processChannel(child)
      },
      openImages: () => openThread('image-worker'),
    },
  })
  image = (await upload(server.app, await picture())).json().id
})
afterAll(() => server.close())

const forward = (more: object = {}, headers = {}) =>
  post(server.app, '/v1/forward', { model: testModels.classifier, inputs: [{ image }], read: [RESID], ...more }, headers)

test('a forward run as npz has the numbers of JSON', async () => {
  const json = (await forward()).json()
  const npz = await readNpz(bytesSource((await forward({}, { accept: NPZ })).rawPayload), 'answer.npz')
  expect(npz.get(RESID)!.shape).toEqual(json.activations[RESID].shape)
  expect(Array.from(npz.get(RESID)!.data as Float32Array)).toEqual(json.activations[RESID].data.flat(2))
})

test('killed while a request is on it, that is answered 503 and the next one is served by another process', async () => {
  const before = (await forward()).json()
  const modelBytes = server.host.status().memory.byKind.model
  const { pid } = child
  // stopped, it has the request for certain when it is killed
  process.kill(pid!, 'SIGSTOP')
  const doomed = forward({ read: ['hook_embed'] })
  const waiting = forward()
  const gone = once(child, 'exit')
  process.kill(pid!, 'SIGKILL')
  await gone
  const answer = await doomed
  expect(answer.statusCode).toBe(503)
  expect(answer.json()).toMatchObject({ code: 'WORKER_DIED', detail: expect.stringContaining('its process ended by SIGKILL') })
  expect([200, 503]).toContain((await waiting).statusCode)
  expect((await forward()).json()).toMatchObject({ output: before.output, activations: before.activations })
  expect(child.pid).not.toBe(pid)
  expect(server.host.status()).toMatchObject({ state: 'ready', restarts: 1, memory: { byKind: { model: modelBytes } } })
  expect((await get(server.app, '/v1/capabilities')).json().engine).toMatchObject({ state: 'ready', restarts: 1 })
})

test('a caller who gives up is answered at once, whatever the process does, and the next one is served', async () => {
  const { preprocessing } = (await server.catalog.models.get(testModels.classifier))!.description
  const prepared = await server.host.preprocess({ id: image, read: () => picture() }, preprocessing)
  const model = { key: 'classifier', folder: folderOf(testModels.classifier), processing: [] }
  const gaveUp = new AbortController()
  process.kill(child.pid!, 'SIGSTOP')
  const run = server.host.run({ model, inputs: { kind: 'pictures', pictures: [prepared] }, read: [], edits: [] }, gaveUp.signal)
  gaveUp.abort()
  await expect(run).rejects.toMatchObject({ code: 'CANCELLED' })
  process.kill(child.pid!, 'SIGCONT')
  expect((await forward()).statusCode).toBe(200)
  expect(server.host.status().queueLength).toBe(0)
})
