import { expect, test } from 'vitest'
import { licenseOfCard } from '../../src/catalog/import/card-license.js'
import { cardText } from '../../src/engine/io/model-card.js'

test('the licence of a card is the one that it was written with', () => {
  expect(licenseOfCard(cardText({ body: '# A model', license: 'cc-by-4.0', tags: ['license: mit'] }))).toBe('cc-by-4.0')
})

test.each([
  ['---\r\nlicense: mit\r\n---\r\n', 'mit'],
  ['\uFEFF---\nlicense: "apache-2.0"\n---', 'apache-2.0'],
  ['---\ntags: [a]\n---\nlicense: mit\n', null],
  ['# license: mit', null],
  ['---\nlicense: [mit, x]\n---\n', null],
  ['---\nlicense: mit\n  broken: [\n---\n', null],
  ['---\nlicense: 3\n---\n', null],
  ['---\na: &a [x]\nlicense: *nobody\n---\n', null],
  ['', null],
])('%j says %s', (text, license) => {
  expect(licenseOfCard(text)).toBe(license)
})
