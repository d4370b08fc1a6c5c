"""The checker of metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqgan_env.testing.shared import call
from seqgan_env.types import Task


def check_metric(metric: Any, task: Task) -> None:
    """Verifies a metric of one's own, on the held-out sequences of a task.

    Examples:
        >>> from seqgan_env import make_task
        >>> class FirstToken:
        ...     name = "first token"
        ...     def __call__(self, samples, task):
        ...         return samples[:, 0].double().mean()
        >>> check_metric(FirstToken(), make_task("oracle-tiny", num_real=200))

    Raises:
        AssertionError: it has no name, gives no number, another one each time, or changes the
            sequences.
    """
    name = getattr(metric, "name", None)
    named = isinstance(name, str) and bool(name)
    assert named, f"{metric!r} has the name {name!r}; expected a str, under which results hold it"
    samples = task.held_out.clone()
    values = [call(f"metric {name}", metric, samples, task) for _ in range(2)]
    for value in values:
        single = isinstance(value, (int, float)) or (
            isinstance(value, (Tensor, np.ndarray, np.generic)) and value.ndim == 0
        )
        assert single, f"metric {name} gave {value!r}; expected a number"
    assert float(values[0]) == float(values[1]), (
        f"metric {name} gave {float(values[0])} and then {float(values[1])} for the same sequences"
    )
    assert torch.equal(samples, task.held_out), f"metric {name} changed the sequences it was given"
