/**
 * The registry of metrics: what each number of an SAE is.
 */

import { Type } from 'typebox'
import { type MetricDefinition, metricDefinitions } from '../engine/evaluation/metric-definitions.js'
import { defineOperation } from './operation.js'

const valuesOf = <K extends 'unit' | 'family'>(key: K): MetricDefinition[K][] => [
  ...new Set(metricDefinitions.map((definition) => definition[key])),
]

const MetricShape = Type.Object(
  {
    id: Type.String({ 'x-scalar': 'ID', description: 'Stable for ever.' }),
    version: Type.Integer({ description: 'A definition never changes: a better one has another version.' }),
    name: Type.String(),
    formula: Type.String(),
    unit: Type.Enum(valuesOf('unit'), { title: 'MetricUnit' }),
    higherIsBetter: Type.Union([Type.Boolean(), Type.Null()], { description: 'Null where neither is better.' }),
    needs: Type.Array(Type.String(), { description: 'What a data set and a model must have for it.' }),
    family: Type.Enum(valuesOf('family'), {
      title: 'MetricFamily',
      description: '`standard`: as this server defines it; `prisma-compat`: as the published table has it, to compare with.',
    }),
    source: Type.String({ description: 'Where the formula is from.' }),
    inferred: Type.Union([Type.String(), Type.Null()], {
      description: 'What the maker of the published number does not say, and how it is taken to be.',
    }),
  },
  { title: 'MetricDefinition', additionalProperties: false },
)

export const metrics = defineOperation({
  name: 'metrics',
  kind: 'query',
  scope: 'read',
  summary: 'The metrics of SAEs: what each number is, to the formula',
  input: Type.Object({}, { title: 'MetricsInput', additionalProperties: false }),
  output: Type.Object(
    {
      items: Type.Array(MetricShape),
      nextCursor: Type.Null({ description: 'All of them are on one page.' }),
    },
    { title: 'MetricList', additionalProperties: false },
  ),
  example: {},

  async run() {
    const items = metricDefinitions.map(({ higherIsBetter = null, inferred = null, needs, ...definition }) => ({
      ...definition,
      higherIsBetter,
      inferred,
      needs: [...needs],
    }))
    return { items, nextCursor: null }
  },
})
