"""Drawing real sequences, for every task that has a fixed set of them."""

from __future__ import annotations

import torch
from torch import Tensor


def draw_without_repeats(sequences: Tensor, num: int, rng: torch.Generator) -> Tensor:
    """`num` rows of `sequences` (M, T), in random order, each once before any comes again."""
    orders = [torch.randperm(len(sequences), generator=rng, device=rng.device) for _ in range(-(-num // len(sequences)))]
    return sequences[torch.cat(orders)[:num].to(sequences.device)]
