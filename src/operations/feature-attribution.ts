/**
 * What a score, or a feature at a position, depends on: the graph of features, heads, tokens and errors before it.
 */

import type { Static } from 'typebox'
import { type ModelRecord, modelSource } from '../catalog/catalog.js'
import { saeSource } from '../catalog/sae-source.js'
import {
  type AttributionNode,
  type FeatureTarget,
  type FeatureAttribution as Found,
  numbersOfAttribution,
} from '../engine/analyses/attribution/feature-attribution/feature-attribution.js'
import { TOKENS, zOf } from '../engine/analyses/attribution/feature-attribution/graphs.js'
import { writtenBy } from '../engine/analyses/residual-path.js'
import type { Target } from '../engine/analyses/targets.js'
import { EngineError } from '../engine/errors.js'
import { nPositions } from '../engine/hook-points.js'
import type { RunInputs } from '../engine/host/host.js'
import type { VisionConfig } from '../engine/models/model.js'
import { attributionDrawing } from '../engine/plots/attribution-graph.js'
import { stackPictures } from './drawn/stack-pictures.js'
import { Problems, RequestError } from './errors.js'
import type { DownloadedSae } from './feature-facts/find-feature.js'
import { findModel } from './find-model.js'
import { checkSaesFit, findDownloadedSaes } from './find-saes.js'
import { loadInputs } from './load-inputs.js'
import { type Call, type Context, defineOperation } from './operation.js'
import { type CheckedTargets, checkTargets, resolveTargets } from './resolve-targets.js'
import { attributionDefaults, FeatureAttributionInputShape, FeatureAttributionShape } from './schemas/feature-attribution.js'

type FeatureAttributionInput = Static<typeof FeatureAttributionInputShape>
type FeatureAttribution = Static<typeof FeatureAttributionShape>

export const featureAttribution = defineOperation({
  name: 'featureAttribution',
  kind: 'query',
  scope: 'run',
  summary: 'What a score or a feature depends on: a graph of features, heads, tokens and errors, as data or as a drawing',
  input: FeatureAttributionInputShape,
  output: FeatureAttributionShape,
  example: {
    model: 'emoji-clip',
    inputs: [{ image: `sha256:${'0'.repeat(64)}` }],
    target: { difference: [{ text: 'a cat' }, { text: 'a dog' }] },
    saes: ['emoji-clip.2-resid-post.topk', 'emoji-clip.4-resid-post.topk'],
    nodes: { most: 40 },
  },

  async run(context, input, call) {
    const model = await findModel(context.catalog, input.model)
    const ids = [...new Set([...(input.saes ?? []), ...(input.feature ? [input.feature.sae] : [])])]
    const saes = await findDownloadedSaes(context, ids)
    const checked = check(input, { model, saes })
    const target = await targetOf(context, { input, checked, saes }, call)
    const about = { inputs: input.inputs, preprocessing: model.description.preprocessing }
    const { pictures } = (await loadInputs(context, about, call)) as Extract<RunInputs, { kind: 'pictures' }>

    const config = model.description.vision.config as VisionConfig
    const heads = input.heads ?? true
    const nodes = { ...attributionDefaults.nodes, ...input.nodes }
    const configs = saes.map(({ download }) => download.description.config)
    const numbers = numbersOfAttribution(config, { saes: configs, most: nodes.most, heads })
    const asked = {
      target,
      freeze: { attention: input.freeze?.attention ?? true, norms: input.freeze?.norms ?? true },
      heads,
      nodes,
      edges: { ...attributionDefaults.edges, ...input.edges },
      numbers,
    }
    const started = performance.now()
    const graphs: FeatureAttribution['graphs'] = []
    // One at a time, so that others have their turn in between.
    for (const picture of pictures) {
      const found = await context.host.analyse(
        'featureAttribution',
        { model: modelSource(model), saes: saes.map(saeSource), input: { ...asked, pixels: stackPictures([picture]) } },
        call.signal,
      )
      graphs.push(graphOf(found, saes))
    }
    call.timing('run', performance.now() - started)
    const name = 'label' in target ? target.label : `${ids[target.sae]}/${target.index} at ${target.position}`
    return { model: model.id, target: name, graphs }
  },
})

/** The graphs as a drawing, SVG, one below the other. */
export function drawnAttribution({ target, graphs }: FeatureAttribution): string {
  return attributionDrawing(target, graphs)
}

/** Everything that can be refused before anything runs. @throws all problems at once */
function check(
  { target, feature }: FeatureAttributionInput,
  { model, saes }: { model: ModelRecord; saes: readonly DownloadedSae[] },
): CheckedTargets | undefined {
  const problems = new Problems()
  const add = (path: string, problem: string) => problems.add(path, new EngineError('INPUT_INVALID', { path, problem }), problem)
  if ((target === undefined) === (feature === undefined)) {
    add('target', target === undefined ? 'is missing; name a target, or a feature' : 'and "feature" are two questions; ask one of them')
  }
  // the same words as of a list of targets, at the path of the one
  const own = new Problems()
  const checked = target && checkTargets([target], { model, path: 'target' }, own)
  problems.collect('target', () => atOnePath(own))
  checkSaesFit(saes, model, problems)
  if (feature) checkFeature(feature, { model, saes, problems, add })
  problems.throwIfAny()
  return checked
}

function checkFeature(
  { sae: id, index, position }: NonNullable<FeatureAttributionInput['feature']>,
  {
    model,
    saes,
    problems,
    add,
  }: { model: ModelRecord; saes: readonly DownloadedSae[]; problems: Problems; add: (path: string, problem: string) => void },
): void {
  const { dSae } = saes.find((sae) => sae.id === id)!.download.description.config
  const length = nPositions(model.description.vision.config)
  if (index >= dSae) problems.add('feature.index', new RequestError('FEATURE_UNKNOWN', { sae: id, index, width: dSae }))
  if (position >= length) add('feature.position', `${position} is out of range; ${model.id} has positions 0 to ${length - 1}`)
}

/** `target[0].class` of a list is `target.class` of the one. */
function atOnePath(own: Problems): void {
  try {
    own.throwIfAny()
  } catch (error) {
    if (!(error instanceof EngineError)) throw error
    const problems = error.problems.map(({ path, message }) => ({ path: path.replace('target[0]', 'target'), message }))
    throw new EngineError('INPUT_INVALID', { path: problems[0]!.path, problem: problems[0]!.message }, problems)
  }
}

interface Asked {
  readonly input: FeatureAttributionInput
  readonly checked: CheckedTargets | undefined
  readonly saes: readonly DownloadedSae[]
}

async function targetOf(context: Context, { input: { feature }, checked, saes }: Asked, call: Call): Promise<Target | FeatureTarget> {
  if (checked) return (await resolveTargets(context, checked, call))[0]!
  const { sae, index, position } = feature!
  return { sae: saes.findIndex(({ id }) => id === sae), index, position }
}

type Graph = FeatureAttribution['graphs'][number]

function graphOf({ target: inputs, nodes, edges, features, ...rest }: Found, saes: readonly DownloadedSae[]): Graph {
  return {
    ...rest,
    inputs,
    completeness: inputs.value === 0 ? null : inputs.fromKept / inputs.value,
    features: features.map((amounts, index) => {
      const { id, download } = saes[index]!
      return { sae: id, hookPoint: writtenBy(download.description.config), ...amounts }
    }),
    nodes: nodes.map((node) => nodeOf(node, saes)),
    edges: [...edges],
  }
}

function nodeOf(node: AttributionNode, saes: readonly DownloadedSae[]): Graph['nodes'][number] {
  const { kind, position, attribution, sae, index = null, activation = null, layer = null, head = null, inputs = null } = node
  const own = sae === undefined ? undefined : saes[sae]!
  const hookPoint = own ? writtenBy(own.download.description.config) : kind === 'head' ? zOf(layer!) : TOKENS
  return { kind, hookPoint, position, attribution, sae: own?.id ?? null, index, activation, layer, head, inputs }
}
