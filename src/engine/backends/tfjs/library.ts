/**
 * TensorFlow.js as the user has it: none of its packages is a dependency, and whichever is installed can be computed on. Their order is that of
 * their speed.
 */

import type * as Tfjs from '@tensorflow/tfjs-core'
import { EngineError } from '../../errors.js'

export type Tf = typeof Tfjs

interface Flavour {
  /** npm packages it takes. */
  readonly packages: readonly string[]
  /** TensorFlow.js' own name of it. */
  readonly backend: string
}

/** By device. */
export const flavours = {
  'node-gpu': { packages: ['@tensorflow/tfjs-node-gpu'], backend: 'tensorflow' },
  node: { packages: ['@tensorflow/tfjs-node'], backend: 'tensorflow' },
  wasm: { packages: ['@tensorflow/tfjs-core', '@tensorflow/tfjs-backend-wasm'], backend: 'wasm' },
  cpu: { packages: ['@tensorflow/tfjs-core', '@tensorflow/tfjs-backend-cpu'], backend: 'cpu' },
} as const satisfies Record<string, Flavour>

export type FlavourName = keyof typeof flavours

/**
 * Loads a flavour, or the first that loads. TensorFlow.js computes on one of its backends at a time in a process.
 * @param flavour  `auto`, or a name
 * @throws DEVICE_UNAVAILABLE saying of each why not
 */
export async function loadTf(flavour: string): Promise<{ readonly tf: Tf; readonly flavour: FlavourName }> {
  const names = Object.keys(flavours) as FlavourName[]
  const asked = flavour === 'auto' ? names : names.filter((name) => name === flavour)
  const failures: string[] = asked.length === 0 ? [`there is no ${flavour}; there are ${names.join(', ')}`] : []
  for (const name of asked) {
    const { packages, backend } = flavours[name]
    try {
      const loaded: { readonly [name: string]: unknown }[] = []
      for (const each of packages) loaded.push(await import(each))
      const tf = moduleOf(loaded[0]!)
      tf.enableProdMode() // and no advice on standard error
      if (!(await tf.setBackend(backend))) throw new Error(`its ${backend} backend does not start`)
      await tf.ready()
      return { tf, flavour: name }
    } catch (error) {
      failures.push(`${name} (${packages.join(' and ')}): ${firstLine(error)}`)
    }
  }
  throw new EngineError('DEVICE_UNAVAILABLE', { device: `tfjs:${flavour}`, why: failures.join('; '), available: [] })
}

/** The packages are CommonJS: their exports may be under `default`. */
function moduleOf(loaded: { readonly default?: unknown }): Tf {
  return ('setBackend' in loaded ? loaded : loaded.default) as Tf
}

const firstLine = (error: unknown) => (error instanceof Error ? error.message : String(error)).split('\n', 1)[0]!
