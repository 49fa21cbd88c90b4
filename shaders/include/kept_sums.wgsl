// acc + a * b as madd, but the sum is not hidden, only what might be fused with it. For kernels that only llvmpipe runs: its compiler reorders
// no sums; and under STRICT nothing is promised before the very pipeline has given the twin's bits (selftest::before_promise).
fn add_product(acc: f32, a: f32, b: f32) -> f32 { return acc + opq(a * b); }
