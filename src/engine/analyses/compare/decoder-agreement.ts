/** What cosines of matched features say of two SAEs, or of several. */

export interface Agreement {
  /** Over all latents, those without a match counting 0: the mean max cosine similarity where each has its nearest. */
  readonly meanCosine: number
  readonly medianCosine: number
  readonly above70: number
  readonly above90: number
}

/** @param cosines  of each latent with its match */
export function agreementOf(cosines: Float32Array): Agreement {
  const n = cosines.length
  const sorted = Float32Array.from(cosines).sort()
  const middle = (sorted[Math.floor((n - 1) / 2)]! + sorted[Math.ceil((n - 1) / 2)]!) / 2
  const share = (limit: number) => sorted.filter((cosine) => cosine > limit).length / n
  return { meanCosine: sorted.reduce((sum, cosine) => sum + cosine, 0) / n, medianCosine: middle, above70: share(0.7), above90: share(0.9) }
}

/** How stable each latent is over several others SAEs: the mean of its largest cosine in each. @param others  by SAE, at least one */
export function stabilityOf(others: readonly Float32Array[]): Float32Array {
  return others[0]!.map((_, latent) => others.reduce((sum, cosines) => sum + cosines[latent]!, 0) / others.length)
}
