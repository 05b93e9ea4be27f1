/**
 * Every operation. Both doors are made from this list.
 */

import { attention } from './attention.js'
import { attentionPicture } from './attention-picture.js'
import { attribution } from './attribution.js'
import { activation, cache } from './cache.js'
import { capabilities } from './capabilities.js'
import { compareImagePair } from './compare-image-pair.js'
import { compareImages } from './compare-images.js'
import { compareSaes } from './compare-saes.js'
import { dataset, datasetItems, datasets } from './datasets.js'
import { createExplanation, deleteExplanation, explanation, explanations } from './explanations.js'
import { featureAttribution } from './feature-attribution.js'
import { featureHeatmap } from './feature-heatmap.js'
import { featureDensity, featureHistogram, saeDensity } from './feature-plots.js'
import { featureSprite } from './feature-sprite.js'
import { features } from './features.js'
import { forward } from './forward.js'
import { heatmap } from './heatmap.js'
import { hookPoints } from './hook-points.js'
import { imageFile } from './image-file.js'
import { image, images } from './images.js'
import { job, jobLog } from './job.js'
import { jobArtifact } from './job-artifact.js'
import { cancelJob, createJob, jobs, resumeJob } from './jobs.js'
import { logitLens } from './logit-lens.js'
import { logitLensPicture } from './logit-lens-picture.js'
import { metrics } from './metrics.js'
import { model } from './model.js'
import { modelGraph } from './model-graph.js'
import { models } from './models.js'
import { patching } from './patching.js'
import { pathPatching } from './path-patching.js'
import { printedGraph } from './printed-graph.js'
import { registerDataset, removeDataset, uploadDataset } from './register-dataset.js'
import { createRun, deleteRun, run, runResult, runs } from './runs.js'
import { sae } from './sae.js'
import { saeFeature } from './sae-feature.js'
import { saeFeatures } from './sae-features.js'
import { saeGeometry } from './sae-geometry.js'
import { saes } from './saes.js'
import { searchFeatures } from './search-features.js'
import { steer } from './steer.js'
import { steerSweep } from './steer-sweep.js'
import { uploadImage } from './upload-image.js'
import { createVector, deleteVector, vector, vectors } from './vectors.js'
import { virtualWeights } from './virtual-weights.js'
import { headComposition, weightCircuits } from './weight-circuits.js'

export const operations = {
  capabilities,
  models,
  model,
  hookPoints,
  modelGraph,
  printedGraph,
  saes,
  sae,
  saeFeatures,
  saeFeature,
  searchFeatures,
  explanations,
  explanation,
  createExplanation,
  deleteExplanation,
  vectors,
  vector,
  createVector,
  deleteVector,
  metrics,
  datasets,
  dataset,
  datasetItems,
  uploadDataset,
  registerDataset,
  removeDataset,
  images,
  image,
  imageFile,
  uploadImage,
  forward,
  features,
  steerSweep,
  steer,
  createRun,
  runs,
  run,
  deleteRun,
  runResult,
  heatmap,
  logitLens,
  logitLensPicture,
  attention,
  attentionPicture,
  patching,
  pathPatching,
  compareImages,
  compareSaes,
  compareImagePair,
  weightCircuits,
  headComposition,
  saeGeometry,
  virtualWeights,
  attribution,
  featureAttribution,
  featureHeatmap,
  featureSprite,
  featureHistogram,
  featureDensity,
  saeDensity,
  cache,
  activation,
  jobs,
  job,
  jobLog,
  jobArtifact,
  createJob,
  cancelJob,
  resumeJob,
}
