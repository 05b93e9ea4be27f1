/**
 * Every metric of SAEs: what it is, to the formula, so that a number can be cited. A definition never changes once values of it exist;
 * a better one is a new version.
 *
 * Terminology
 *   x, x^       a token's activation at the hook point that the SAE predicts, and the SAE's prediction of it
 *   f           latents of a token; active: above 0
 *   clean, reconstruction, zero-ablation
 *               the model as it is, with x^ in the place of x, and with 0 in its place
 *   tokens      those that the SAE is for (all of them, CLS, or patches), where a metric does not say otherwise
 *
 * `standard`      what this project computes and means
 * `prisma-compat` what ViT-Prisma's published table says, so that its numbers can be compared; quirks and all. The table does not say how
 *                 some of its columns were made; a definition that was found by matching its numbers says so (`inferred`).
 *
 * @see ViT-Prisma, `src/vit_prisma/sae/evals/evals.py` and `docs/sae_table.md`
 */

export type MetricUnit = 'share' | 'percent' | 'nats' | 'latents' | 'cosine' | 'ratio' | 'squared-activation'

/** What a data set and a model must have for a metric: `class-scores` a classifier or text classes, `labels` the true class of each picture. */
export type MetricNeed = 'activations' | 'latents' | 'cls' | 'patches' | 'registers' | 'output' | 'class-scores' | 'labels'

export interface MetricDefinition {
  /** `explained-variance`, `prisma/l0`; stable for ever. */
  readonly id: string
  readonly version: number
  readonly name: string
  readonly formula: string
  readonly unit: MetricUnit
  /** Absent where neither is better. */
  readonly higherIsBetter?: boolean
  readonly needs: readonly MetricNeed[]
  readonly family: 'standard' | 'prisma-compat'
  /** Where the formula is from. */
  readonly source: string
  /** What the published number's maker does not say, and how it is taken to be. */
  readonly inferred?: string
}

type Row = Omit<MetricDefinition, 'version' | 'family' | 'source'> & { readonly source?: string }

const standard = (row: Row): MetricDefinition => ({ version: 1, family: 'standard', source: 'Refract', ...row })
const compat = (row: Row): MetricDefinition => ({ version: 1, family: 'prisma-compat', source: 'ViT-Prisma aa5ff6a, evals.py', ...row })

/** A metric over all tokens that the SAE is for, and over those of each kind apart. */
function perKind(row: Omit<Row, 'id' | 'name'> & { readonly metric: string; readonly title: string }): MetricDefinition[] {
  const { metric, title, needs, formula, ...rest } = row
  return [
    standard({ ...rest, id: metric, name: title, formula, needs }),
    standard({ ...rest, id: `cls-${metric}`, name: `${title}, CLS`, formula: `${formula}; over CLS tokens`, needs: [...needs, 'cls'] }),
    standard({
      ...rest,
      id: `register-${metric}`,
      name: `${title}, registers`,
      formula: `${formula}; over register tokens`,
      needs: [...needs, 'registers'],
    }),
    standard({
      ...rest,
      id: `patch-${metric}`,
      name: `${title}, patches`,
      formula: `${formula}; over patch tokens`,
      needs: [...needs, 'patches'],
    }),
  ]
}

const scored = ['output', 'class-scores', 'labels'] as const
const compared = ['output', 'class-scores'] as const

const reconstruction: readonly MetricDefinition[] = [
  ...perKind({
    metric: 'explained-variance',
    title: 'Explained variance',
    formula: '1 - sum |x - x^|^2 / sum |x - m|^2, both sums over all tokens of all pictures, m their mean',
    unit: 'share',
    higherIsBetter: true,
    needs: ['activations'],
  }),
  standard({
    id: 'explained-variance-about-zero',
    name: 'Explained variance about zero',
    formula: '1 - sum |x - x^|^2 / sum |x|^2; higher than the explained variance wherever the mean is not zero',
    unit: 'share',
    higherIsBetter: true,
    needs: ['activations'],
  }),
  standard({
    id: 'mse',
    name: 'Mean squared error',
    formula: 'mean over tokens and elements of (x - x^)^2',
    unit: 'squared-activation',
    higherIsBetter: false,
    needs: ['activations'],
  }),
  ...perKind({
    metric: 'cosine-similarity',
    title: 'Cosine similarity',
    formula: 'mean over tokens of cos(x, x^)',
    unit: 'cosine',
    higherIsBetter: true,
    needs: ['activations'],
  }),
  standard({
    id: 'norm-ratio',
    name: 'Ratio of norms',
    formula: 'mean over tokens of |x^| / |x|; below 1 the SAE shrinks',
    unit: 'ratio',
    needs: ['activations'],
  }),
  standard({
    id: 'relative-reconstruction-bias',
    name: 'Relative reconstruction bias',
    formula: 'sum |x^|^2 / sum <x, x^>; 1 where x^ is unbiased',
    unit: 'ratio',
    needs: ['activations'],
    source: 'Rajamanoharan et al. 2024, "Improving dictionary learning with gated sparse autoencoders"',
  }),
]

const sparsity: readonly MetricDefinition[] = [
  ...perKind({
    metric: 'l0',
    title: 'L0',
    formula: 'mean over tokens of the number of active latents',
    unit: 'latents',
    needs: ['latents'],
  }),
  standard({
    id: 'image-l0',
    name: 'Image L0',
    formula: 'mean over pictures of the number of latents active at any of its tokens',
    unit: 'latents',
    needs: ['latents'],
  }),
  standard({
    id: 'alive-share',
    name: 'Alive latents',
    formula: 'share of latents that are active on at least one token of the n pictures; grows with n',
    unit: 'share',
    higherIsBetter: true,
    needs: ['latents'],
  }),
]

const behaviour: readonly MetricDefinition[] = [
  standard({
    id: 'output-cosine-similarity',
    name: "Cosine similarity of the model's output",
    formula: 'mean over pictures of cos(output clean, output with the reconstruction)',
    unit: 'cosine',
    higherIsBetter: true,
    needs: ['output'],
  }),
  standard({
    id: 'ce',
    name: 'Cross-entropy',
    formula:
      "mean over pictures of -ln softmax(logits)[label]; logits of a classifier, or of text classes with the model's own logit scale and bias",
    unit: 'nats',
    higherIsBetter: false,
    needs: scored,
  }),
  standard({
    id: 'reconstruction-ce',
    name: 'Cross-entropy with the reconstruction',
    formula: 'ce with x^ in the place of x at the tokens that the SAE is for',
    unit: 'nats',
    higherIsBetter: false,
    needs: scored,
  }),
  standard({
    id: 'zero-ablation-ce',
    name: 'Cross-entropy with zeros',
    formula: 'ce with 0 in the place of x at the tokens that the SAE is for',
    unit: 'nats',
    needs: scored,
  }),
  standard({
    id: 'ce-denominator',
    name: 'Cross-entropy that the hook point is worth',
    formula: 'zero-ablation-ce - ce: the denominator of ce-recovered',
    unit: 'nats',
    needs: scored,
  }),
  standard({
    id: 'ce-recovered',
    name: 'Cross-entropy recovered',
    formula: '(zero-ablation-ce - reconstruction-ce) / (zero-ablation-ce - ce); flagged where the denominator is below 0.02 nats',
    unit: 'share',
    higherIsBetter: true,
    needs: scored,
  }),
  standard({
    id: 'reconstruction-kl',
    name: 'KL divergence with the reconstruction',
    formula: 'mean over pictures of KL(softmax(logits clean) || softmax(logits with x^ at the tokens that the SAE is for))',
    unit: 'nats',
    higherIsBetter: false,
    needs: compared,
  }),
  standard({
    id: 'zero-ablation-kl',
    name: 'KL divergence with zeros',
    formula:
      'mean over pictures of KL(softmax(logits clean) || softmax(logits with 0 at the tokens that the SAE is for)): the denominator of kl-recovered',
    unit: 'nats',
    needs: compared,
  }),
  standard({
    id: 'kl-recovered',
    name: 'KL divergence recovered',
    formula: '(zero-ablation-kl - reconstruction-kl) / zero-ablation-kl; flagged where the denominator is below 0.02 nats',
    unit: 'share',
    higherIsBetter: true,
    needs: compared,
    source: 'SAELens 6, evals.py',
  }),
  standard({
    id: 'accuracy',
    name: 'Accuracy',
    formula: 'share of pictures whose label has the largest logit, the first of equals',
    unit: 'share',
    higherIsBetter: true,
    needs: scored,
  }),
  standard({
    id: 'reconstruction-accuracy',
    name: 'Accuracy with the reconstruction',
    formula: 'accuracy with x^ in the place of x at the tokens that the SAE is for',
    unit: 'share',
    higherIsBetter: true,
    needs: scored,
  }),
  standard({
    id: 'zero-ablation-accuracy',
    name: 'Accuracy with zeros',
    formula: 'accuracy with 0 in the place of x at the tokens that the SAE is for',
    unit: 'share',
    needs: scored,
  }),
  standard({
    id: 'agreement',
    name: 'Agreement of the answers',
    formula: 'share of pictures whose class with the largest logit is the same with the reconstruction',
    unit: 'share',
    higherIsBetter: true,
    needs: compared,
  }),
]

const matchedByNumbers = 'found by matching the published numbers; the table does not say'

const prismaCompat: readonly MetricDefinition[] = [
  compat({
    id: 'prisma/explained-variance',
    name: 'Explained variance (Prisma)',
    formula: 'mean over tokens of 1 - |x - x^|^2 / |x - m|^2, m the mean of the batch; mean over batches; times 100',
    unit: 'percent',
    higherIsBetter: true,
    needs: ['activations'],
    source: 'ViT-Prisma aa5ff6a, train_sae.py',
    inferred: 'the published value is the last of the training log, over a batch of training tokens',
  }),
  compat({
    id: 'prisma/l0',
    name: 'L0 (Prisma)',
    formula: 'mean over patch tokens of the number of active latents; CLS is left out',
    unit: 'latents',
    needs: ['latents', 'patches'],
    inferred: `that CLS is left out was ${matchedByNumbers}`,
  }),
  compat({
    id: 'prisma/cls-l0',
    name: 'CLS L0 (Prisma)',
    formula: 'mean over pictures of the number of active latents of the CLS token',
    unit: 'latents',
    needs: ['latents', 'cls'],
  }),
  compat({
    id: 'prisma/image-l0',
    name: 'Image L0 (Prisma)',
    formula: 'mean over pictures of the number of latents active at any of its tokens',
    unit: 'latents',
    needs: ['latents'],
  }),
  compat({
    id: 'prisma/cosine-similarity',
    name: 'Cosine similarity (Prisma)',
    formula:
      'of each channel the cosine of its values over all tokens of the batch, in x and in x^; mean over channels, then over batches. Not a cosine of tokens',
    unit: 'cosine',
    higherIsBetter: true,
    needs: ['activations'],
  }),
  compat({
    id: 'prisma/reconstruction-cosine-similarity',
    name: 'Reconstruction cosine similarity (Prisma)',
    formula: 'mean over pictures of cos(output clean, output with x^ in the place of x)',
    unit: 'cosine',
    higherIsBetter: true,
    needs: ['output'],
    inferred: 'the code is commented out in every published revision; taken to be of the final image embeddings',
  }),
  compat({
    id: 'prisma/ce',
    name: 'Cross-entropy (Prisma)',
    formula:
      'mean of batch means of the cross-entropy of cosines between image embedding and text embeddings of the bare class names: logit scale 1, so that 1000 classes lie between 6.76 and ln 1000; a classifier as it is',
    unit: 'nats',
    higherIsBetter: false,
    needs: scored,
  }),
  compat({
    id: 'prisma/reconstruction-ce',
    name: 'Cross-entropy with the reconstruction (Prisma)',
    formula: 'prisma/ce with x^ in the place of x at the tokens that the SAE was trained on',
    unit: 'nats',
    higherIsBetter: false,
    needs: scored,
    inferred: `that SAEs of CLS or of patches replace those tokens only was ${matchedByNumbers}; the published code replaces all`,
  }),
  compat({
    id: 'prisma/zero-ablation-ce',
    name: 'Cross-entropy with zeros (Prisma)',
    formula: 'prisma/ce with 0 in the place of x at all tokens, whatever tokens the SAE was trained on',
    unit: 'nats',
    needs: scored,
  }),
  compat({
    id: 'prisma/ce-recovered',
    name: 'Cross-entropy recovered (Prisma)',
    formula:
      '(zero - reconstruction) / (zero - ce + 1e-6) of the three prisma averages, times 100; flagged where the denominator is below 0.02 nats',
    unit: 'percent',
    higherIsBetter: true,
    needs: scored,
  }),
  compat({
    id: 'prisma/alive-features',
    name: 'Alive features (Prisma)',
    formula: 'share of latents that are active on at least one token of the n pictures, times 100',
    unit: 'percent',
    higherIsBetter: true,
    needs: ['latents'],
    inferred: 'the code counts activations of each latent and does not report the share; taken to be over the evaluation set',
  }),
]

export const metricDefinitions: readonly MetricDefinition[] = [...reconstruction, ...sparsity, ...behaviour, ...prismaCompat]

/**
 * What is said beside a value.
 * `ill-conditioned`: the quotient's denominator is too small for the value to mean much. `few-batches`: the interval rests on fewer than
 * 10 batches. `not-defined`: there is no value, because what it divides by is zero or nothing was measured. `not-finite`: the SAE or the
 * model made a number that is none. `other-prompts`: a prisma-compat cross-entropy over other texts than the bare class names.
 */
export const metricFlags = ['ill-conditioned', 'few-batches', 'not-defined', 'not-finite', 'other-prompts'] as const
export type MetricFlag = (typeof metricFlags)[number]

/** A value as it was measured. */
export interface MetricValue {
  readonly metric: string
  /** Of the definition. */
  readonly version: number
  /** In the definition's unit. Null where it is not defined. */
  readonly value: number | null
  /** 95 % confidence interval over batches; absent where one batch or the kind of metric gives none. */
  readonly low?: number
  readonly high?: number
  readonly flags: readonly MetricFlag[]
  /** Number of pictures. */
  readonly n: number
}

const byId = new Map(metricDefinitions.map((definition) => [definition.id, definition]))

export function metricDefinition(id: string): MetricDefinition | undefined {
  return byId.get(id)
}
