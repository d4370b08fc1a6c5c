"""Loading the state of an optimizer."""

from __future__ import annotations

import copy
from typing import Any

from torch.optim import Optimizer


def load_optimizer(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Goes on from a state of `optimizer.state_dict`, which stays as it is.

    The optimizer's own `load_state_dict` takes the tensors themselves, and training changes them.
    """
    optimizer.load_state_dict(copy.deepcopy(state))
