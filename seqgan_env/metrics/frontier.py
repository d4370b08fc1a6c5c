"""The temperature frontier: what the pre-trained policy reaches when only its sampling temperature changes.

Quality (`nll_oracle`) is bought with diversity (`nll_gen`) by turning one knob. An agent has learned something where it lies
below that curve (Caccia et al. 2020, "Language GANs falling short").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

TEMPERATURES = tuple(float(t) for t in np.round(np.geomspace(1.25, 0.3, 20), 4))


@dataclass(frozen=True)
class Frontier:
    """The curve of one policy, by falling temperature from the temperature of its best `nll_gen` on.

    Attributes:
        temperatures: (K,) falling.
        diversity_cost: (K,) rising; `nll_gen`, nats per token.
        quality_cost: (K,) falling, the least met up to each point; `nll_oracle` in nats per token, or BLEU with its sign changed.
    """

    temperatures: np.ndarray
    diversity_cost: np.ndarray
    quality_cost: np.ndarray

    @classmethod
    def from_points(
        cls, temperatures: Sequence[float], diversity_cost: Sequence[float], quality_cost: Sequence[float]
    ) -> Frontier:
        """The frontier through measured points; those that are worse in both than another one drop out."""
        order = np.argsort(np.asarray(temperatures))[::-1]
        temperature, diversity, quality = (
            np.asarray(a, dtype=float)[order] for a in (temperatures, diversity_cost, quality_cost)
        )
        best = int(diversity.argmin())
        temperature, diversity, quality = temperature[best:], diversity[best:], quality[best:]
        return cls(temperature, np.maximum.accumulate(diversity), np.minimum.accumulate(quality))

    def quality_cost_at(self, diversity_cost: float) -> float:
        """What temperature alone reaches at this diversity; the nearest end of the curve beyond it."""
        return float(np.interp(diversity_cost, self.diversity_cost, self.quality_cost))

    def temperature_at(self, diversity_cost: float) -> float:
        """The temperature at which the policy has this diversity; the nearest end of the curve beyond it."""
        return float(np.interp(diversity_cost, self.diversity_cost, self.temperatures))

    def gain(self, diversity_cost: float, quality_cost: float) -> float:
        """How much lower a policy's quality cost is than this curve at its diversity; 0 is "a knob does it"."""
        return self.quality_cost_at(diversity_cost) - quality_cost


def trace_frontier(
    evaluate: Callable[[float], Mapping[str, float]],
    quality_cost: Callable[[Mapping[str, float]], float],
    temperatures: Sequence[float] = TEMPERATURES,
) -> tuple[Frontier, list[dict[str, float]]]:
    """The frontier, and all metrics at every temperature.

    Args:
        evaluate: temperature to metrics with `nll_gen`; the same random draws at every call make a smooth curve.
        quality_cost: metrics to the cost that temperature trades for `nll_gen`.
        temperatures: to measure at.
    """
    rows = [{"temperature": t} | dict(evaluate(t)) for t in temperatures]
    frontier = Frontier.from_points(temperatures, [row["nll_gen"] for row in rows], [quality_cost(row) for row in rows])
    return frontier, rows
