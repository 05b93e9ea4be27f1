/**
 * Data sets that are drawn by code: an item is drawn when it is asked for, and the hash says by which generator, in which version, with
 * which parameters.
 */

import type { Pixels } from '../../image/pixels.js'
import { type Dataset, type DatasetItem, type Facets, hashOf, nothingToReport } from '../dataset.js'

export interface Generator {
  readonly name: string
  /** Counts up when a picture, a label or the order changes. */
  readonly version: number
  /** Whatever else the pictures depend on. */
  readonly parameters: Readonly<Record<string, unknown>>
  readonly size: number
  readonly classNames: readonly string[]
  readonly describe: (index: number) => { readonly label: number; readonly facets: Facets }
  readonly draw: (index: number) => Pixels
}

export function generated({ name, version, parameters, size, classNames, describe, draw }: Generator): Dataset {
  return {
    name,
    hash: hashOf('generated', name, version, parameters),
    size,
    classNames,
    nClasses: classNames.length,
    report: nothingToReport,
    item: (index): DatasetItem => ({ name: `${name} ${index}`, picture: { kind: 'drawn', draw: () => draw(index) }, ...describe(index) }),
  }
}
