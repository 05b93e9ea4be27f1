/**
 * SAEs as the catalog describes them.
 */

import { type Static, Type } from 'typebox'
import { headlines } from '../../catalog/headline-metrics.js'
import { saePositions } from '../../catalog/saes.js'
import { architectures } from '../../engine/saes/sae.js'
import { ModelFileShape, ProvenanceShape } from './model.js'

export const SaeId = Type.String({
  'x-scalar': 'ID',
  minLength: 1,
  maxLength: 500,
  description: 'The id of an SAE.',
  examples: ['clip-vit-b-32-datacomp-xl.9-resid-post.vanilla-x64-all'],
})

export const SaeArchitecture = Type.Enum([...architectures], {
  title: 'SaeArchitecture',
  description: '`standard` is what the published tables call vanilla.',
})

export const SaeStatus = Type.Enum(['published', 'downloaded'], {
  title: 'SaeStatus',
  description: '`published`: it is known, and its files are not here; `downloaded`: it can be used.',
})

const orNull = <S extends Parameters<typeof Type.Union>[0][number]>(schema: S) => Type.Union([schema, Type.Null()])
const Timestamp = Type.String({ format: 'date-time' })

export const MetricValueShape = Type.Object(
  {
    metric: Type.String({ description: 'Of a definition: GET /v1/metrics says what it is, to the formula.' }),
    version: Type.Integer({ description: 'Of the definition.' }),
    value: Type.Union([Type.Number(), Type.Null()], { description: 'In the unit of the definition; null where it is not defined.' }),
    low: Type.Optional(Type.Number({ description: 'Lower bound of the confidence interval.' })),
    high: Type.Optional(Type.Number()),
    flags: Type.Array(Type.String(), { description: 'What is unusual about the value: `ill-conditioned`, `truncated`.' }),
    source: Type.Enum(['published', 'measured'], { title: 'MetricSource' }),
    dataset: orNull(
      Type.Object(
        { id: Type.String({ 'x-scalar': 'ID' }), hash: orNull(Type.String()) },
        {
          title: 'DatasetReference',
          additionalProperties: false,
          description: 'The hash is null of a data set that is only known by name.',
        },
      ),
    ),
    n: Type.Union([Type.Integer(), Type.Null()], { description: 'Pictures.' }),
    seed: orNull(Type.Integer()),
    dtype: orNull(Type.String()),
    backend: orNull(Type.String()),
    codeVersion: orNull(Type.String()),
    measuredAt: orNull(Timestamp),
  },
  { title: 'MetricValue', additionalProperties: false },
)

const HeadlineShape = Type.Object(
  {
    value: Type.Number({ description: 'Percent, or latents.' }),
    metric: Type.String({ description: 'Where it is from.' }),
    source: MetricValueShape.properties.source,
  },
  { title: 'HeadlineNumber', additionalProperties: false },
)

export const FeatureSetShape = Type.Object(
  {
    dataset: Type.String({ 'x-scalar': 'ID' }),
    datasetHash: Type.String(),
    nFeatures: Type.Integer(),
    nImages: Type.Integer(),
    imageEncoder: Type.Union([Type.String({ 'x-scalar': 'ID' }), Type.Null()], {
      description: 'The model by whose answers pictures were compared, for monosemanticity; null where they were not, or it is not known.',
    }),
    seed: Type.Integer(),
    dtype: Type.String(),
    backend: Type.String(),
    codeVersion: Type.String(),
    measuredAt: Timestamp,
  },
  { title: 'FeatureSet', additionalProperties: false, description: 'The features of an SAE as they were indexed on a data set.' },
)

export const SaeShape = Type.Object(
  {
    id: Type.String({ 'x-scalar': 'ID', description: 'Stable for ever.' }),
    model: Type.String({ 'x-scalar': 'ID', description: 'The model it was trained on, which need not be here.' }),
    release: Type.String({ description: 'Who published it; `local` of what was trained or found here.' }),
    suite: Type.String({ description: 'SAEs that were trained in the same way.' }),
    status: SaeStatus,
    architecture: SaeArchitecture,
    isTranscoder: Type.Boolean(),
    hookPointIn: Type.String(),
    hookPointOut: Type.String({ description: 'The same, but for a transcoder.' }),
    layer: orNull(Type.Integer()),
    positions: Type.Union([Type.Enum([...saePositions], { title: 'SaePositions' }), Type.Null()], {
      description: 'The tokens it was trained on.',
    }),
    trainedOn: Type.Union([Type.String(), Type.Null()], { description: 'The data set, by name.' }),
    width: Type.Union([Type.Integer(), Type.Null()], { description: 'How many features it has.' }),
    dIn: orNull(Type.Integer()),
    dOut: orNull(Type.Integer()),
    k: orNull(Type.Number()),
    l1Coefficient: orNull(Type.Number()),
    activation: Type.Union([Type.String(), Type.Null()], { description: 'As its files say; null where they are not here.' }),
    normalization: Type.Union([Type.String(), Type.Null()], {
      description: 'Of its input, as its files say; null where they are not here.',
    }),
    headlines: Type.Object(Object.fromEntries(headlines.map((name) => [name, orNull(HeadlineShape)])) as Headlines, {
      title: 'Headlines',
      additionalProperties: false,
      description: 'The numbers that lists are filtered and sorted by; docs/catalog.md says which values stand for them.',
    }),
    metrics: Type.Array(MetricValueShape, { description: 'Every value, by metric, published ones before measured ones, newest first.' }),
    featureSets: Type.Array(FeatureSetShape, { description: 'Data sets on which its features are indexed, newest first.' }),
    provenance: ProvenanceShape,
    file: Type.Union([Type.String(), Type.Null()], { description: 'The file with the weights.' }),
    license: orNull(Type.String()),
    note: orNull(Type.String()),
    layout: orNull(Type.String()),
    rulesUsed: Type.Array(
      Type.Object(
        { field: Type.String(), rule: Type.String() },
        { title: 'RuleUsed', additionalProperties: false, description: 'What its files leave open, and how it was decided.' },
      ),
    ),
    weightsSha256: orNull(Type.String()),
    weightBytes: orNull(Type.Integer({ format: 'int64' })),
    files: Type.Array(ModelFileShape),
    fetch: Type.Union(
      [
        Type.Object(
          {
            command: Type.String({ examples: ['refract import clip-vit-b-32-datacomp-xl.9-resid-post.vanilla-x64-all'] }),
            source: Type.String({ description: 'Of a job: `{"kind": "import", "input": {"source": ...}}` for POST /v1/jobs.' }),
          },
          { title: 'Fetch', additionalProperties: false },
        ),
        Type.Null(),
      ],
      { description: 'The one call that downloads it; null where it is here, or where no repository is known.' },
    ),
    createdAt: Timestamp,
  },
  { title: 'Sae', additionalProperties: false },
)

type Headlines = Record<(typeof headlines)[number], ReturnType<typeof orNull<typeof HeadlineShape>>>

export type SaeAnswer = Static<typeof SaeShape>
export type MetricValueAnswer = Static<typeof MetricValueShape>
