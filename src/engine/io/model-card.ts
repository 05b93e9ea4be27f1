/**
 * Model cards: a README.md whose YAML front matter hubs read (licence, tags, data sets, results) and whose body people read. For whatever is
 * published: models, SAEs, runs.
 *
 * @see https://huggingface.co/docs/hub/model-cards (the fields), https://yaml.org/spec/1.2.2 (every JSON text is YAML)
 */

export const cardFile = 'README.md'

export interface ModelCard {
  /** Markdown. */
  readonly body: string
  /** Of the model as a whole, for its results. */
  readonly name?: string
  /** As hubs abbreviate it: `mit`, `cc-by-4.0`; `other` with a name and a link. */
  readonly license?: string
  readonly licenseName?: string
  readonly licenseLink?: string
  readonly language?: readonly string[]
  readonly tags?: readonly string[]
  readonly datasets?: readonly string[]
  /** Names of the metrics: `accuracy`. */
  readonly metrics?: readonly string[]
  readonly libraryName?: string
  /** What it is for: `zero-shot-image-classification`. */
  readonly pipelineTag?: string
  readonly baseModel?: string
  readonly results?: readonly CardResult[]
}

/** Numbers measured on one data set. */
export interface CardResult {
  readonly task: string
  readonly dataset: { readonly name: string; readonly type: string; readonly split?: string }
  readonly metrics: readonly { readonly type: string; readonly value: number; readonly name?: string }[]
}

/** The text of README.md. The same card makes the same text. */
export function cardText({ body, ...facts }: ModelCard): string {
  const fields: Readonly<Record<string, Yaml | undefined>> = {
    license: facts.license,
    license_name: facts.licenseName,
    license_link: facts.licenseLink,
    language: facts.language,
    library_name: facts.libraryName,
    pipeline_tag: facts.pipelineTag,
    base_model: facts.baseModel,
    tags: facts.tags,
    datasets: facts.datasets,
    metrics: facts.metrics,
    'model-index': facts.results && [{ name: facts.name ?? 'model', results: facts.results.map(resultFields) }],
  }
  const given = withoutAbsent(fields)
  const front = Object.keys(given).length === 0 ? '' : `---\n${yaml(given, '')}---\n\n`
  return `${front}${body.trim()}\n`
}

function resultFields({ task, dataset, metrics }: CardResult): Yaml {
  return {
    task: { type: task },
    dataset: withoutAbsent(dataset),
    metrics: metrics.map((metric) => withoutAbsent({ ...metric })),
  }
}

type Yaml = string | number | readonly Yaml[] | { readonly [key: string]: Yaml }

/** Fields that are undefined or empty lists are left out. */
function withoutAbsent(fields: Readonly<Record<string, Yaml | undefined>>): { readonly [key: string]: Yaml } {
  const isGiven = (entry: [string, Yaml | undefined]): entry is [string, Yaml] =>
    entry[1] !== undefined && !(Array.isArray(entry[1]) && entry[1].length === 0)
  return Object.fromEntries(Object.entries(fields).filter(isGiven))
}

/** Block style: an object's fields, or a list's items, each on lines of its own behind `indent`. */
function yaml(value: { readonly [key: string]: Yaml } | readonly Yaml[], indent: string): string {
  if (isList(value)) return value.map((item) => `${indent}- ${afterDash(item, indent)}`).join('')
  return Object.entries(value)
    .map(
      ([key, field]) =>
        `${indent}${key}:${isScalar(field) ? ` ${scalar(field)}\n` : `\n${yaml(field, isList(field) ? indent : `${indent}  `)}`}`,
    )
    .join('')
}

/** A list's item begins on the line of its dash. */
function afterDash(item: Yaml, indent: string): string {
  return isScalar(item) ? `${scalar(item)}\n` : yaml(item, `${indent}  `).trimStart()
}

const isList = (value: Yaml): value is readonly Yaml[] => Array.isArray(value)
const isScalar = (value: Yaml): value is string | number => typeof value !== 'object'

/** Words that YAML, in one version or another, takes for something else than a text. */
const reserved = /^(true|false|null|yes|no|on|off|y|n|nan|inf)$/i

/** Plain where nobody can read it otherwise; else in JSON's quotes. A number that JSON has no word for is a text. */
function scalar(value: string | number): string {
  if (typeof value === 'number') return Number.isFinite(value) ? number(value) : JSON.stringify(String(value))
  const isPlain = /^[A-Za-z][\w./-]*( [\w./-]+)*$/.test(value) && !reserved.test(value)
  return isPlain ? value : JSON.stringify(value).replace(/[\u007f-\u009f\u2028\u2029\ufeff]/g, escaped)
}

/** YAML 1.1 reads `1e-7` as a text; with a point it is a number to every version. */
const number = (value: number) => String(value).replace(/^(-?\d+)e/, '$1.0e')

const escaped = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
