/**
 * Models as the catalog and the engine describe them.
 */

import { type Static, Type } from 'typebox'

const Axis = Type.String({ description: 'batch, pos, patch, head, qPos, kPos, dModel, dHead, dMlp, nClasses or scale.' })
const Shape = Type.Array(Type.Union([Type.Integer(), Type.String()]), {
  description: 'Axis lengths; the batch axis is "batch".',
  'x-scalar': 'Shape',
})
const Size = Type.Object({ height: Type.Integer(), width: Type.Integer() }, { title: 'Size', additionalProperties: false })

const transformer = {
  nLayers: Type.Integer(),
  dModel: Type.Integer(),
  nHeads: Type.Integer(),
  dHead: Type.Integer(),
  dMlp: Type.Optional(Type.Integer({ description: 'Absent in an attention-only model.' })),
  activation: Type.String(),
  normalization: Type.String({ description: '`layerNorm`, `layerNormPre` or `none`.' }),
  normEps: Type.Number(),
  biases: Type.Object(
    { qkv: Type.Boolean(), attnOut: Type.Boolean(), mlp: Type.Boolean() },
    { title: 'Biases', additionalProperties: false, description: 'Which linear layers have biases.' },
  ),
  scaleAttention: Type.Boolean(),
  layerScale: Type.Boolean(),
  normalizeOutput: Type.Boolean({ description: 'Whether the output is L2-normalised.' }),
}

const Head = Type.Object(
  { kind: Type.String({ description: '`classes`, `projection` or `none`.' }), dOut: Type.Integer(), bias: Type.Boolean() },
  { title: 'Head', additionalProperties: false },
)

export const VisionConfigShape = Type.Object(
  {
    ...transformer,
    imageSize: Size,
    patchSize: Size,
    nChannels: Type.Integer(),
    patchBias: Type.Boolean(),
    hasCls: Type.Boolean(),
    nRegisters: Type.Integer(),
    lnPre: Type.Boolean(),
    finalNorm: Type.String({ description: '`tokens` (before pooling), `pooled` (after it) or `none`.' }),
    pooling: Type.String({ description: '`cls`, `mean` (of patches), `meanAll`, `clsAndMean`, `patches` or `none`.' }),
    head: Head,
  },
  { title: 'VisionConfig', additionalProperties: false },
)

export const TextConfigShape = Type.Object(
  {
    ...transformer,
    contextLength: Type.Integer(),
    vocabSize: Type.Integer(),
    causal: Type.Boolean(),
    pooling: Type.Object(
      {
        kind: Type.String({ description: '`argmax` (the largest token id), `eos`, `first` or `last` (position).' }),
        eosTokenId: Type.Optional(Type.Integer()),
      },
      { title: 'TextPooling', additionalProperties: false },
    ),
    head: Head,
  },
  { title: 'TextConfig', additionalProperties: false },
)

const Output = Type.Object({ axes: Type.Array(Axis), shape: Shape }, { title: 'TowerOutput', additionalProperties: false })

const tower = { output: Output, nHookPoints: Type.Integer(), nParameters: Type.Integer({ format: 'int64' }) }

export const PreprocessingShape = Type.Object(
  {
    resize: Type.Union([
      Type.Object(
        {
          kind: Type.String({ description: '`shortestEdge`, `exact` (squash), `cover` or `longestEdge` (pad).' }),
          size: Type.Optional(Type.Integer({ description: 'Of the shorter side, for `shortestEdge`.' })),
          height: Type.Optional(Type.Integer()),
          width: Type.Optional(Type.Integer()),
          fill: Type.Optional(
            Type.Array(Type.Number(), { description: 'Of the padding, for `longestEdge`; one number, or one a channel.' }),
          ),
        },
        { title: 'Resize', additionalProperties: false },
      ),
      Type.Null(),
    ]),
    resample: Type.String(),
    crop: Type.Union([Size, Type.Null()]),
    rescale: Type.Number(),
    mean: Type.Array(Type.Number()),
    std: Type.Array(Type.Number()),
    mode: Type.String({ description: '`RGB` or `L`.' }),
    conversion: Type.String({
      description:
        'How a palette, alpha or inks become RGB: `dropAlpha` before the resize, `afterResize` after it (alpha weighs the colours, and is dropped).',
    }),
  },
  { title: 'Preprocessing', additionalProperties: false, description: 'What is done to a picture, as the files of the model say.' },
)

export const ProvenanceShape = Type.Object(
  {
    kind: Type.Enum(['hub', 'folder', 'table'], {
      title: 'ProvenanceKind',
      description: '`table`: it stands in a published table, and nobody says where its files are.',
    }),
    name: Type.Optional(Type.String({ description: 'Of the folder or table.' })),
    repo: Type.Optional(Type.String()),
    revision: Type.Optional(Type.String({ description: 'The commit of the hub repository, where one is known.' })),
    requestedRevision: Type.Optional(Type.String()),
    endpoint: Type.Optional(Type.String()),
  },
  { title: 'Provenance', additionalProperties: false },
)

export const ModelFileShape = Type.Object(
  { path: Type.String(), bytes: Type.Integer({ format: 'int64' }), sha256: Type.String() },
  { title: 'ModelFile', additionalProperties: false },
)

export const ModelShape = Type.Object(
  {
    id: Type.String({ 'x-scalar': 'ID', description: 'Stable for ever.' }),
    name: Type.String(),
    layout: Type.String({ description: 'Of the checkpoint: hf-clip, open-clip, hf-vit, hf-dinov2, timm, vit-prisma, toy, refract.' }),
    status: Type.Enum(['loaded', 'available'], {
      title: 'ModelStatus',
      description: '`loaded`: its weights are in memory; `available`: they are read when first needed.',
    }),
    vision: Type.Object({ config: VisionConfigShape, ...tower }, { title: 'VisionTower', additionalProperties: false }),
    text: Type.Union([
      Type.Object({ config: TextConfigShape, ...tower }, { title: 'TextTower', additionalProperties: false }),
      Type.Null(),
    ]),
    preprocessing: PreprocessingShape,
    logitScale: Type.Union([Type.Number(), Type.Null()]),
    logitBias: Type.Union([Type.Number(), Type.Null()]),
    classLabels: Type.Union([Type.Array(Type.String()), Type.Null()], { description: 'Class names of a classifier, by index.' }),
    processing: Type.Array(Type.String(), { description: 'Weight processing applied at load, in order.' }),
    provenance: ProvenanceShape,
    license: Type.Union([Type.String(), Type.Null()]),
    weightsSha256: Type.String(),
    weightBytes: Type.Integer({ format: 'int64' }),
    files: Type.Array(ModelFileShape),
    createdAt: Type.String({ format: 'date-time' }),
  },
  { title: 'Model', additionalProperties: false },
)

export const ModelId = Type.String({
  'x-scalar': 'ID',
  minLength: 1,
  maxLength: 200,
  description: 'The id of a model.',
  examples: ['emoji-clip'],
})

export const TowerShape = Type.Enum(['vision', 'text'], {
  title: 'Tower',
  description: 'Pictures go through `vision`, which is meant unless said; texts through `text`.',
})

export const HookPointShape = Type.Object(
  {
    name: Type.String(),
    axes: Type.Array(Axis),
    shape: Shape,
    meaning: Type.String(),
    optional: Type.Boolean({ description: 'True where it costs extra work and is built only when read or edited.' }),
  },
  { title: 'HookPoint', additionalProperties: false },
)

export type ModelAnswer = Static<typeof ModelShape>
