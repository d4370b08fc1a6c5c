"""How models are built: nobody else's numbers change by it, and nobody's settings change the
models.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def undisturbed() -> Iterator[None]:
    """Builds on the CPU, with parameters that can be trained; torch's global generator is left
    where it was.

    The constructors of `torch.nn` draw from that generator numbers which are overwritten by those
    of the model's own. In `torch.inference_mode()` they would make parameters that can never be
    trained.
    """
    state = torch.get_rng_state()
    try:
        with torch.inference_mode(False), torch.device("cpu"):
            yield
    finally:
        torch.set_rng_state(state)
