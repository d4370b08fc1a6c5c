"""Early stopping of the adversarial phase: the policy of the round that is best on validation data.

A policy may be nearest to the truth long before the last round. Which round that was is decided by
the validation divergence, in which no held-out sequence and no reported draw has a part; so what is
reported of that policy is as honest as what is reported of the last one.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from seqgan_env.best_weights import BestWeights
from seqgan_env.metrics.validation import divergence_in


class BestRound:
    """Keeps the policy of the evaluated round with the least divergence on validation data.

    Attributes:
        number: of that round, from 0; None before any was seen.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._best = BestWeights()

    def see(self, row: dict[str, float], policy: nn.Module) -> None:
        """Keeps the policy if the row has a divergence below all before; a tie keeps the first.

        Raises:
            ValueError: round 0, which is always evaluated, has none.
        """
        found = divergence_in(row)
        if found is None and row["round"] == 0:
            raise ValueError(
                "the best round cannot be kept: the policy has no divergence on the validation "
                "data of this task"
            )
        if found is not None and self._best.see(found[1], policy):
            self.number = int(row["round"])

    def restore(self, policy: nn.Module) -> None:
        """Makes the policy what it was in the best round; leaves it where none was seen."""
        self._best.restore(policy)

    def state_dict(self) -> dict[str, Any]:
        """The round, its divergence and its weights."""
        return {"number": self.number, "best": self._best.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state of `state_dict`."""
        self.number = state["number"]
        self._best.load_state_dict(state["best"])
