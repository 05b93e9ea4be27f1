/** The layouts that SAEs are read from and written in. */

import type { SaeLayout, SaeLayoutName } from './layout.js'
import { refract } from './refract.js'
import { saeLens } from './sae-lens.js'
import { vitPrisma } from './vit-prisma.js'

/** The first that finds its weights reads the folder. */
export const saeLayouts: Readonly<Record<SaeLayoutName, SaeLayout>> = { refract, 'sae-lens': saeLens, 'vit-prisma': vitPrisma }

export const saeLayoutNames = Object.keys(saeLayouts) as readonly SaeLayoutName[]
