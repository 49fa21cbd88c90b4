"""The sampler makes the choices of the Rust prover, from the same bits of noise."""

import random

import numpy as np
import pytest
from conftest import DEMO, TOP
from tensors import rows

from assay_prove import Greedy, Gumbel, ProveError, libm, prove
from assay_prove.philox import gumbel, philox4x32, uniform

# Rust's `libm` 0.2: a, log(-a), b, exp(b). numpy's own functions give other bits for each of them.
LIBM = [
    ("bfec413fb7d4c3df", "bfbfdd403531aff2", "bf8215477fe45466", "3fefb7fc647f6d6b"),
    ("c00463bc3b08c066", "3fedf04bb7b6d364", "c0531d8077583460", "3909d0aac3598330"),
    ("bfe7a76aa94ed1b4", "bfd3575326c1c13e", "bea8cd908753b67c", "3feffffe73270128"),
    ("bfd5d6713617843a", "bff134360b768494", "c024790a22b60bf6", "3f02ca8eeb0ffd2c"),
    ("bfdcc95dc1e77822", "bfe99130f41fd83a", "c02afcc7e5c900a0", "3eb7255cda473622"),
    ("bff04b77b2a5d105", "3f92b1f7f64797d5", "beb11619cc9c5f81", "3feffffddd3cd8ac"),
    ("bfebf1e35437d03c", "bfc15821dab61176", "bead4d6530400796", "3feffffe2b29ba67"),
    ("bfe2a40e5b4ec05e", "bfe14accb369d138", "bf77dc3b56275ca1", "3fefd06b0cac4284"),
    ("bffad129154f2e7a", "3fe086bf1035376c", "bf9129b3e4ad8e63", "3fef77d74dffd240"),
    ("c0095860eefc2002", "3ff2734c555482cc", "c0095860eefc2002", "3fa58bab8d2f6258"),
    ("c0035ac317622092", "3fec458343346412", "c0035ac317622092", "3fb6c78bd7d6fe24"),
    ("bffc112b66dd4f58", "3fe1fbf8adbcfb84", "bffc112b66dd4f58", "3fc62667d4aac9de"),
]

# `philox4x32` of philox.rs, published with Random123.
PHILOX = [
    ((0, 0), (0, 0, 0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 4, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0xA4093822, 0x299F31D0),
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def floats(texts):
    return np.array([int(text, 16) for text in texts], dtype=np.uint64).view(np.float64)


def test_libm_has_rusts_bits():
    a, log_a, b, exp_b = (floats(column) for column in zip(*LIBM))
    assert (libm.log(-a) == log_a).all()
    assert (libm.exp(b) == exp_b).all()


def test_libm_at_the_edges():
    assert libm.log(np.array([0.0, -0.0, 1.0])).tolist() == [-np.inf, -np.inf, 0.0]
    x = np.array([0.0, -0.0, -1e-300, -1e-9, -708.4, -740.0, -745.2, -1e6])
    got = libm.exp(x)
    assert got[:3].tolist() == [1, 1, 1] and got[-2:].tolist() == [0, 0]
    np.testing.assert_allclose(got[3:5], np.exp(x[3:5]), rtol=1e-15)
    assert abs(got[5] - np.exp(x[5])) <= 5e-324


@pytest.mark.parametrize(("key", "counter", "want"), PHILOX)
def test_philox_known_answers(key, counter, want):
    words = tuple(np.array([word], dtype=np.uint64) for word in counter)
    assert tuple(int(word[0]) for word in philox4x32(key, words)) == want


def test_noise_is_gumbel_distributed():
    draws = gumbel(7, 3, np.arange(20_000, dtype=np.uint64))
    assert abs(draws.mean() - 0.5772) < 0.04
    assert abs(draws.var() - 1.6449) < 0.11


def row(*values):
    return np.array(values, dtype=np.float32)


def test_greedy_takes_the_lower_of_equal_ids():
    assert Greedy().sample(row(1, 3, 3, 2), 0) == 1
    assert Greedy().sample(row(-0.0, 0.0), 0) == 0


def test_top_k_and_top_p_cut_where_rust_cuts():
    logits = row(0, 2, 2, 1)
    for k, p, want in [(0, 1, [1, 2, 3, 0]), (2, 1, [1, 2]), (1, 1, [1]), (99, 1, [1, 2, 3, 0]), (0, 1e-9, [1])]:
        assert Gumbel(1, 1.0, k, p).allowed(logits).tolist() == want
    for k, p, want in [(0, 0.5, [0, 1]), (0, 0.51, [0, 1, 2]), (2, 0.5, [0])]:
        assert Gumbel(1, 1.0, k, p).allowed(row(1, 1, 1, 1)).tolist() == want
    assert Gumbel(1, 1.0, 1).allowed(row(-0.0, 0.0)).tolist() == [0]


def by_definition(sampler, logits, position):
    """The definition, word for word: sort everything, cut, cut, take the best."""

    def exp(x):
        return float(libm.exp(np.array([x]))[0])

    def noise(i):
        return float(gumbel(sampler.seed, position, np.array([i], dtype=np.uint64))[0])

    value = [float(x) for x in logits]
    order = sorted(range(len(value)), key=lambda i: (-value[i], i))
    if sampler.top_k > 0:
        order = order[: sampler.top_k]
    if sampler.top_p < 1:
        weight = {i: exp((value[i] - max(value)) / sampler.temperature) for i in order}
        total = 0.0
        for i in sorted(order):
            total += weight[i]
        running, kept = 0.0, 0
        for i in order:
            running += weight[i]
            kept += 1
            if running >= sampler.top_p * total:
                break
        order = order[:kept]
    return order, max(sorted(order), key=lambda i: value[i] / sampler.temperature + noise(i))


def test_any_row_agrees_with_the_definition():
    source = random.Random(5)
    for _ in range(150):
        n = source.randrange(1, 120)
        logits = row(*(source.choice([source.uniform(-8, 8), 0.0, -0.0, 1.5]) for _ in range(n)))
        top_p = min(1.0, source.uniform(0.01, 1.2))
        sampler = Gumbel(source.getrandbits(64), source.uniform(0.05, 3), source.randrange(20), top_p)
        position = source.randrange(1000)
        allowed, token = by_definition(sampler, logits, position)
        assert sampler.allowed(logits).tolist() == allowed
        assert sampler.sample(logits, position) == token


def test_uniform_uses_both_halves_of_the_seed():
    tokens = np.arange(4, dtype=np.uint64)
    first, second = uniform(1, 0, tokens), uniform(1 | 1 << 32, 0, tokens)
    assert (first != second).all() and (first > 0).all() and (first < 1).all()


def test_numbers_are_those_that_the_trace_states():
    sampler = Gumbel(7, 0.12345678949, 40, 0.95)
    assert sampler.temperature == 0.123456789
    want = {"kind": "gumbel", "seed": "7", "temperature": "0.123456789", "top_k": 40, "top_p": "0.95"}
    assert sampler.claim() == want
    for bad in [float("nan"), -1.0, float("inf"), 1e-12, 1e7, 999999.9999999999]:
        with pytest.raises(ProveError, match="temperature"):
            Gumbel(1, bad)
    for bad in [float("nan"), -1.0, 0.0, 1.5]:
        with pytest.raises(ProveError, match="top-p"):
            Gumbel(1, 1.0, 0, bad)


def test_samples_the_tokens_that_the_rust_prover_sampled(read):
    manifest, views = read(TOP / "web/samples/honest.bin")
    n_prompt, n_output = manifest["prompt"]["tokens"], manifest["output"]["tokens"]
    tokens = np.frombuffer(views["tokens"], dtype="<u4").tolist()
    sampler = Gumbel(7, 0.8)
    proved = prove(DEMO, tokens[:n_prompt], max_tokens=n_output, sampler=sampler, dtype="fp32", device="cpu")
    assert sampler.claim() == manifest["sampler"]
    assert list(proved.run.output) == tokens[n_prompt:]
    logits = rows(read(proved.trace)[1]["logits"], 2048, "f32").numpy()
    again = [sampler.sample(logits[i], n_prompt - 1 + i) for i in range(n_output)]
    assert again == tokens[n_prompt:]
