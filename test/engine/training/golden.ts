/** What `test/fixtures/make/training.py` recorded of PyTorch, and the configurations of its models. */

import fs from 'node:fs'
import path from 'node:path'
import { bytesSource } from '../../../src/engine/io/byte-source.js'
import { readSafetensor, readSafetensorsHeader } from '../../../src/engine/io/safetensors.js'
import type { TextConfig, VisionConfig } from '../../../src/engine/models/model.js'
import type { Tensor } from '../../../src/engine/tensor.js'
import type { ModelObjective } from '../../../src/engine/training/model-objective.js'
import type { Optimizer } from '../../../src/engine/training/optimizers.js'
import type { Schedule } from '../../../src/engine/training/schedules.js'
import type { Batch } from '../../../src/engine/training/stepper.js'

const folder = path.resolve(import.meta.dirname, '../../fixtures/training')

type Steps = readonly Readonly<Record<string, number>>[]
export type GoldenRun = 'classifier' | 'clip' | 'clipGrouped' | 'clipClasses' | 'clipMuon'

export const expected = JSON.parse(fs.readFileSync(path.join(folder, 'expected.json'), 'utf8')) as Record<GoldenRun, Steps> & {
  readonly schedules: {
    readonly nSteps: number
    readonly learningRate: number
    readonly rows: readonly { readonly schedule: Schedule; readonly rates: readonly number[] }[]
  }
  readonly losses: Readonly<Record<string, number>> & Readonly<Record<'logits' | 'labels' | 'image' | 'text' | 'groups', readonly number[]>>
}

export interface GoldenTensors {
  readonly first: Record<string, Tensor>
  readonly last: Record<string, Tensor>
  readonly batches: Batch[]
}

export async function goldenTensors(name: GoldenRun): Promise<GoldenTensors> {
  const source = bytesSource(fs.readFileSync(path.join(folder, `${name}.safetensors`)))
  const header = await readSafetensorsHeader(source, name)
  const golden: GoldenTensors = { first: {}, last: {}, batches: [] }
  for (const key of header.entries.keys()) {
    const tensor = await readSafetensor(source, header, key)
    const [part, ...rest] = key.split('/') as ['first' | 'last' | 'batch', ...string[]]
    if (part === 'batch')
      (golden.batches as Record<string, Tensor>[])[Number(rest[0])] = {
        ...golden.batches[Number(rest[0])],
        [rest.slice(1).join('/')]: tensor,
      }
    else golden[part][rest.join('/')] = tensor
  }
  return golden
}

const tower = {
  nLayers: 1,
  dModel: 8,
  nHeads: 2,
  dHead: 4,
  dMlp: 16,
  activation: 'gelu',
  normalization: 'layerNorm',
  normEps: 1e-5,
  biases: { qkv: true, attnOut: true, mlp: true },
  scaleAttention: true,
  layerScale: false,
  normalizeOutput: true,
} as const

const vision: VisionConfig = {
  ...tower,
  imageSize: { height: 8, width: 8 },
  patchSize: { height: 4, width: 4 },
  nChannels: 3,
  patchBias: true,
  hasCls: true,
  nRegisters: 0,
  lnPre: false,
  finalNorm: 'tokens',
  pooling: 'cls',
  head: { kind: 'projection', dOut: 6, bias: false },
}

const text: TextConfig = {
  ...tower,
  contextLength: 7,
  vocabSize: 20,
  causal: true,
  pooling: { kind: 'argmax' },
  head: { kind: 'projection', dOut: 6, bias: false },
}

const clip: ModelObjective = { kind: 'clip', vision, text }

export interface GoldenSetting {
  readonly objective: ModelObjective
  readonly optimizer: Optimizer
  readonly clipNorm?: number
  readonly learningRate: number
  readonly schedule: Schedule
}

export const settings: Readonly<Record<GoldenRun, GoldenSetting>> = {
  classifier: {
    objective: {
      kind: 'classification',
      labelSmoothing: 0.1,
      vision: {
        ...vision,
        nLayers: 2,
        biases: { qkv: false, attnOut: true, mlp: true },
        normalizeOutput: false,
        head: { kind: 'classes', dOut: 5, bias: true },
      },
    },
    optimizer: { kind: 'adamw', weightDecay: 0.2, beta2: 0.98, epsilon: 1e-6 },
    clipNorm: 1,
    learningRate: 0.01,
    schedule: { kind: 'warmup-cosine', warmupSteps: 3, finalFactor: 0.1 },
  },
  clip: { objective: clip, optimizer: { kind: 'adam' }, clipNorm: 0.5, learningRate: 0.003, schedule: { kind: 'constant' } },
  clipGrouped: {
    objective: { ...clip, grouped: true },
    optimizer: { kind: 'adam' },
    learningRate: 0.003,
    schedule: { kind: 'constant' },
  },
  clipMuon: {
    objective: { ...clip, grouped: true },
    optimizer: { kind: 'muon', weightDecay: 0.2 },
    learningRate: 0.003,
    schedule: { kind: 'constant' },
  },
  clipClasses: {
    objective: {
      ...clip,
      contrastWeight: 0.5,
      textClasses: [
        { name: 'colour', nClasses: 3, weight: 0.7, labelSmoothing: 0.1 },
        { name: 'shape', nClasses: 4, weight: 1.3 },
      ],
      patchDropout: 0.5,
    },
    optimizer: { kind: 'adam' },
    learningRate: 0.003,
    schedule: { kind: 'constant' },
  },
}
