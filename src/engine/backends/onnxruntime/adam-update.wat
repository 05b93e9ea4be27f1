;; One step of Adam over n elements of float32, at least 1, in float64 (operators/updates.ts says the formula; adam-update.ts runs it).
;; Parameter, gradient and moments lie in one page of memory, a quarter each: p, g, m, v. New values take the place of old ones.
;; Two elements at a time; of an odd count the one behind the last is computed, too, and means nothing.
(module
  (memory (export "memory") 1)
  (func (export "update")
    (param $n i32) (param $beta1 f64) (param $beta2 f64) (param $rate f64) (param $epsilon f64) (param $decay f64)
    (local $at i32) (local $end i32) ;; bytes
    (local $g v128) (local $m v128) (local $v v128)
    (local.set $end (i32.shl (local.get $n) (i32.const 2)))
    (loop $next
      (local.set $g (f64x2.promote_low_f32x4 (v128.load64_zero offset=0x4000 (local.get $at))))
      (local.set $m ;; beta1 m + g
        (f64x2.add
          (f64x2.mul (f64x2.splat (local.get $beta1)) (f64x2.promote_low_f32x4 (v128.load64_zero offset=0x8000 (local.get $at))))
          (local.get $g)))
      (local.set $v ;; beta2 v + g^2
        (f64x2.add
          (f64x2.mul (f64x2.splat (local.get $beta2)) (f64x2.promote_low_f32x4 (v128.load64_zero offset=0xC000 (local.get $at))))
          (f64x2.mul (local.get $g) (local.get $g))))
      (v128.store64_lane offset=0x8000 0 (local.get $at) (f32x4.demote_f64x2_zero (local.get $m)))
      (v128.store64_lane offset=0xC000 0 (local.get $at) (f32x4.demote_f64x2_zero (local.get $v)))
      (v128.store64_lane offset=0x0000 0 (local.get $at)
        (f32x4.demote_f64x2_zero ;; decay p - rate m / (sqrt(v) + epsilon)
          (f64x2.sub
            (f64x2.mul (f64x2.splat (local.get $decay)) (f64x2.promote_low_f32x4 (v128.load64_zero offset=0x0000 (local.get $at))))
            (f64x2.div
              (f64x2.mul (f64x2.splat (local.get $rate)) (local.get $m))
              (f64x2.add (f64x2.sqrt (local.get $v)) (f64x2.splat (local.get $epsilon)))))))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (br_if $next (i32.lt_u (local.get $at) (local.get $end))))))
