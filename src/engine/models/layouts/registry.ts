/**
 * Every checkpoint layout, in the order in which they are tried.
 */

import { EngineError } from '../../errors.js'
import { hfClip } from './hf-clip.js'
import { hfDinov2 } from './hf-dinov2.js'
import { hfVit } from './hf-vit.js'
import type { CheckpointFiles, Layout } from './layout.js'
import { openClip } from './open-clip.js'
import { refract } from './refract.js'
import { timm } from './timm.js'
import { toy } from './toy.js'
import { vitPrisma } from './vit-prisma.js'

export const layouts: readonly Layout[] = [openClip, hfClip, hfVit, hfDinov2, timm, vitPrisma, toy, refract]

const supported =
  'Supported: CLIPModel, CLIPVisionModelWithProjection, ViTModel, ViTForImageClassification, Dinov2Model and Dinov2WithRegistersModel of transformers, open_clip, timm VisionTransformer, ViT-Prisma, and what Refract writes.'

/** @throws MODEL_UNSUPPORTED saying what the folder's configuration claims to be */
export function detectLayout(files: CheckpointFiles): Layout {
  const layout = layouts.find(({ detect }) => detect(files))
  if (layout) return layout
  const claims = files.json.get('config.json')
  const claim = claims?.model_type ?? (Array.isArray(claims?.architectures) ? claims.architectures[0] : undefined)
  const names = [...files.tensors.keys()].slice(0, 3).join(', ')
  const what = claim === undefined ? `This folder (its weights begin with ${names})` : `The model type "${String(claim).slice(0, 80)}"`
  throw new EngineError('MODEL_UNSUPPORTED', { what, supported })
}
