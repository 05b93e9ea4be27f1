/**
 * `/metrics` for Prometheus: requests by route, the process, and the engine.
 */

import type { FastifyInstance } from 'fastify'
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { DeviceMemoryUse } from '../engine/backends/backend.js'
import type { DeviceStatus, HostStatus } from '../engine/host/host.js'
import type { Context } from '../operations/operation.js'

/** Without labels: of the whole. `place` is the device's in REFRACT_DEVICE, where one may stand twice. */
interface Sample {
  readonly device?: string
  readonly place?: number
  readonly value: number
}

export function metrics(app: FastifyInstance, { host }: Context): void {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry })
  const durations = new Histogram({
    name: 'http_request_duration_seconds',
    help: 'Time to answer, by route and status.',
    labelNames: ['method', 'route', 'status'],
    buckets: [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
    registers,
  })
  app.addHook('onResponse', async (request, reply) => {
    const route = request.routeOptions.url ?? 'none'
    durations.observe({ method: request.method, route, status: reply.statusCode }, reply.elapsedTime / 1000)
  })

  const labelNames = ['device', 'place'] as const
  const gauge = (name: string, help: string, samples: () => readonly Sample[]) =>
    new Gauge({
      ...{ name, help, labelNames, registers },
      collect() {
        this.reset()
        for (const { value, ...labels } of samples()) this.set(labels, value)
      },
    })
  const counter = (name: string, help: string, samples: () => readonly Sample[]) =>
    new Counter({
      ...{ name, help, labelNames, registers },
      collect() {
        this.reset()
        for (const { value, ...labels } of samples()) this.inc(labels, value)
      },
    })
  const whole = (value: (status: HostStatus) => number) => (): Sample[] => [{ value: value(host.status()) }]
  const each = (value: (device: DeviceStatus) => number) => () =>
    host.status().devices.map((status, place): Sample => ({ device: status.device, place, value: value(status) }))
  const own = (value: (memory: DeviceMemoryUse) => number) => () =>
    host.status().devices.flatMap(({ device, deviceMemory }, place): Sample[] => {
      return deviceMemory ? [{ device, place, value: value(deviceMemory) }] : []
    })

  const isReady = ({ state }: DeviceStatus) => (state === 'ready' ? 1 : 0)
  gauge('refract_engine_ready', '1 when the engine takes work.', whole(isReady))
  gauge(
    'refract_queue_length',
    'Requests waiting for a device.',
    whole(({ queueLength }) => queueLength),
  )
  gauge(
    'refract_memory_budget_bytes',
    'Memory that models, programs and caches may take.',
    whole(({ memory }) => memory.budgetBytes),
  )
  gauge(
    'refract_memory_used_bytes',
    'Memory that they take.',
    whole(({ memory }) => memory.usedBytes),
  )
  gauge(
    'refract_models_loaded',
    'Models whose weights are in memory.',
    whole(({ models }) => models.length),
  )
  gauge(
    'refract_programs',
    'Compiled programs in memory.',
    whole(({ programs }) => programs.count),
  )
  counter(
    'refract_programs_compiled_total',
    'Programs compiled.',
    whole(({ programs }) => programs.compiled),
  )
  counter(
    'refract_program_hits_total',
    'Runs that found their program compiled.',
    whole(({ programs }) => programs.hits),
  )
  counter(
    'refract_runs_total',
    'Runs of the devices; one can serve several requests.',
    whole(({ runs }) => runs.count),
  )
  counter(
    'refract_run_inputs_total',
    'Pictures and texts in those runs.',
    whole(({ runs }) => runs.rows),
  )
  counter(
    'refract_engine_restarts_total',
    'Times that the engine died and was started again.',
    whole(({ restarts }) => restarts),
  )

  gauge('refract_device_ready', '1 when it takes work.', each(isReady))
  gauge(
    'refract_device_queue_length',
    'Requests waiting for it.',
    each(({ queueLength }) => queueLength),
  )
  gauge(
    'refract_device_memory_budget_bytes',
    'Memory that its models, programs and runs may take.',
    each(({ memory }) => memory.budgetBytes),
  )
  gauge(
    'refract_device_memory_used_bytes',
    'Memory that they take.',
    each(({ memory }) => memory.usedBytes),
  )
  gauge(
    'refract_device_own_memory_budget_bytes',
    "Of an accelerator's own memory, what weights may take.",
    own(({ budgetBytes }) => budgetBytes),
  )
  gauge(
    'refract_device_own_memory_used_bytes',
    'What they take of it.',
    own(({ usedBytes }) => usedBytes),
  )
  counter(
    'refract_device_weights_paged_out_total',
    'Times that weights had to leave it for others, since its engine started.',
    own(({ nPagedOut }) => nPagedOut),
  )
  gauge(
    'refract_device_models_loaded',
    'Models that it has in memory.',
    each(({ models }) => models.length),
  )
  counter(
    'refract_device_runs_total',
    'Its runs.',
    each(({ runs }) => runs.count),
  )
  counter(
    'refract_device_run_inputs_total',
    'Pictures and texts in those runs.',
    each(({ runs }) => runs.rows),
  )
  counter(
    'refract_device_restarts_total',
    'Times that it died and was started again.',
    each(({ restarts }) => restarts),
  )

  app.get('/metrics', async (_request, reply) => reply.type(registry.contentType).send(await registry.metrics()))
  app.addHook('onClose', async () => registry.clear())
}
