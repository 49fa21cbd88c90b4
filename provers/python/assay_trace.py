#!/usr/bin/env python3
"""Reads and checks an Assay trace with nothing but Python's standard library.

Follows docs/trace-format.md and shares no code with the Rust reader, though the two have one author: structure,
commitment, prompt digest, digests of all opened rows, Merkle root (over masks too) and challenge, in that order.
Prints a summary and exits 0, or prints the reason and exits 1.

    python3 assay_trace.py trace.bin
"""

import array
import hashlib
import json
import re
import struct
import sys

MAX_HEADER = 4 << 20
MAX_FILE = 16 << 30
MAX_TOKENS = 1 << 20
MAX_LAYERS = 1024

DTYPES = {"I64": 8, "F32": 4, "U32": 4, "I32": 4, "BF16": 2, "F16": 2, "U8": 1}  # in file order, with bytes an element
MASKS = ["input", "neurons"]
PRODUCTS = ["q", "k", "v", "o", "gate", "up", "down"]
NO_SUM = -(1 << 63)  # what stands where a sum does not fit 64 bits
STATE_DTYPES = {"f32": "F32", "bf16": "BF16", "f16": "F16"}
EXPONENT = {"F32": 0x7F800000, "BF16": 0x7F80, "F16": 0x7C00}

U32_MAX = (1 << 32) - 1
HEX = re.compile(r"[0-9a-f]{64}\Z")
WORD = re.compile(r"[a-z0-9_-]{1,16}\Z")
TEXT = re.compile(r"[ -~]{0,256}\Z")
DECIMAL = re.compile(r"(0|[1-9][0-9]{0,5})(\.[0-9]{0,8}[1-9])?\Z")
SEED = re.compile(r"(0|[1-9][0-9]{0,19})\Z")


class Refused(Exception):
    """The trace fails a check; `reason` is the specification's word for it."""

    def __init__(self, reason, detail):
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


def require(condition, detail):
    if not condition:
        raise Refused("structure", detail)


def sha256(*parts):
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.digest()


def canonical_json(value):
    """Section 2's spelling: sorted keys, no whitespace. All text is ASCII by the time this is compared."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def decode_json(text, what):
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused("structure", f"{what} is not JSON: {error!r:.100}") from None


# ---- section 2: manifest


def integer(low, high):
    return lambda x: type(x) is int and low <= x <= high


def pattern(regex):
    return lambda x: type(x) is str and regex.match(x) is not None


def one_of(*values):
    return lambda x: type(x) is str and x in values


def optional(rule):
    return lambda x: x is None or rule(x)


def ascending(x):
    ids = type(x) is list and all(integer(0, U32_MAX)(i) for i in x)
    return ids and all(a < b for a, b in zip(x, x[1:]))


def products(x):
    """The linear products of a layer: in order, none twice, none missing but `gate`."""
    rules = {"name": one_of(*PRODUCTS), "width": integer(1, 1 << 20)}
    fields = type(x) is list and all(type(p) is dict and sorted(p) == sorted(rules) for p in x)
    if not fields or not all(rule(p[key]) for p in x for key, rule in rules.items()):
        return False
    names = [p["name"] for p in x]
    return names in (PRODUCTS, [name for name in PRODUCTS if name != "gate"])


def masks(x):
    """The masks of a layer: in order, none twice, `neurons` among them."""
    rules = {"name": one_of(*MASKS), "width": integer(1, 1 << 20)}
    fields = type(x) is list and all(type(m) is dict and sorted(m) == sorted(rules) for m in x)
    if not fields or not all(rule(m[key]) for m in x for key, rule in rules.items()):
        return False
    return [m["name"] for m in x] in (MASKS, ["neurons"])


def thresholds(x):
    return type(x) is list and all(map(pattern(DECIMAL), x))


LINEARS = {
    "challenge": one_of("all", "chosen", "interactive", "offline"),
    "layers": ascending,
    "logits": ascending,
    "products": products,
}

STREAMS = [
    ["logits", "states"],
    ["linears", "logits", "states"],
    ["logits", "masks", "states"],
    ["linears", "logits", "masks", "states"],
]

NUMERICS = {"class": one_of("exact", "fast", "strict"), "compute": one_of("bf16", "f16", "f32")}
ACTIVATIONS = {"activations": one_of("blocks", "ggml", "int8")}  # may be absent

SPARSE = {"masks": masks, "rule": None}  # one of those below

RULES = {
    "cats": {"kind": one_of("cats"), "thresholds": thresholds},
    "given": {"digest": pattern(HEX), "kind": one_of("given")},
    "predicted": {"digest": pattern(HEX), "keep": integer(0, U32_MAX), "kind": one_of("predicted")},
    "teal": {"input": thresholds, "kind": one_of("teal"), "neurons": thresholds},
    "topk": {"keep": integer(0, U32_MAX), "kind": one_of("topk")},
}

MANIFEST = {
    "adapter": pattern(TEXT),
    "eos": lambda x: ascending(x) and len(x) <= 64,
    "format": one_of("assay-trace"),
    "ignore_eos": lambda x: type(x) is bool,
    "model": {
        "dtype": pattern(WORD),
        "family": pattern(WORD),
        "hidden": integer(1, 65536),
        "layers": integer(1, MAX_LAYERS),
        "parameters": integer(1, (1 << 53) - 1),
        "root": pattern(HEX),
        "vocab": integer(1, 1 << 22),
    },
    "nonce": optional(pattern(HEX)),
    "numerics": None,  # with or without activations
    "opened": ascending,
    "output": {"stop": one_of("context", "eos", "length"), "tokens": integer(1, MAX_TOKENS)},
    "producer": pattern(TEXT),
    "prompt": {"digest": pattern(HEX), "tokens": integer(1, MAX_TOKENS)},
    "root": pattern(HEX),
    "sampler": None,  # one of the two below
    "state_dtype": one_of(*STATE_DTYPES),
    "streams": lambda x: x in STREAMS,
    "tokenizer": optional(pattern(HEX)),
    "version": integer(1, 1),
}

SAMPLERS = {
    "greedy": {"kind": one_of("greedy")},
    "gumbel": {
        "kind": one_of("gumbel"),
        "seed": lambda x: pattern(SEED)(x) and int(x) < 1 << 64,
        "temperature": lambda x: pattern(DECIMAL)(x) and float(x) > 0,
        "top_k": integer(0, U32_MAX),
        "top_p": lambda x: pattern(DECIMAL)(x) and 0 < float(x) <= 1,
    },
}


def check_fields(value, rules, path):
    require(type(value) is dict, f"{path or 'manifest'} is not an object")
    require(sorted(value) == sorted(rules), f"{path or 'manifest'} has other fields than the specification")
    for key, rule in rules.items():
        name = f"{path}.{key}".lstrip(".")
        if type(rule) is dict:
            check_fields(value[key], rule, name)
        elif rule is not None:
            require(rule(value[key]), f"{name} is not what the specification allows")


def check_kind(value, kinds, path):
    kind = value.get("kind") if type(value) is dict else None
    require(type(kind) is str and kind in kinds, f"{path} is of no known kind")
    check_fields(value, kinds[kind], path)


def read_manifest(text):
    manifest = decode_json(text, "manifest")
    optional_fields = {"linears": LINEARS, "sparse": SPARSE}
    present = {key: rules for key, rules in optional_fields.items() if type(manifest) is dict and key in manifest}
    check_fields(manifest, {**MANIFEST, **present}, "")
    numerics = manifest["numerics"]
    has_activations = type(numerics) is dict and "activations" in numerics
    check_fields(numerics, {**NUMERICS, **(ACTIVATIONS if has_activations else {})}, "numerics")
    for key, stream in [("linears", "linears"), ("sparse", "masks")]:
        with_field, with_stream = key in present, stream in manifest["streams"]
        require(with_field == with_stream, f"{key} is not there exactly with the stream {stream}")
    check_kind(manifest["sampler"], SAMPLERS, "sampler")
    model = manifest["model"]
    require(all(i < model["vocab"] for i in manifest["eos"]), "eos has an id outside the vocabulary")
    require(all(i <= model["layers"] for i in manifest["opened"]), "opened has an index above the layers")
    require(manifest["prompt"]["tokens"] + manifest["output"]["tokens"] <= MAX_TOKENS, "too many tokens")
    if "linears" in manifest:
        check_linears(manifest, manifest["linears"])
    if "sparse" in manifest:
        check_sparse(manifest, manifest["sparse"])
    require(canonical_json(manifest) == text, "manifest is not canonical")
    return manifest


def check_linears(manifest, linears):
    model, opened = manifest["model"], set(manifest["opened"])
    require(all(i < model["layers"] for i in linears["layers"]), "linears.layers has an index above the layers")
    n_output = manifest["output"]["tokens"]
    require(all(i < n_output for i in linears["logits"]), "linears.logits has an index above the output")
    around = all({i, i + 1} <= opened for i in linears["layers"])
    require(around, "a layer is open without the hidden states around it")
    require(not linears["logits"] or model["layers"] in opened, "logits are open without the last hidden state")
    for product in linears["products"]:
        inner = product["name"] not in ("o", "down")
        require(inner or product["width"] == model["hidden"], f"{product['name']} has another width than the model")


def check_sparse(manifest, sparse):
    rule = sparse["rule"]
    check_kind(rule, RULES, "sparse.rule")
    widths = {mask["name"]: mask["width"] for mask in sparse["masks"]}
    require(("input" in widths) == (rule["kind"] == "teal"), "the mask input does not go with this rule")
    require(rule.get("keep", 0) <= widths["neurons"], "sparse.rule.keep is above the width of the mask")
    for key in ("input", "neurons", "thresholds"):
        one_each = key not in rule or len(rule[key]) == manifest["model"]["layers"]
        require(one_each, f"sparse.rule.{key} has not one threshold for each layer")


# ---- sections 1 and 3: container and tensors


def linear_dtype(manifest):
    """Integer sums where products round their inputs to 8 bits; else as hidden states."""
    sums = {"int8": "I32", "blocks": "I64"}.get(manifest["numerics"].get("activations"))
    return sums or STATE_DTYPES[manifest["state_dtype"]]


def mask_bytes(sparse):
    """(mask, its first byte and end) in the bytes of a layer at a position."""
    end = 0
    for mask in sparse["masks"]:
        start, end = end, end + (mask["width"] + 7) // 8
        yield mask, start, end


def layout(manifest):
    """(name, dtype, shape, start, end) of every tensor, in file order."""
    model, n_output = manifest["model"], manifest["output"]["tokens"]
    total = manifest["prompt"]["tokens"] + n_output
    positions = total - 1
    tensors = [
        ("commitment", "U8", [32]),
        ("digests.logits", "U8", [n_output, 32]),
        ("digests.states", "U8", [positions, model["layers"] + 1, 32]),
        ("tokens", "U32", [total]),
    ]
    state_dtype = STATE_DTYPES[manifest["state_dtype"]]
    for layer in manifest["opened"]:
        tensors.append((f"states.{layer:05}", state_dtype, [positions, model["hidden"]]))
    linears = manifest.get("linears")
    if linears is not None:
        tensors.append(("digests.linears", "U8", [positions, model["layers"], 32]))
        for layer in linears["layers"]:
            for product in linears["products"]:
                name = f"linears.{layer:05}.{product['name']}"
                tensors.append((name, linear_dtype(manifest), [positions, product["width"]]))
        if linears["logits"]:
            tensors.append(("logits", "F32", [len(linears["logits"]), model["vocab"]]))
    sparse = manifest.get("sparse")
    if sparse is not None:
        layer_bytes = max(end for _, _, end in mask_bytes(sparse))
        tensors.append(("masks", "U8", [positions, model["layers"], layer_bytes]))
    order = list(DTYPES)
    tensors.sort(key=lambda tensor: (order.index(tensor[1]), tensor[0]))
    placed, end = [], 0
    for name, dtype, shape in tensors:
        start, size = end, DTYPES[dtype]
        for dim in shape:
            size *= dim
        end = start + size
        placed.append((name, dtype, shape, start, end))
    return placed


def canonical_header(manifest_text, tensors):
    header = {"__metadata__": {"assay": manifest_text}}
    for name, dtype, shape, start, end in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return text + b" " * (-len(text) % 8)


def parse(data):
    """(manifest, its text, tensors as {name: bytes}) of a well-formed trace."""
    require(8 <= len(data) <= MAX_FILE, "the file is too short or too large")
    (header_len,) = struct.unpack_from("<Q", data)
    require(header_len <= MAX_HEADER and 8 + header_len <= len(data), "the header does not fit")
    header_bytes = data[8 : 8 + header_len]
    try:
        header = decode_json(header_bytes.decode("utf-8"), "header")
    except UnicodeDecodeError:
        raise Refused("structure", "the header is not UTF-8") from None
    metadata = header.get("__metadata__") if type(header) is dict else None
    text = metadata.get("assay") if type(metadata) is dict else None
    require(type(text) is str, "the header has no manifest")
    manifest = read_manifest(text)
    tensors = layout(manifest)
    require(canonical_header(text, tensors) == header_bytes, "the header is not canonical for its manifest")
    body = memoryview(data)[8 + header_len :]
    require(len(body) == tensors[-1][4], f"tensor data is {len(body)} bytes, want {tensors[-1][4]}")
    views = {name: body[start:end] for name, _, _, start, end in tensors}
    require(max(words(views["tokens"])) < manifest["model"]["vocab"], "a token is outside the vocabulary")
    for name, dtype, *_ in tensors:
        numbers = name.startswith(("states.", "linears.")) or name == "logits"
        if numbers and dtype == "I64":
            require(NO_SUM not in elements(views[name], "q"), f"{name} has a sum that is none")
        elif numbers and dtype != "I32":
            require(finite(views[name], dtype), f"{name} is not finite")
    if "sparse" in manifest:
        check_mask_bits(manifest["sparse"], views["masks"])
    return manifest, text, views


def check_mask_bits(sparse, view):
    """No bit beyond a mask's width: each mask's last byte, wherever it stands."""
    layer_bytes = max(end for _, _, end in mask_bytes(sparse))
    for mask, _, end in mask_bytes(sparse):
        used = (1 << ((mask["width"] - 1) % 8 + 1)) - 1
        last = view[end - 1 :: layer_bytes]
        require(all(byte & ~used == 0 for byte in last), f"the mask {mask['name']} has a bit beyond its width")


def active(sparse, view):
    """(mask, share of its bits that are set) over all positions and layers."""
    layer_bytes = max(end for _, _, end in mask_bytes(sparse))
    rows = len(view) // layer_bytes
    for mask, start, end in mask_bytes(sparse):
        columns = b"".join(view[at::layer_bytes].tobytes() for at in range(start, end))
        ones = bin(int.from_bytes(columns, "little")).count("1")
        yield mask["name"], ones / (rows * mask["width"])


def elements(view, code):
    values = array.array(code, view.tobytes())
    if sys.byteorder == "big":
        values.byteswap()
    return values


def words(view):
    return elements(view, "I")


def finite(view, dtype):
    mask = EXPONENT[dtype]
    return all(bits & mask != mask for bits in elements(view, "I" if dtype == "F32" else "H"))


# ---- section 4: what is hashed


def merkle_root(leaves):
    """RFC 6962, 2.1, as it is written there."""
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return sha256(b"\x01", merkle_root(leaves[:k]), merkle_root(leaves[k:]))


def leaf_hashes(manifest, views):
    tokens, n_prompt = words(views["tokens"]), manifest["prompt"]["tokens"]
    layers, linears = manifest["model"]["layers"], views.get("digests.linears")
    tag = b"assay/position/v1\0" if linears is None else b"assay/position/v2\0"
    masks = views.get("masks")
    if masks is not None:
        tag = b"assay/position/v3\0"
    for p in range(len(tokens) - 1):
        following, logits = U32_MAX, bytes(32)
        if p >= n_prompt - 1:
            i = p - (n_prompt - 1)
            following, logits = tokens[p + 1], views["digests.logits"][32 * i : 32 * i + 32]
        bound = b""
        if masks is not None:
            flags = 0 if linears is None else 1
            bound = bytes([flags]) + sha256(row(masks, p, len(masks) // (len(tokens) - 1)))
        digests = row(views["digests.states"], p, 32 * (layers + 1))
        more = row(linears, p, 32 * layers) if linears is not None else b""
        yield sha256(b"\x00", tag, struct.pack("<III", p, tokens[p], following), logits, bound, digests, more)


def row(view, index, size):
    return view[index * size : (index + 1) * size]


# ---- section 9: challenges


def words_of(purpose, root, nonce):
    seed = b"assay/challenge/v1\0" + purpose.encode() + b"\0" + root + (nonce or bytes(32))
    for block in range(1 << 32):
        yield from struct.unpack("<8I", sha256(seed, struct.pack("<I", block)))


def draw(purpose, root, nonce, count, n):
    """`count` of the numbers below n, ascending."""
    source = words_of(purpose, root, nonce)

    def below(m):
        end = (1 << 32) // m * m
        return next(word for word in source if word < end) % m

    entries = list(range(n))
    for i in range(count):
        j = i + below(n - i)
        entries[i], entries[j] = entries[j], entries[i]
    return sorted(entries[:count])


def called_for(manifest, purpose, n):
    """What the challenge would open; what is open, if it does not say."""
    linears = manifest["linears"]
    if linears["challenge"] == "all":
        return list(range(n))
    if linears["challenge"] == "offline":
        nonce = manifest["nonce"]
        nonce = None if nonce is None else bytes.fromhex(nonce)
        return draw(purpose, bytes.fromhex(manifest["root"]), nonce, len(linears[purpose]), n)
    return linears[purpose]


def receipt(manifest):
    """Section 9: digest of the manifest with nothing open."""
    linears = {**manifest["linears"], "challenge": "interactive", "layers": [], "logits": []}
    return manifest_digest(canonical_json({**manifest, "linears": linears, "opened": []}))


# ---- section 5: checks


def manifest_digest(text):
    return sha256(b"assay/manifest/v1\0", text.encode())


def check(manifest, text, views):
    """Section 5, after structure."""

    def equal(got, want, reason, detail=""):
        if got != want:
            raise Refused(reason, f"got {got.hex()}, want {want.hex()}{detail}")

    equal(manifest_digest(text), bytes(views["commitment"]), "commitment")
    n_prompt = manifest["prompt"]["tokens"]
    prompt = struct.pack(f"<{n_prompt + 1}I", n_prompt, *words(views["tokens"])[:n_prompt])
    equal(sha256(b"assay/prompt/v1\0", prompt), bytes.fromhex(manifest["prompt"]["digest"]), "prompt-digest")
    layers, linears = manifest["model"]["layers"], manifest.get("linears")
    positions = len(views["tokens"]) // 4 - 1
    element = DTYPES[STATE_DTYPES[manifest["state_dtype"]]]
    for layer in manifest["opened"]:
        for p in range(positions):
            got = sha256(row(views[f"states.{layer:05}"], p, manifest["model"]["hidden"] * element))
            want = bytes(row(views["digests.states"], p * (layers + 1) + layer, 32))
            equal(got, want, "state-digest", f" for hidden state {layer} at position {p}")
    element = DTYPES[linear_dtype(manifest)]
    for layer in linears["layers"] if linears else []:
        outputs = [(views[f"linears.{layer:05}.{p['name']}"], p["width"] * element) for p in linears["products"]]
        for p in range(positions):
            got = sha256(*(row(view, p, size) for view, size in outputs))
            want = bytes(row(views["digests.linears"], p * layers + layer, 32))
            equal(got, want, "linear-digest", f" for layer {layer} at position {p}")
    for i, output in enumerate(linears["logits"] if linears else []):
        got = sha256(row(views["logits"], i, 4 * manifest["model"]["vocab"]))
        want = bytes(row(views["digests.logits"], output, 32))
        equal(got, want, "logits-digest", f" for output token {output}")
    root = merkle_root(list(leaf_hashes(manifest, views)))
    equal(root, bytes.fromhex(manifest["root"]), "merkle-root")
    for purpose, n in [("layers", layers), ("logits", manifest["output"]["tokens"])] if linears else []:
        got, want = linears[purpose], called_for(manifest, purpose, n)
        if got != want:
            raise Refused("challenge", f"{purpose} {got} are open, but {linears['challenge']} calls for {want}")


def shown(value):
    if type(value) is not list:
        return value
    return f"{min(value, key=float)} to {max(value, key=float)}"


def summary(manifest, views):
    model, sampler = manifest["model"], manifest["sampler"]
    yield "model", f"{model['family']} {model['dtype']}, {model['layers']} layers of {model['hidden']}"
    yield "model root", model["root"]
    yield "tokens", f"{manifest['prompt']['tokens']} prompt, {manifest['output']['tokens']} output"
    yield "sampler", ", ".join(f"{key} {value}" for key, value in sampler.items())
    numerics = manifest["numerics"]
    inputs = f", inputs of products rounded: {numerics['activations']}" if "activations" in numerics else ""
    yield "numerics", f"{numerics['class']}, compute {numerics['compute']}{inputs}"
    yield "opened", f"{manifest['opened']} in {manifest['state_dtype']}"
    linears = manifest.get("linears")
    if linears is not None:
        yield "products", ", ".join(f"{p['name']} {p['width']}" for p in linears["products"])
        yield "challenge", f"{linears['challenge']}: layers {linears['layers']}, logits {linears['logits']}"
        yield "receipt", receipt(manifest).hex()
    sparse = manifest.get("sparse")
    if sparse is not None:
        yield "masks", ", ".join(f"{m['name']} {m['width']}" for m in sparse["masks"])
        yield "rule", ", ".join(f"{key} {shown(value)}" for key, value in sparse["rule"].items())
        yield "active", ", ".join(f"{name} {share:.1%}" for name, share in active(sparse, views["masks"]))
    yield "root", manifest["root"]
    yield "commitment", bytes(views["commitment"]).hex()


def main(argv):
    if len(argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        with open(argv[1], "rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        print(f"cannot read: {error}", file=sys.stderr)
        return 2
    try:
        manifest, text, views = parse(data)
        check(manifest, text, views)
    except Refused as refused:
        print(f"refused, {refused}", file=sys.stderr)
        return 1
    for name, value in summary(manifest, views):
        print(f"{name:<12}{value}")
    print("well formed and consistent; that says nothing about how the values were computed")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
