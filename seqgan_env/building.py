"""Building modules without a trace in the state that torch shares among everybody in a process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def building() -> Iterator[None]:
    """Modules built inside are of float32 and can be trained, whatever the caller has set, and draw from nobody's generator.

    torch's constructors draw from its global generator, take its default type, and make tensors that no loss may use within
    `torch.inference_mode`. All three are as they were afterwards.
    """
    default = torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False):
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(default)
