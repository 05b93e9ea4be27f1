/** The formula of each metric over sums of batches, by the definition's id. */

import type { Sums } from './evaluation-shard.js'
import { type TokenKind, tokenKinds } from './feature-record.js'
import type { ScatterName } from './pooled-scatter.js'

export interface Totals {
  readonly sums: Sums
  /** Squared distances of the tokens from their mean. */
  readonly scatter: Readonly<Partial<Record<ScatterName, number>>>
  /** Latents that were active at all. */
  readonly fired: number
  readonly dSae: number
}

export interface Computed {
  readonly value: number
  /** What the value was divided by; 0: the value is not defined. */
  readonly denominator?: number
  /** A denominator nearer to 0 makes the value ill-conditioned. */
  readonly least?: number
  /** Grows with the number of pictures: an interval over batches would mean nothing. */
  readonly isMaximum?: true
}

/** Undefined: not measured. */
export type Formula = (totals: Totals) => Computed | undefined

/** In nats: a hook point that is worth less makes `recovered` ill-conditioned. */
export const LEAST_WORTH = 0.02

/** `numerator / denominator` of two sums. */
const quotient =
  (numerator: string, denominator: string): Formula =>
  ({ sums }) => {
    const [over, under] = [sums[numerator], sums[denominator]]
    return over === undefined || under === undefined ? undefined : { value: over / under, denominator: under }
  }

const perPicture = (name: string): Formula => quotient(name, 'images')
const perBatch = (name: string): Formula => quotient(name, 'batches')

const explainedVariance =
  (kind?: TokenKind): Formula =>
  ({ sums, scatter }) => {
    const error = sums[kind ? `${kind}.error` : 'error']
    const under = scatter[kind ?? 'all']
    return error === undefined || under === undefined ? undefined : { value: 1 - error / under, denominator: under }
  }

/** One formula for all tokens and for each kind. */
const perKind = (metric: string, of: (kind?: TokenKind) => Formula): Record<string, Formula> => ({
  [metric]: of(),
  ...Object.fromEntries(tokenKinds.map((kind) => [`${kind}-${metric}`, of(kind)])),
})

const named = (kind: TokenKind | undefined, name: string) => (kind ? `${kind}.${name}` : name)

/** Of two formulas the numbers that they give. */
const combined =
  (formulas: readonly Formula[], of: (...values: number[]) => Computed): Formula =>
  (totals) => {
    const values = formulas.map((formula) => formula(totals)?.value)
    return values.includes(undefined) ? undefined : of(...(values as number[]))
  }

const scaled =
  (formula: Formula, factor: number): Formula =>
  (totals) => {
    const made = formula(totals)
    return made && { ...made, value: made.value * factor }
  }

const alive: Formula = ({ fired, dSae }) => ({ value: fired / dSae, isMaximum: true })

const [ce, reconstructionCe, zeroCe] = [perPicture('clean.ce'), perPicture('reconstruction.ce'), perPicture('zero.ce')]
const [reconstructionKl, zeroKl] = [perPicture('reconstruction.kl'), perPicture('zero.kl')]
const [prismaCe, prismaReconstructionCe, prismaZeroCe] = [
  perBatch('clean.prismaCe'),
  perBatch('reconstruction.prismaCe'),
  perBatch('zeroAll.prismaCe'),
]

export const metricFormulas: Readonly<Record<string, Formula>> = {
  ...perKind('explained-variance', explainedVariance),
  'explained-variance-about-zero': ({ sums }) => ({ value: 1 - sums.error! / sums.square!, denominator: sums.square! }),
  mse: ({ sums }) => ({ value: (sums.error! * sums.batches!) / (sums.tokens! * sums.channels!) }),
  ...perKind('cosine-similarity', (kind) => quotient(named(kind, 'cosine'), named(kind, 'tokens'))),
  'norm-ratio': quotient('normRatio', 'normRatioTokens'),
  'relative-reconstruction-bias': quotient('predictedSquare', 'dot'),
  ...perKind('l0', (kind) => quotient(named(kind, 'l0'), named(kind, 'tokens'))),
  'image-l0': perPicture('imageL0'),
  'alive-share': alive,
  'output-cosine-similarity': perPicture('reconstruction.outputCosine'),
  ce,
  'reconstruction-ce': reconstructionCe,
  'zero-ablation-ce': zeroCe,
  'ce-denominator': combined([zeroCe, ce], (zero, clean) => ({ value: zero - clean })),
  'ce-recovered': combined([zeroCe, reconstructionCe, ce], (zero, spliced, clean) => ({
    value: (zero - spliced) / (zero - clean),
    denominator: zero - clean,
    least: LEAST_WORTH,
  })),
  'reconstruction-kl': reconstructionKl,
  'zero-ablation-kl': zeroKl,
  'kl-recovered': combined([zeroKl, reconstructionKl], (zero, spliced) => ({
    value: (zero - spliced) / zero,
    denominator: zero,
    least: LEAST_WORTH,
  })),
  accuracy: perPicture('clean.correct'),
  'reconstruction-accuracy': perPicture('reconstruction.correct'),
  'zero-ablation-accuracy': perPicture('zero.correct'),
  agreement: perPicture('reconstruction.agreed'),
  'prisma/explained-variance': scaled(perBatch('prismaEv'), 100),
  'prisma/l0': quotient('patch.l0', 'patch.tokens'),
  'prisma/cls-l0': quotient('cls.l0', 'cls.tokens'),
  'prisma/image-l0': perPicture('imageL0'),
  'prisma/cosine-similarity': perBatch('prismaCosine'),
  'prisma/reconstruction-cosine-similarity': perPicture('reconstruction.outputCosine'),
  'prisma/ce': prismaCe,
  'prisma/reconstruction-ce': prismaReconstructionCe,
  'prisma/zero-ablation-ce': prismaZeroCe,
  'prisma/ce-recovered': combined([prismaZeroCe, prismaReconstructionCe, prismaCe], (zero, spliced, clean) => ({
    value: (100 * (zero - spliced)) / (zero - clean + 1e-6),
    denominator: zero - clean + 1e-6,
    least: LEAST_WORTH,
  })),
  'prisma/alive-features': scaled(alive, 100),
}
