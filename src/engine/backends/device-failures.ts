/**
 * What goes wrong on a device, whichever library computes there. Libraries throw plain errors, and what they mean is only in their text.
 *
 * @see onnxruntime: core/framework/bfc_arena.cc, core/providers/cuda/cuda_call.cc ("CUDA failure 2: out of memory ; GPU=0 ; ..."),
 *   core/providers/webgpu/webgpu_context.cc; Dawn: src/dawn/native; cudaError_t in the CUDA runtime API;
 *   https://learn.microsoft.com/en-us/windows/win32/direct3ddxgi/dxgi-error
 */

import { EngineError } from '../errors.js'

type DeviceFailure = 'DEVICE_LOST' | 'DEVICE_LIMIT_EXCEEDED' | 'DEVICE_OUT_OF_MEMORY'

/** After these of cudaError_t nothing works in that context any more; those of a device that is not to be had (any more) are among them. */
const cudaLost = [46, 100, 101, 214, 220, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719]

/** In this order: a lost device may fail to allocate, and what is beyond a limit is said to be no memory, too. */
const texts: readonly (readonly [DeviceFailure, RegExp])[] = [
  ['DEVICE_LOST', new RegExp(`CUDA (failure|error):? ?\\(?(${cudaLost.join('|')})\\b`, 'i')],
  ['DEVICE_LOST', /illegal memory access|unspecified launch failure|launch timed out|uncorrectable (ECC|NVLink) error|device-side assert/i],
  ['DEVICE_LOST', /cudaError(IllegalAddress|LaunchFailure|LaunchTimeout|ECCUncorrectable|ContextIsDestroyed)/],
  ['DEVICE_LOST', /CUDA_ERROR_(ILLEGAL_ADDRESS|LAUNCH_FAILED|LAUNCH_TIMEOUT|ECC_UNCORRECTABLE|CONTEXT_IS_DESTROYED)/],
  ['DEVICE_LOST', /\b(device|context)\b[^.\n]{0,20} (is |was |has been )?(lost|removed|destroyed)\b|DEVICE_(LOST|REMOVED|HUNG|RESET)\b/i],
  // Direct3D: DEVICE_REMOVED, DEVICE_HUNG, DEVICE_RESET, DRIVER_INTERNAL_ERROR; its texts are in the language of the system.
  ['DEVICE_LOST', /\b(0x)?887A00(05|06|07|20)\b/i],
  // WebGPU: CallbackCancelled and Aborted, for what a lost device was to hand over.
  ['DEVICE_LOST', /MapAsyncStatus value: (2|4)\b/],

  ['DEVICE_LIMIT_EXCEEDED', /(exceeds (the )?|larger than the )max(imum)?\b|allocation size too large|invalid typed array length/i],
  // A tensor that is larger than one binding may be is bound in several.
  ['DEVICE_LIMIT_EXCEEDED', /too many storage buffers/i],

  ['DEVICE_OUT_OF_MEMORY', /out of memory|not enough (memory|storage)|CUDA (failure|error) 2\b|cudaErrorMemoryAllocation|\bOOM\b/i],
  ['DEVICE_OUT_OF_MEMORY', /bad_alloc|bad allocation|failed to allocate|allocation failed|ALLOC_FAILED|OUT_OF_(DEVICE_|HOST_)?MEMORY/i],
  ['DEVICE_OUT_OF_MEMORY', /available memory of \d+ is smaller than requested|Failed to create GPU buffer|\b(0x)?8007000E\b/i],
  // WebGPU says why a buffer could not be made to its log alone; whatever uses it fails with this.
  ['DEVICE_OUT_OF_MEMORY', /\[Invalid Buffer[^\]]*\] is invalid due to a previous error/],
]

/** @param doing  "compiling "clip"", "running "clip"" */
export interface Circumstances {
  readonly device: string
  readonly doing: string
}

/** The error as it is to be thrown on; undefined when it is about something else. */
export function deviceFailure(error: unknown, { device, doing }: Circumstances): EngineError<DeviceFailure> | undefined {
  if (error instanceof EngineError) return undefined
  const text = error instanceof Error ? error.message : String(error)
  const code = texts.find(([, pattern]) => pattern.test(text))?.[0]
  return code && new EngineError(code, { device, doing, problem: text.trim().split('\n', 1)[0]! })
}

const isOf = (error: unknown, ...codes: readonly DeviceFailure[]) =>
  error instanceof EngineError && codes.some((code) => code === error.code)

/** Nothing works there any more, for anybody. */
export const isLost = (error: unknown) => isOf(error, 'DEVICE_LOST')

/** A smaller piece of the same work may do. */
export const isTooMuch = (error: unknown) => isOf(error, 'DEVICE_OUT_OF_MEMORY', 'DEVICE_LIMIT_EXCEEDED')

/** The same work may do, once others have let go of what they hold. */
export const isOutOfMemory = (error: unknown) => isOf(error, 'DEVICE_OUT_OF_MEMORY')
