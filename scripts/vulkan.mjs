/**
 * A Vulkan driver for machines without a GPU: SwiftShader, as Chromium's package brings it along (`apt-get install chromium`). It computes on the CPU,
 * slowly, and lets WebGPU be tried and tested.
 */

import fs from 'node:fs'
import path from 'node:path'

const CHROMIUM = '/usr/lib/chromium'

/** What must be in the environment of a process that is to find it. Nothing where it is not installed, or the user has chosen a driver. */
export function softwareVulkan(env = process.env) {
  const driver = path.join(CHROMIUM, 'vk_swiftshader_icd.json')
  if (env.VK_ICD_FILENAMES !== undefined || !fs.existsSync(driver)) return {}
  const libraries = [env.LD_LIBRARY_PATH, CHROMIUM].filter((folder) => folder !== undefined && folder !== '')
  return { VK_ICD_FILENAMES: driver, LD_LIBRARY_PATH: libraries.join(path.delimiter) }
}
