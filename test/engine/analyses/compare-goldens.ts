/** The golden numbers of test/fixtures/compare: SciPy's and NumPy's. */

import fs from 'node:fs'
import path from 'node:path'

const folder = path.resolve(import.meta.dirname, '../../fixtures/compare')

export const readGolden = <T>(file: string) => JSON.parse(fs.readFileSync(path.join(folder, file), 'utf8')) as T
