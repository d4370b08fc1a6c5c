"""How models are built: nobody else's numbers change by it, nobody's settings change the models,
and they live where there is room for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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


def check_device(name: Any) -> None:
    """Raises a ValueError if models cannot live on the device `name`; the CPU and the GPUs that
    are there are allowed.
    """
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as problem:
        raise ValueError(
            f"device {name!r} is none that torch knows; allowed are cpu and cuda"
        ) from problem
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device is {str(device)!r}; allowed are cpu and cuda")
    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and not num_gpus:
        raise ValueError(f"device {name!r} was asked for, but torch finds no GPU; allowed is cpu")
    if device.type == "cuda" and (device.index or 0) >= num_gpus:
        raise ValueError(
            f"device {name!r} was asked for, but torch finds {num_gpus} GPUs; allowed are cpu and "
            f"cuda:0..{num_gpus - 1}"
        )
