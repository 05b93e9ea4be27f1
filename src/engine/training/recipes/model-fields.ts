/** What the configurations of a classifier and of a CLIP have in common, beside the architecture and the question. */

import type { StrictFields } from '../../strict-fields.js'
import { readPictureFields } from './picture-data.js'
import { modelOptimizer, readLength, readOptimizer, readRun, readSchedule } from './run-fields.js'
import { readExport } from './write-trained.js'

export function readModelTraining(fields: StrictFields) {
  return {
    /** The share of the patches that a step leaves out. */
    patchDropout: fields.number('patchDropout', { min: 0, max: 0.99, fallback: 0 }),
    pictures: readPictureFields(fields),
    length: readLength(fields),
    nMicroBatches: fields.number('microBatches', { min: 1, max: 1024, integer: true, fallback: 1 }),
    training: readOptimizer(fields.section('optimizer'), modelOptimizer),
    schedule: readSchedule(fields.section('schedule'), { kind: 'warmup-cosine', warmupSteps: 100 }),
    run: readRun(fields.section('run')),
    written: readExport(fields.section('export')),
  }
}
