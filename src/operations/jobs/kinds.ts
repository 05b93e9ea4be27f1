/** Every kind of long work. The API's schemas, the workers and the documentation derive from this list. */

import type { JobKind } from './job-kind.js'
import { evaluateJob } from './kinds/evaluate.js'
import { importJob } from './kinds/import.js'
import { indexJob } from './kinds/index-features.js'
import { sweepJob } from './kinds/sweep.js'
import { trainModelJob, trainSaeJob } from './kinds/train.js'

export const jobKinds: readonly JobKind[] = [
  importJob,
  trainModelJob,
  trainSaeJob,
  evaluateJob,
  indexJob,
  sweepJob,
] as unknown as readonly JobKind[]

/** For the processes that do the work: they load the same list. */
export const kindsModule = import.meta.url
