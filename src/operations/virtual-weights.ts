/** What features write that others read, by weights alone: downstream features, or the heads of later blocks. */

import type { Static } from 'typebox'
import { type ModelRecord, modelSource } from '../catalog/catalog.js'
import { saeSource } from '../catalog/sae-source.js'
import { blockOf, writesToStream, writtenBy } from '../engine/analyses/residual-path.js'
import { EngineError } from '../engine/errors.js'
import type { VisionConfig } from '../engine/models/model.js'
import type { Tensor } from '../engine/tensor.js'
import { Problems, RequestError } from './errors.js'
import { type DownloadedSae, findDownloadedSae, findModelOfSae } from './feature-facts/find-feature.js'
import { fixedLimits } from './limits.js'
import { type Call, type Context, defineOperation } from './operation.js'
import { VirtualWeightsInputShape, VirtualWeightsShape } from './schemas/weights.js'
import { chosenOf } from './weights/chosen-layers.js'

type Input = Static<typeof VirtualWeightsInputShape>
type Answer = Static<typeof VirtualWeightsShape>

const DEFAULT_TOP_K = 10

export const virtualWeights = defineOperation({
  name: 'virtualWeights',
  kind: 'query',
  scope: 'run',
  summary: 'Virtual weights through the residual stream: from features to features of a later SAE, or to heads',
  input: VirtualWeightsInputShape,
  output: VirtualWeightsShape,
  example: {
    upstream: 'emoji-clip.2-resid-post.topk-16-x8-all',
    downstream: 'emoji-clip.4-resid-post.topk-16-x8-all',
    features: [17],
    topK: 5,
  },

  async run(context, input, call) {
    const upstream = await findDownloadedSae(context.catalog, input.upstream)
    const downstream = input.downstream === undefined ? undefined : await findDownloadedSae(context.catalog, input.downstream)
    const model = await findModelOfSae(context.catalog, upstream)
    const layers = check(input, { upstream, downstream, model })
    const started = performance.now()
    const found = layers
      ? await headsOf(context, { input, upstream, model, layers }, call)
      : await edgesOf(context, { input, upstream, downstream: downstream!, model }, call)
    call.timing('run', performance.now() - started)
    return { ...nothing, model: model.id, upstream: upstream.id, downstream: downstream?.id ?? null, ...found }
  },
})

const nothing = { edges: null, readings: null, q: null, k: null, v: null }

interface Found {
  readonly upstream: DownloadedSae
  readonly downstream: DownloadedSae | undefined
  readonly model: ModelRecord
}

const configOf = ({ download }: DownloadedSae) => download.description.config

/** The blocks whose heads read; undefined where a downstream SAE does. @throws all problems at once */
function check(input: Input, { upstream, downstream, model }: Found): number[] | undefined {
  const problems = new Problems()
  const refuse = (path: string, problem: string) => problems.add(path, new EngineError('INPUT_INVALID', { path, problem }))
  const vision = model.description.vision.config as VisionConfig
  const { dSae } = configOf(upstream)
  const written = writtenBy(configOf(upstream))
  for (const [index, feature] of (input.features ?? []).entries()) {
    if (feature >= dSae)
      problems.add(`features[${index}]`, new RequestError('FEATURE_UNKNOWN', { sae: upstream.id, index: feature, width: dSae }))
  }
  if (!writesToStream(configOf(upstream), vision)) {
    const misfit = [`its decoder writes to ${written}, and not to the residual stream`]
    problems.add('upstream', new EngineError('SAE_MISFIT', { sae: upstream.id, model: model.id, problems: misfit }))
  }
  if (downstream && input.heads) refuse('heads', 'is there, and "downstream" too; ask for one of them at a time')
  if (!downstream && !input.heads) refuse('downstream', 'is missing: name an SAE that reads, or blocks whose heads do ("heads")')
  if (downstream && downstream.modelId !== upstream.modelId) {
    refuse('downstream', `${downstream.id} is an SAE of ${downstream.modelId}, and ${upstream.id} of ${upstream.modelId}`)
  }
  if (input.heads && !input.features) refuse('features', 'are missing: name the features that heads read')
  const layers = input.heads && chosenOf(input.heads, { count: vision.nLayers, what: 'blocks', path: 'heads', problems })
  for (const layer of layers ?? []) {
    if (layer < vision.nLayers && layer <= lastBefore(written))
      refuse('heads', `block ${layer} reads the stream before ${upstream.id} writes to it, at ${written}`)
  }
  if (downstream) checkSize(input, { upstream, downstream }, problems)
  problems.throwIfAny()
  return layers
}

/** The last block whose attention reads before a hook point is written. */
const lastBefore = (written: string) => (blockOf(written) ?? 0) - (written.endsWith('hook_resid_pre') ? 1 : 0)

function checkSize(
  { features }: Input,
  { upstream, downstream }: { readonly upstream: DownloadedSae; readonly downstream: DownloadedSae },
  problems: Problems,
): void {
  const given = (features?.length ?? configOf(upstream).dSae) * configOf(downstream).dSae
  const maximum = fixedLimits.decoderCosines
  if (given <= maximum) return
  problems.add(
    'features',
    new RequestError('LIMIT_EXCEEDED', {
      limit: 'decoderCosines',
      given,
      maximum,
      what: 'virtual weights',
      instead: 'Name some "features".',
    }),
  )
}

interface Asked {
  readonly input: Input
  readonly upstream: DownloadedSae
  readonly model: ModelRecord
}

async function edgesOf(
  context: Context,
  { input, upstream, downstream, model }: Asked & { readonly downstream: DownloadedSae },
  call: Call,
): Promise<Pick<Answer, 'edges'>> {
  const widths = [configOf(upstream).dSae, configOf(downstream).dSae] as const
  const edges = await context.host.analyse(
    'virtualWeights',
    {
      model: modelSource(model),
      saes: [saeSource(upstream), saeSource(downstream)],
      input: { ...(input.features && { latents: input.features }), topK: input.topK ?? DEFAULT_TOP_K, widths },
    },
    call.signal,
  )
  return { edges: [...edges] }
}

async function headsOf(
  context: Context,
  { input, upstream, model, layers }: Asked & { readonly layers: readonly number[] },
  call: Call,
): Promise<Pick<Answer, 'readings' | 'q' | 'k' | 'v'>> {
  const latents = input.features!
  const found = await context.host.analyse(
    'featuresToHeads',
    { model: modelSource(model), saes: [saeSource(upstream)], input: { latents, layers, dModel: configOf(upstream).dOut } },
    call.signal,
  )
  const nHeads = found.q.expected.shape[1]!
  const perFeature = layers.length * nHeads
  const readings = latents.flatMap((feature, row) =>
    (['q', 'k', 'v'] as const)
      .flatMap((kind) =>
        Array.from({ length: perFeature }, (_, at) => {
          const length = found[kind].lengths.data[row * perFeature + at]!
          const expected = found[kind].expected.data[at]!
          const place = { layer: layers[Math.floor(at / nHeads)]!, head: at % nHeads }
          return { feature, ...place, kind, length, ratio: expected > 0 ? length / expected : 0 }
        }),
      )
      .sort((a, b) => b.ratio - a.ratio || a.layer - b.layer || a.head - b.head)
      .slice(0, input.topK ?? DEFAULT_TOP_K),
  )
  return { readings, q: found.q.lengths, k: found.k.lengths, v: found.v.lengths }
}

/** What the binary forms hold. */
export function virtualWeightTensors({ edges, q, k, v }: Answer): Record<string, Tensor> {
  const column = (name: 'from' | 'to') => {
    const data = Int32Array.from(edges ?? [], (edge) => edge[name])
    return { dtype: 'int32', shape: [data.length], data } as const
  }
  const floats = (name: 'weight' | 'cosine') => {
    const data = Float32Array.from(edges ?? [], (edge) => edge[name])
    return { dtype: 'float32', shape: [data.length], data } as const
  }
  return {
    ...(edges && { from: column('from'), to: column('to'), weight: floats('weight'), cosine: floats('cosine') }),
    ...(q && k && v && { q, k, v }),
  }
}
