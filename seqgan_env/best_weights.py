"""The best weights so far: of the epochs of a fit, or of the rounds of a run."""

from __future__ import annotations

import copy
import math
from typing import Any

from torch import Tensor, nn


class BestWeights:
    """Keeps the weights of a module that had the lowest value; of equal values, the first.

    Attributes:
        value: the lowest so far; infinity before any was seen. NaN is never the lowest.
    """

    def __init__(self) -> None:
        self.value = math.inf
        self._weights: dict[str, Tensor] | None = None

    def see(self, value: float, module: nn.Module) -> bool:
        """Keeps a copy of the weights if `value` is below all before; whether it is."""
        if not value < self.value:
            return False
        self.value, self._weights = value, copy.deepcopy(module.state_dict())
        return True

    def restore(self, module: nn.Module) -> None:
        """Gives the module the weights that are kept; leaves it as it is if there are none."""
        if self._weights is not None:
            module.load_state_dict(self._weights)

    def state_dict(self) -> dict[str, Any]:
        """The value and its weights."""
        return {"value": self.value, "weights": copy.deepcopy(self._weights)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state of `state_dict`."""
        self.value, self._weights = state["value"], state["weights"]
