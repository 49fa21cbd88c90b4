// The smallest ONNX file that holds one matrix product: Y = X W, with W [K, N] inside it and any number of rows in X.
// ONNX is protocol buffers; the few fields that are needed are written by hand (onnx.proto, IR version 8, opset 17).

const encoder = new TextEncoder();

function varint(value) {
  const bytes = [];
  let rest = BigInt(value);
  do {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    bytes.push(rest > 0n ? low | 0x80 : low);
  } while (rest > 0n);
  return Uint8Array.from(bytes);
}

function joined(parts) {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

const number = (field, value) => joined([varint(field << 3), varint(value)]);
const bytes = (field, value) => joined([varint((field << 3) | 2), varint(value.length), value]);
const text = (field, value) => bytes(field, encoder.encode(value));
const message = (field, ...parts) => bytes(field, joined(parts));

// TensorProto.DataType
export const FLOAT = 1;
export const FLOAT16 = 10;

// A graph's input or output: [rows, width], where a row count of null is any.
function valueInfo(field, name, type, width) {
  const anyRows = message(1, text(2, "m"));
  const columns = message(1, number(1, width));
  const tensor = message(1, number(1, type), message(2, anyRows, columns));
  return message(field, text(1, name), message(2, tensor));
}

// The model's bytes. `weights` are the raw little-endian bytes of W.
export function matmul(k, n, type, weights) {
  const node = message(1, text(1, "X"), text(1, "W"), text(2, "Y"), text(3, "product"), text(4, "MatMul"));
  const w = message(5, number(1, k), number(1, n), number(2, type), text(8, "W"), bytes(9, weights));
  const graph = message(7, node, text(2, "g"), w, valueInfo(11, "X", type, k), valueInfo(12, "Y", type, n));
  return joined([number(1, 8), text(2, "assay-peers"), graph, message(8, number(2, 17))]);
}
