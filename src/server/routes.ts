/**
 * Where each operation is over REST. Validation, negotiation and the OpenAPI document derive from this table and the declarations.
 */

import type { Static, TSchema } from 'typebox'
import type { Column } from '../engine/io/arrow-table.js'
import type { Tensor } from '../engine/tensor.js'
import { attentionTensors } from '../operations/attention.js'
import { attributionTensors } from '../operations/attribution.js'
import { saeComparisonTensors } from '../operations/compare-saes.js'
import { drawnAttribution } from '../operations/feature-attribution.js'
import { sparseTensors } from '../operations/feature-facts/feature-rows.js'
import { forwardTensors } from '../operations/forward.js'
import { lensTensors } from '../operations/logit-lens.js'
import type { Operation } from '../operations/operation.js'
import { operations } from '../operations/operations.js'
import { patchingPlot, patchingTensors } from '../operations/patching.js'
import { pathPatchingPlot, pathPatchingTensors } from '../operations/path-patching.js'
import { runTensors } from '../operations/runs.js'
import { geometryTensors } from '../operations/sae-geometry.js'
import { steerTensors } from '../operations/steer.js'
import { sweepColumns } from '../operations/steer-sweep.js'
import { sweptPlot } from '../operations/sweep/sweep-answer.js'
import { virtualWeightTensors } from '../operations/virtual-weights.js'
import { BYTES, PNG, SVG, TEXT } from './negotiate.js'

type TensorsOf = (output: never, input: Readonly<Record<string, unknown>>) => Readonly<Record<string, Tensor>>

export interface Route {
  readonly operation: Operation
  readonly method: 'GET' | 'POST' | 'DELETE'
  /** With `{name}` where an input field stands in the path; the rest is the query of a GET, the JSON body of a POST. */
  readonly path: string
  readonly tag: string
  /** Present when the answer also comes in binary forms: its tensors, by name. */
  readonly tensors?: TensorsOf
  /** Present when the answer also comes as a plot (SVG). */
  readonly plot?: (output: never) => string
  /** Present when the answer also comes in binary forms, and is rows: its columns, by name. */
  readonly table?: (output: never) => Readonly<Record<string, Column>>
  /** Present when the answer is a picture (PNG), unless it is asked for as JSON. */
  readonly picture?: (output: never) => Uint8Array
  /** Present when something is made: where it is then. Takes an Idempotency-Key. */
  readonly created?: (output: never) => string
  /** Present when the answer is a file of this type (`DrawnFile`). */
  readonly file?: typeof PNG | typeof SVG | typeof TEXT
  /** Present when the answer is a file of this type that is made while it is sent (`Download`). */
  readonly download?: typeof BYTES
}

/** Ties the types of `tensors` to those of the operation. */
function route<I extends TSchema, O extends TSchema>(
  method: Route['method'],
  path: string,
  about: {
    readonly operation: Operation<I, O>
    readonly tag: string
    readonly tensors?: (output: Static<O>, input: Static<I>) => Readonly<Record<string, Tensor>>
    readonly plot?: (output: Static<O>) => string
    readonly table?: (output: Static<O>) => Readonly<Record<string, Column>>
    readonly picture?: (output: Static<O>) => Uint8Array
    readonly created?: (output: Static<O>) => string
    readonly file?: Route['file']
    readonly download?: Route['download']
  },
): Route {
  return { method, path, ...about } as unknown as Route
}

const { saes, sae, saeFeatures, saeFeature, metrics, datasets, dataset, datasetItems, registerDataset, removeDataset } = operations
const { modelGraph, printedGraph } = operations
const { capabilities, models, model, hookPoints, images, forward, features, heatmap, cache, activation } = operations
const { jobs, job, jobLog, createJob, cancelJob, resumeJob } = operations
const { featureHeatmap, featureSprite, featureHistogram, featureDensity, saeDensity } = operations

const { searchFeatures, explanations, explanation, createExplanation, deleteExplanation } = operations
const { vectors, vector, createVector, deleteVector } = operations

const { compareImages, compareSaes, compareImagePair, weightCircuits, headComposition, saeGeometry, virtualWeights } = operations

const feature = '/v1/saes/{sae}/features/{index}'

export const routes: readonly Route[] = [
  route('GET', '/v1/capabilities', { operation: capabilities, tag: 'server' }),
  route('GET', '/v1/models', { operation: models, tag: 'models' }),
  route('GET', '/v1/models/{id}', { operation: model, tag: 'models' }),
  route('GET', '/v1/models/{model}/hooks', { operation: hookPoints, tag: 'models' }),
  route('GET', '/v1/models/{model}/graph', { operation: printedGraph, tag: 'models', file: TEXT }),
  route('POST', '/v1/models/{model}/graph', { operation: modelGraph, tag: 'models', download: BYTES }),
  route('GET', '/v1/saes', { operation: saes, tag: 'saes' }),
  route('GET', '/v1/saes/{id}', { operation: sae, tag: 'saes' }),
  route('GET', '/v1/saes/{sae}/features', { operation: saeFeatures, tag: 'saes' }),
  route('GET', '/v1/saes/{sae}/features/{index}', { operation: saeFeature, tag: 'saes' }),
  route('GET', '/v1/search/features', { operation: searchFeatures, tag: 'search' }),
  route('GET', '/v1/explanations', { operation: explanations, tag: 'search' }),
  route('GET', '/v1/explanations/{id}', { operation: explanation, tag: 'search' }),
  route('DELETE', '/v1/explanations/{id}', { operation: deleteExplanation, tag: 'search' }),
  route('POST', '/v1/saes/{sae}/features/{index}/explanations', {
    operation: createExplanation,
    tag: 'saes',
    created: ({ id }) => `/v1/explanations/${id}`,
  }),
  route('GET', '/v1/vectors', { operation: vectors, tag: 'vectors' }),
  route('GET', '/v1/vectors/{id}', { operation: vector, tag: 'vectors', tensors: ({ values }) => ({ values }) }),
  route('POST', '/v1/vectors', { operation: createVector, tag: 'vectors', created: ({ id }) => `/v1/vectors/${id}` }),
  route('DELETE', '/v1/vectors/{id}', { operation: deleteVector, tag: 'vectors' }),
  route('GET', '/v1/metrics', { operation: metrics, tag: 'saes' }),
  route('GET', '/v1/datasets', { operation: datasets, tag: 'datasets' }),
  route('GET', '/v1/datasets/{id}', { operation: dataset, tag: 'datasets' }),
  route('DELETE', '/v1/datasets/{id}', { operation: removeDataset, tag: 'datasets' }),
  route('GET', '/v1/datasets/{dataset}/items', { operation: datasetItems, tag: 'datasets' }),
  route('POST', '/v1/dataset-registrations', { operation: registerDataset, tag: 'datasets', created: ({ id }) => `/v1/datasets/${id}` }),
  route('GET', '/v1/images', { operation: images, tag: 'images' }),
  route('POST', '/v1/forward', {
    operation: forward,
    tag: 'runs',
    tensors: forwardTensors,
  }),
  route('POST', '/v1/features', { operation: features, tag: 'runs', tensors: sparseTensors }),
  route('POST', '/v1/patching', { operation: operations.patching, tag: 'runs', tensors: patchingTensors, plot: patchingPlot }),
  route('POST', '/v1/patching/paths', {
    operation: operations.pathPatching,
    tag: 'runs',
    tensors: pathPatchingTensors,
    plot: pathPatchingPlot,
  }),
  route('POST', '/v1/compare/images', { operation: compareImages, tag: 'compare' }),
  route('POST', '/v1/compare/saes', { operation: compareSaes, tag: 'compare', tensors: saeComparisonTensors }),
  route('POST', '/v1/compare/pair', { operation: compareImagePair, tag: 'compare' }),
  route('GET', '/v1/models/{model}/weights/circuits', { operation: weightCircuits, tag: 'weights' }),
  route('GET', '/v1/models/{model}/weights/composition', {
    operation: headComposition,
    tag: 'weights',
    tensors: ({ q, k, v }) => ({ q, k, v }),
  }),
  route('GET', '/v1/saes/{sae}/geometry', { operation: saeGeometry, tag: 'weights', tensors: geometryTensors }),
  route('POST', '/v1/weights/virtual', { operation: virtualWeights, tag: 'weights', tensors: virtualWeightTensors }),
  route('POST', '/v1/steer', { operation: operations.steer, tag: 'runs', tensors: steerTensors }),
  route('POST', '/v1/lens', { operation: operations.logitLens, tag: 'runs', tensors: lensTensors }),
  route('POST', '/v1/lens/picture', {
    operation: operations.logitLensPicture,
    tag: 'pictures',
    picture: ({ png }) => Buffer.from(png, 'base64'),
  }),
  route('POST', '/v1/attention', { operation: operations.attention, tag: 'runs', tensors: attentionTensors }),
  route('POST', '/v1/attention/picture', {
    operation: operations.attentionPicture,
    tag: 'pictures',
    picture: ({ png }) => Buffer.from(png, 'base64'),
  }),
  route('POST', '/v1/steer/sweep', { operation: operations.steerSweep, tag: 'runs', table: sweepColumns, plot: sweptPlot }),
  route('POST', '/v1/attribution', { operation: operations.attribution, tag: 'runs', tensors: attributionTensors }),
  route('POST', '/v1/attribution/features', { operation: operations.featureAttribution, tag: 'runs', plot: drawnAttribution }),
  route('POST', '/v1/heatmap', { operation: heatmap, tag: 'runs', picture: ({ png }) => Buffer.from(png, 'base64') }),
  route('GET', `${feature}/examples/{n}/heatmap.png`, { operation: featureHeatmap, tag: 'pictures', file: PNG }),
  route('GET', `${feature}/sprite.png`, { operation: featureSprite, tag: 'pictures', file: PNG }),
  route('GET', `${feature}/histogram.svg`, { operation: featureHistogram, tag: 'pictures', file: SVG }),
  route('GET', `${feature}/density.svg`, { operation: featureDensity, tag: 'pictures', file: SVG }),
  route('GET', '/v1/saes/{sae}/density.svg', { operation: saeDensity, tag: 'pictures', file: SVG }),
  route('POST', '/v1/runs', { operation: operations.createRun, tag: 'runs', created: ({ id }) => `/v1/runs/${id}` }),
  route('GET', '/v1/runs', { operation: operations.runs, tag: 'runs' }),
  route('GET', '/v1/runs/{id}', { operation: operations.run, tag: 'runs' }),
  route('DELETE', '/v1/runs/{id}', { operation: operations.deleteRun, tag: 'runs' }),
  route('GET', '/v1/runs/{id}/result', { operation: operations.runResult, tag: 'runs', tensors: runTensors }),
  route('GET', '/v1/caches/{id}', { operation: cache, tag: 'runs' }),
  route('GET', '/v1/caches/{cache}/{hookPoint}', {
    operation: activation,
    tag: 'runs',
    tensors: (tensor, { hookPoint }) => ({ [hookPoint]: tensor }),
  }),
  route('POST', '/v1/jobs', { operation: createJob, tag: 'jobs', created: ({ id }) => `/v1/jobs/${id}` }),
  route('GET', '/v1/jobs', { operation: jobs, tag: 'jobs' }),
  route('GET', '/v1/jobs/{id}', { operation: job, tag: 'jobs' }),
  route('DELETE', '/v1/jobs/{id}', { operation: cancelJob, tag: 'jobs' }),
  route('POST', '/v1/jobs/{id}/resume', { operation: resumeJob, tag: 'jobs' }),
  route('GET', '/v1/jobs/{id}/log', { operation: jobLog, tag: 'jobs' }),
]

/** The names in `{}` of a path. */
export function pathParameters(path: string): string[] {
  return [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name!)
}
