/** Means and standard deviations that the published models were trained with, by the names the libraries give them. */

export const openaiClip = { mean: [0.48145466, 0.4578275, 0.40821073], std: [0.26862954, 0.26130258, 0.27577711] } as const
export const imagenetDefault = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] } as const
export const imagenetStandard = { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] } as const
