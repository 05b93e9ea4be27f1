/**
 * What happens inside the host, for whoever counts or logs it. The engine itself does neither.
 */

/** Times in milliseconds. */
export type HostEvent =
  | { readonly kind: 'run'; readonly nRequests: number; readonly nRows: number; readonly ms: number }
  | { readonly kind: 'load'; readonly model: string; readonly bytes: number; readonly ms: number }
  | { readonly kind: 'load-sae'; readonly sae: string; readonly bytes: number; readonly ms: number }
  | { readonly kind: 'compile'; readonly program: string; readonly ms: number }
  | { readonly kind: 'worker-died'; readonly device: string; readonly reason: string }
