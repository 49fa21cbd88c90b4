// Arithmetic whose result does not depend on the driver when STRICT is set.
//
// `opq` hides a value from the compiler: `params.zero` is a run-time zero, so neither fusing (a*b+c into
// one rounding) nor reassociation can pass through it. Without STRICT it is the identity and the
// compiler may fuse; the order of operations is the same in both. Twin: engine/src/numerics.rs.
#if STRICT
fn opq(x: f32) -> f32 { return bitcast<f32>(bitcast<u32>(x) ^ params.zero); }
#else
fn opq(x: f32) -> f32 { return x; }
#endif

// acc + a * b, rounded after the product and after the sum.
fn madd(acc: f32, a: f32, b: f32) -> f32 { return opq(acc + opq(a * b)); }

// e^x for x in [-87, 88]; 0 below, e^88 above. Cephes' reduction and polynomial, about 1 ulp.
fn exp_(x0: f32) -> f32 {
    let x = clamp(x0, -87.0, 88.0);
    let n = floor(madd(0.5, x, 1.44269504));
    var r = madd(x, n, -0.693359375);
    r = madd(r, n, 2.12194440e-4);
    var p = 1.9875691500e-4;
    p = madd(1.3981999507e-3, p, r);
    p = madd(8.3334519073e-3, p, r);
    p = madd(4.1665795894e-2, p, r);
    p = madd(1.6666665459e-1, p, r);
    p = madd(5.0000001201e-1, p, r);
    let y = opq(1.0 + madd(r, p, opq(r * r)));
    let scale = bitcast<f32>(u32(i32(n) + 127) << 23u);
    return select(opq(y * scale), 0.0, x0 < -87.0);
}

// 1 / y for y in [2^-100, 2^100]: integer seed, four Newton steps, about 1 ulp. No division: WGSL gives
// it 2.5 ulp and every vendor its own.
fn recip_(y: f32) -> f32 {
    var r = bitcast<f32>(0x7EF311C7u - bitcast<u32>(y));
    for (var i = 0u; i < 4u; i = i + 1u) {
        r = opq(r * opq(2.0 - opq(y * r)));
    }
    return r;
}

// 1 / sqrt(x) for x in [2^-100, 2^100]: integer seed, four Newton steps, about 2 ulp.
fn rsqrt_(x: f32) -> f32 {
    let h = opq(0.5 * x);
    var y = bitcast<f32>(0x5F375A86u - (bitcast<u32>(x) >> 1u));
    for (var i = 0u; i < 4u; i = i + 1u) {
        y = opq(y * opq(1.5 - opq(h * opq(y * y))));
    }
    return y;
}

// x * sigmoid(x), through e^-|x| so that nothing overflows.
fn silu_(x: f32) -> f32 {
    let t = exp_(-abs(x));
    let r = recip_(opq(1.0 + t));
    return opq(x * select(opq(t * r), r, x >= 0.0));
}
