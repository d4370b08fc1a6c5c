"""Fingerprints of what parameters hold, by the compiled kernels: at the speed of memory, where a
copy would take twice that.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seqgan_env import native


def fingerprint(tensors: Sequence[Tensor]) -> Tensor:
    """(blocks, 2) int64; the same for the same bits, and never if one number differs; if several
    do, with a probability of 2^-64.

    Args:
        tensors: contiguous, float32, on the CPU.

    Raises:
        TypeError: one is of another number type.
        ValueError: one is not contiguous, or not on the CPU.
    """
    parts = torch.tensor(
        [(native.address(tensor), tensor.numel()) for tensor in tensors], device="cpu"
    ).view(-1)
    block = native.sizes().fingerprint_block
    num_blocks = sum(-(-tensor.numel() // block) for tensor in tensors)
    out = native.empty(num_blocks, 2, dtype=torch.int64)
    native.run("fingerprint", num_blocks, 16, parts=parts, num_parts=len(tensors), out=out)
    return out
