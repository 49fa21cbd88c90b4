// In the page: one product by each of two programs on the browser's WebGPU, timed until its result can be read.

import * as ort from "/node_modules/onnxruntime-web/dist/ort.webgpu.min.mjs";
import { FLOAT, matmul } from "./model.mjs";

ort.env.wasm.wasmPaths = "/node_modules/onnxruntime-web/dist/";
ort.env.wasm.numThreads = 1;

// Numbers that no kernel can guess, the same for both: a linear congruence, between -1 and 1.
function numbers(count, seed) {
  const out = new Float32Array(count);
  let x = seed >>> 0;
  for (let i = 0; i < count; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    out[i] = x / 2 ** 31 - 1;
  }
  return out;
}

// Weights [n, k], as Assay stores them.
const weights = (n, k) => numbers(n * k, 7 * n + k);
const activations = (m, k) => numbers(m * k, 3 * m + k);

function transposed(w, n, k) {
  const out = new Float32Array(n * k);
  for (let row = 0; row < n; row++) for (let col = 0; col < k; col++) out[col * n + row] = w[row * k + col];
  return out;
}

function stored(w, type) {
  if (type === "f32") return w;
  // bf16: the upper halves, to nearest even.
  const bits = new Uint32Array(w.buffer);
  const half = new Uint16Array(bits.length);
  for (let i = 0; i < bits.length; i++) half[i] = (bits[i] + 0x7fff + ((bits[i] >>> 16) & 1)) >>> 16;
  return half;
}

// A few outputs by double precision, to see that both programs compute what is asked for.
function expected(x, w, n, k, at) {
  return at.map(([row, col]) => {
    let sum = 0;
    for (let i = 0; i < k; i++) sum += x[row * k + i] * w[col * k + i];
    return sum;
  });
}

let device;
let name = "";

async function open() {
  if (device) return;
  const adapter = await navigator.gpu.requestAdapter();
  const limits = adapter.limits;
  name = [adapter.info.vendor, adapter.info.architecture, adapter.info.description].filter(Boolean).join(" ");
  device = await adapter.requestDevice({
    requiredLimits: {
      maxStorageBufferBindingSize: limits.maxStorageBufferBindingSize,
      maxBufferSize: limits.maxBufferSize,
    },
  });
}

function buffer(bytes, usage) {
  const made = device.createBuffer({ size: Math.max(bytes.byteLength, 32), usage: usage | GPUBufferUsage.COPY_DST });
  device.queue.writeBuffer(made, 0, bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return made;
}

// Assay's kernel, ready to run. What `run` gives are the outputs at `at`.
async function assay(product, x, w, at) {
  await open();
  const { m, n, grid } = product;
  device.pushErrorScope("validation");
  const module = device.createShaderModule({ code: product.wgsl });
  const pipeline = await device.createComputePipelineAsync({
    layout: "auto",
    compute: { module, entryPoint: "main" },
  });
  const storage = GPUBufferUsage.STORAGE;
  const buffers = [
    buffer(new Uint32Array(product.params), GPUBufferUsage.UNIFORM),
    buffer(x, storage),
    buffer(stored(w, product.stored), storage),
  ];
  const y = device.createBuffer({ size: m * n * 4, usage: storage | GPUBufferUsage.COPY_SRC });
  const read = device.createBuffer({ size: m * n * 4, usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ });
  const bind = device.createBindGroup({
    layout: pipeline.getBindGroupLayout(0),
    entries: [...buffers, null, null, y].flatMap((buffer, binding) => (buffer ? [{ binding, resource: { buffer } }] : [])),
  });
  const error = await device.popErrorScope();
  if (error) throw new Error(error.message);
  return {
    async run() {
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, bind);
      pass.dispatchWorkgroups(...grid);
      pass.end();
      encoder.copyBufferToBuffer(y, 0, read, 0, m * n * 4);
      device.queue.submit([encoder.finish()]);
      await read.mapAsync(GPUMapMode.READ);
      const all = new Float32Array(read.getMappedRange());
      const some = at.map(([row, col]) => all[row * n + col]);
      read.unmap();
      return some;
    },
    drop() {
      [...buffers, y, read].forEach((buffer) => buffer.destroy());
    },
  };
}

// onnxruntime-web's, likewise: activations are on the device before, and outputs are read back.
async function onnx(product, x, w, at) {
  const { m, n, k } = product;
  const inside = new Uint8Array(transposed(w, n, k).buffer);
  const session = await ort.InferenceSession.create(matmul(k, n, FLOAT, inside), {
    executionProviders: ["webgpu"],
    preferredOutputLocation: "gpu-buffer",
  });
  const own = await ort.env.webgpu.device;
  const input = own.createBuffer({
    size: x.byteLength,
    usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
  });
  own.queue.writeBuffer(input, 0, x.buffer, x.byteOffset, x.byteLength);
  const tensor = ort.Tensor.fromGpuBuffer(input, { dataType: "float32", dims: [m, k] });
  return {
    async run() {
      const { Y } = await session.run({ X: tensor });
      const all = await Y.getData(true);
      return at.map(([row, col]) => all[row * n + col]);
    },
    async drop() {
      await session.release();
      input.destroy();
    },
  };
}

// Times candidates in turns: the median of `rounds` after a warm-up, milliseconds; none for those that would take longer than `patience`.
window.measure = async ({ products, rounds, patience }) => {
  const [{ m, n, k }] = products;
  const x = activations(m, k);
  const w = weights(n, k);
  const at = [[0, 0], [m - 1, n - 1], [m >> 1, n >> 1]];
  const want = expected(x, w, n, k, at);
  const size = Math.sqrt(want.reduce((sum, v) => sum + v * v, 0) / want.length) + Math.sqrt(k) / 3;
  const found = [];
  for (const product of [...products, null]) {
    const label = product ? `${product.kernel}, ${product.stored}` : "onnxruntime-web, f32";
    const made = await (product ? assay(product, x, w, at) : onnx(products[0], x, w, at));
    const off = (await made.run()).map((got, i) => Math.abs(got - want[i]) / size);
    // bf16 weights are other weights: half a unit in the eighth bit, averaged over a row.
    if (!off.every((d) => d < (product?.stored === "bf16" ? 0.02 : 1e-4))) throw new Error(`${label} is wrong by ${off}`);
    const begun = performance.now();
    await made.run();
    const once = performance.now() - begun;
    found.push({ label, made, once, times: [], isSlow: once * rounds > patience });
  }
  for (let round = 0; round < rounds; round++) {
    for (const one of found) {
      if (one.isSlow && round > 0) continue;
      const begun = performance.now();
      await one.made.run();
      one.times.push(performance.now() - begun);
    }
  }
  const out = [];
  for (const { label, made, times } of found) {
    await made.drop();
    times.sort((a, b) => a - b);
    out.push({ label, ms: times[times.length >> 1], runs: times.length });
  }
  return { name, out };
};
window.isReady = true;
