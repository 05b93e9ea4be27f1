/**
 * Whether a layout can say what a model is. It is asked by trying: the model is written in the layout's words and read again by the
 * layout's own reader, and whatever comes out otherwise is a difference. So no list of what a layout lacks can fall behind its reader.
 */

import { EngineError } from '../../errors.js'
import { nPrefixTokens } from '../../hook-points.js'
import type { JsonObject } from '../config-fields.js'
import type { TextConfig, TransformerConfig, VisionConfig } from '../model.js'
import { canonicalNames, type StoredTensor, type WeightRule } from '../name-map.js'
import { samePreprocessing } from '../preprocessor-config.js'
import { textGraph } from '../text-tower.js'
import { visionGraph } from '../vit.js'
import type { CheckpointReading, CheckpointWriting, Layout, ModelFacts, WritableLayout } from './layout.js'

/** A model in a layout's words, or why it has none: clauses, each with what the model has and what the layout would make of it. */
export type Expressed =
  | { readonly kind: 'writing'; readonly writing: CheckpointWriting }
  | { readonly kind: 'refused'; readonly problems: readonly string[] }

export function expressedIn(layout: WritableLayout, model: ModelFacts): Expressed {
  const writing = asWritten(layout.write(model))
  const problems = [...(writing.refusals ?? []), ...readBack(layout, writing, model)]
  // What the configuration says already explains what the name map lacks.
  if (problems.length === 0) problems.push(...unmapped(writing, model))
  return problems.length > 0 ? { kind: 'refused', problems } : { kind: 'writing', writing }
}

/** What JSON has no word for is not in the file. */
function asWritten(writing: CheckpointWriting): CheckpointWriting {
  return { ...writing, json: JSON.parse(JSON.stringify(writing.json)) as Record<string, JsonObject> }
}

/** Parameters that the layout's name map has no place for. */
function unmapped({ vision, text }: CheckpointWriting, model: ModelFacts): string[] {
  const missing = (rules: readonly WeightRule[], parameters: object) => {
    const mapped = new Set(rules.flatMap(({ to }) => to))
    return Object.keys(parameters).filter((name) => !mapped.has(name))
  }
  const names = [
    ...missing(vision, visionGraph(model.vision).parameters),
    ...(model.text ? missing(text ?? [], textGraph(model.text).parameters) : []),
  ]
  return names.length === 0 ? [] : [`weights that it has no name for (${names.slice(0, 3).join(', ')}${names.length > 3 ? ', ...' : ''})`]
}

function readBack(layout: Layout, writing: CheckpointWriting, model: ModelFacts): string[] {
  const tensors = headersOf(writing, model)
  const names = canonicalNames(tensors.keys(), [])
  let reading: CheckpointReading
  try {
    reading = layout.read({
      json: new Map(Object.entries(writing.json)),
      tensors: new Map([...names].map(([name, source]) => [name, tensors.get(source)!])),
    })
  } catch (error) {
    if (error instanceof EngineError) return [error.message]
    throw error
  }
  const given = comparable(model.vision, model.text, model.classLabels)
  const made = comparable(reading.vision.config, reading.text?.config, reading.classLabels)
  return [
    ...differences(given, made, '', layout.name),
    ...(reading.preprocessing && !samePreprocessing(reading.preprocessing, model.preprocessing) ? ['its preprocessing'] : []),
    ...scalarDifference('temperature (logScale)', model.logScale, reading.logitScale, layout.name),
    ...scalarDifference('bias of the logits', model.logitBias, reading.logitBias, layout.name),
  ]
}

function scalarDifference(what: string, value: number | undefined, readAs: string | undefined, layout: string): string[] {
  if ((value === undefined) === (readAs === undefined)) return []
  return [value === undefined ? `no ${what}, which ${layout} must have` : `a ${what}, which ${layout} has not`]
}

/** The file's headers: what is written, by its name in the file. */
export function headersOf(writing: CheckpointWriting, model: ModelFacts): Map<string, StoredTensor> {
  const spelled = writing.spelled ?? ((name: string) => name)
  const parameters = { vision: visionGraph(model.vision).parameters, text: model.text ? textGraph(model.text).parameters : {} }
  const ofTower = (rules: readonly WeightRule[], tower: 'vision' | 'text') =>
    rules.map(({ source, to, how }): [string, StoredTensor] => {
      const targets = to.map((name) => (parameters[tower][name]?.shape ?? []) as readonly number[])
      return [spelled(firstSpelling(source)), { dtype: 'float32', shape: how.sourceShape(targets) }]
    })
  const scalars = { logit_scale: model.logScale, logit_bias: model.logitBias }
  return new Map([
    ...ofTower(writing.vision, 'vision'),
    ...ofTower(writing.text ?? [], 'text'),
    ...Object.entries(scalars).flatMap(([name, value]): [string, StoredTensor][] =>
      value === undefined ? [] : [[name, { dtype: 'float32', shape: [] }]],
    ),
    ...Object.entries(writing.unused ?? {}).map(([name, shape]): [string, StoredTensor] => [spelled(name), { dtype: 'float32', shape }]),
  ])
}

export const firstSpelling = (source: WeightRule['source']): string => (typeof source === 'string' ? source : source[0]!)

/** What is compared: the configurations, less the fields that nothing depends on in such a model. */
function comparable(vision: VisionConfig, text: TextConfig | undefined, classLabels: readonly string[] | undefined) {
  return { vision: ofVision(vision), text: text && ofTransformer(text), classLabels }
}

function ofVision(config: VisionConfig): VisionConfig {
  const { finalNorm, pooling, normalization } = config
  return {
    ...ofTransformer(config),
    // Without norms, an absent one and an identity are the same; without CLS and registers, patches are all tokens.
    finalNorm: normalization === 'none' && finalNorm === 'none' ? 'tokens' : finalNorm,
    pooling: pooling === 'meanAll' && nPrefixTokens(config) === 0 ? 'mean' : pooling,
  }
}

function ofTransformer<C extends TransformerConfig>(config: C): C {
  const hasNorm = config.normalization !== 'none' || (config.dMlp !== undefined && config.activation === 'solu_ln')
  return {
    ...config,
    normEps: hasNorm ? config.normEps : 0,
    ...(config.dMlp === undefined && { activation: 'gelu' as const, biases: { ...config.biases, mlp: true } }),
  }
}

/** Every path at which two plain values differ, as clauses. */
function differences(given: unknown, made: unknown, path: string, layout: string): string[] {
  if (Object.is(given, made)) return []
  if (isObject(given) && isObject(made)) {
    const keys = new Set([...Object.keys(given), ...Object.keys(made)])
    return [...keys].flatMap((key) => differences(given[key], made[key], path === '' ? key : `${path}.${key}`, layout))
  }
  return [`${path} ${shown(given)}, where ${layout} has ${shown(made)}`]
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> => typeof value === 'object' && value !== null
const shown = (value: unknown) => (value === undefined ? 'absent' : (JSON.stringify(value) ?? String(value)).slice(0, 60))
