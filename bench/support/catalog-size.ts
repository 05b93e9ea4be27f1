/** How large the catalog is that is loaded and read: `CATALOG_SAES`, `CATALOG_WIDTH`. */

export const N_SAES = Number(process.env.CATALOG_SAES ?? 100)
export const WIDTH = Number(process.env.CATALOG_WIDTH ?? 49_152)
export const MODEL = 'bench'
export const ids = Array.from({ length: N_SAES }, (_, at) => `${MODEL}.${at}-resid-post.vanilla`)
