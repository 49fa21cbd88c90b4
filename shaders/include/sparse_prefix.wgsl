// Inclusive prefix sum over a workgroup of 64; sh_prefix[63] is the whole sum afterwards. Between reading it and the next call goes
// a workgroupBarrier.
var<workgroup> sh_prefix: array<u32, 64>;

fn prefix_sum(value: u32, lane: u32) -> u32 {
    var sum = value;
    sh_prefix[lane] = sum;
    workgroupBarrier();
#for STEP 0 6
    if (lane >= (1u << ${STEP}u)) { sum = sum + sh_prefix[lane - (1u << ${STEP}u)]; }
    workgroupBarrier();
    sh_prefix[lane] = sum;
    workgroupBarrier();
#endfor
    return sum;
}
