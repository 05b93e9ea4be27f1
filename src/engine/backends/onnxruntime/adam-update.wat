;; One step of Adam over n elements of float32, at least 1, in float64 (graph/operators/updates.ts says the formula; adam-update.ts runs it).
;; p, g, m and v are the addresses of parameter, gradient and moments; new values take the place of old ones.
;; Two elements at a time: of an odd count the one behind the last is computed, too, and written where each array has room for one more.
(module
  (import "home" "memory" (memory 1))
  (func (export "update")
    (param $n i32) (param $p i32) (param $g i32) (param $m i32) (param $v i32)
    (param $beta1 f64) (param $beta2 f64) (param $rate f64) (param $epsilon f64) (param $decay f64)
    (local $end i32) (local $gradient v128) (local $moment v128) (local $square v128)
    (local.set $end (i32.add (local.get $p) (i32.shl (local.get $n) (i32.const 2))))
    (loop $next
      (local.set $gradient (f64x2.promote_low_f32x4 (v128.load64_zero (local.get $g))))
      (local.set $moment ;; beta1 m + g
        (f64x2.add
          (f64x2.mul (f64x2.splat (local.get $beta1)) (f64x2.promote_low_f32x4 (v128.load64_zero (local.get $m))))
          (local.get $gradient)))
      (local.set $square ;; beta2 v + g^2
        (f64x2.add
          (f64x2.mul (f64x2.splat (local.get $beta2)) (f64x2.promote_low_f32x4 (v128.load64_zero (local.get $v))))
          (f64x2.mul (local.get $gradient) (local.get $gradient))))
      (v128.store64_lane 0 (local.get $m) (f32x4.demote_f64x2_zero (local.get $moment)))
      (v128.store64_lane 0 (local.get $v) (f32x4.demote_f64x2_zero (local.get $square)))
      (v128.store64_lane 0 (local.get $p)
        (f32x4.demote_f64x2_zero ;; decay p - rate m / (sqrt(v) + epsilon)
          (f64x2.sub
            (f64x2.mul (f64x2.splat (local.get $decay)) (f64x2.promote_low_f32x4 (v128.load64_zero (local.get $p))))
            (f64x2.div
              (f64x2.mul (f64x2.splat (local.get $rate)) (local.get $moment))
              (f64x2.add (f64x2.sqrt (local.get $square)) (f64x2.splat (local.get $epsilon)))))))
      (local.set $g (i32.add (local.get $g) (i32.const 8)))
      (local.set $m (i32.add (local.get $m) (i32.const 8)))
      (local.set $v (i32.add (local.get $v) (i32.const 8)))
      (local.set $p (i32.add (local.get $p) (i32.const 8)))
      (br_if $next (i32.lt_u (local.get $p) (local.get $end))))))
