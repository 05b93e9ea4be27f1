import { expect, test } from 'vitest'
import { cardText } from '../../../src/engine/io/model-card.js'

test('a card has its facts in front, in YAML that a parser reads as they were given, and its text behind', () => {
  const text = cardText({
    body: '\n# A model\n\nText.\n',
    name: 'insects',
    license: 'other',
    licenseName: 'open: "fonts"',
    tags: ['vision', 'yes', '1.0', 'a: b', '# x', '', 'ünï', '- a', 'line\nbreak\u2028'],
    datasets: ['org/emoji set'],
    metrics: [],
    results: [
      {
        task: 'image-classification',
        dataset: { name: 'Emoji "x"', type: 'org/emoji', split: 'test' },
        metrics: [
          { type: 'accuracy', value: 0.651, name: 'top 1' },
          { type: 'f1', value: 1e-7 },
        ],
      },
    ],
  })
  // seen by PyYAML 6 to be what was given
  expect(text).toBe(`---
license: other
license_name: "open: \\"fonts\\""
tags:
- vision
- "yes"
- "1.0"
- "a: b"
- "# x"
- ""
- "ünï"
- "- a"
- "line\\nbreak\\u2028"
datasets:
- org/emoji set
model-index:
- name: insects
  results:
  - task:
      type: image-classification
    dataset:
      name: "Emoji \\"x\\""
      type: org/emoji
      split: test
    metrics:
    - type: accuracy
      value: 0.651
      name: top 1
    - type: f1
      value: 1.0e-7
---

# A model

Text.
`)
})

test('a card without facts is its text', () => {
  expect(cardText({ body: '# A model' })).toBe('# A model\n')
})
