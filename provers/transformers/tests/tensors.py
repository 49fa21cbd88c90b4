"""Rows of a trace as torch tensors."""

import torch

TYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def rows(view, width, dtype):
    return torch.frombuffer(bytearray(view), dtype=TYPES[dtype]).reshape(-1, width)
