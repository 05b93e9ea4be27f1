/**
 * `/metrics` for Prometheus: requests by route, the process, and the engine.
 */

import type { FastifyInstance } from 'fastify'
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { Context } from '../operations/operation.js'

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

  const gauge = (name: string, help: string, value: () => number) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(value())
      },
    })
  const counter = (name: string, help: string, value: () => number) =>
    new Counter({
      name,
      help,
      registers,
      collect() {
        this.reset()
        this.inc(value())
      },
    })
  gauge('refract_engine_ready', '1 when the engine takes work.', () => (host.status().state === 'ready' ? 1 : 0))
  gauge('refract_queue_length', 'Requests waiting for the device.', () => host.status().queueLength)
  gauge('refract_memory_budget_bytes', 'Memory that models, programs and caches may take.', () => host.status().memory.budgetBytes)
  gauge('refract_memory_used_bytes', 'Memory that they take.', () => host.status().memory.usedBytes)
  gauge('refract_models_loaded', 'Models whose weights are in memory.', () => host.status().models.length)
  gauge('refract_programs', 'Compiled programs in memory.', () => host.status().programs.count)
  counter('refract_programs_compiled_total', 'Programs compiled.', () => host.status().programs.compiled)
  counter('refract_program_hits_total', 'Runs that found their program compiled.', () => host.status().programs.hits)
  counter('refract_runs_total', 'Runs of the device; one can serve several requests.', () => host.status().runs.count)
  counter('refract_run_inputs_total', 'Pictures and texts in those runs.', () => host.status().runs.rows)
  counter('refract_engine_restarts_total', 'Times that the engine died and was started again.', () => host.status().restarts)

  app.get('/metrics', async (_request, reply) => reply.type(registry.contentType).send(await registry.metrics()))
  app.addHook('onClose', async () => registry.clear())
}
