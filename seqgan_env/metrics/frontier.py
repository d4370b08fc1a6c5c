"""The temperature frontier: what the pre-trained policy reaches when only its sampling temperature changes.

Quality (`nll_oracle`, or BLEU) is bought with diversity (`nll_gen`, or Self-BLEU) by turning one knob. An agent has learned
something where it lies beyond that curve (Caccia et al. 2020, "Language GANs falling short").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.interpolate import CubicSpline

TEMPERATURES = tuple(float(t) for t in np.round(np.geomspace(1.25, 0.3, 20), 4))

_DENSITY = 10  # points of a curve between two measured ones


@dataclass(frozen=True)
class Plane:
    """A measure of diversity and one of quality, between which temperature trades.

    Attributes:
        gain: the metric that says how far beyond the frontier of this plane a policy lies.
        diversity: a metric; the lower, the more diverse.
        quality: a metric.
        high_is_good: of the quality; False where it is a cost.
    """

    gain: str
    diversity: str
    quality: str
    high_is_good: bool

    def holds(self, metrics: Iterable[str]) -> bool:
        """Whether a policy with these metrics has a place in this plane."""
        return {self.diversity, self.quality} <= set(metrics)

    def quality_cost(self, metrics: Mapping[str, float]) -> float:
        """The quality, its sign changed where high is good."""
        return -metrics[self.quality] if self.high_is_good else metrics[self.quality]


PLANES = (
    Plane("frontier_gain", "nll_gen", "nll_oracle", high_is_good=False),
    Plane("frontier_gain", "nll_gen", "bleu4", high_is_good=True),
    Plane("bleu_frontier_gain", "self_bleu4", "bleu4", high_is_good=True),
)


def planes(metrics: Iterable[str]) -> list[Plane]:
    """The planes in which a policy with these metrics has a place; one for each gain."""
    names = set(metrics)
    found: dict[str, Plane] = {}
    for plane in PLANES:
        if plane.holds(names):
            found.setdefault(plane.gain, plane)
    return list(found.values())


@dataclass(frozen=True)
class Frontier:
    """The curve of one policy through the temperatures that no other beats in both diversity and quality (the Pareto front).

    Attributes:
        temperatures: (K,) where it was measured; usually falling.
        diversity_cost: (K,) rising; `nll_gen` in nats per token, or Self-BLEU.
        quality_cost: (K,) falling; `nll_oracle` in nats per token, or BLEU with its sign changed.
    """

    temperatures: np.ndarray
    diversity_cost: np.ndarray
    quality_cost: np.ndarray

    @classmethod
    def from_points(
        cls, temperatures: Sequence[float], diversity_cost: Sequence[float], quality_cost: Sequence[float]
    ) -> Frontier:
        """The frontier through measured points; those that are no better than another one in both drop out."""
        order = np.lexsort((quality_cost, diversity_cost))
        columns = (np.asarray(column, dtype=float)[order] for column in (temperatures, diversity_cost, quality_cost))
        temperature, diversity, quality = columns
        best_before = np.concatenate([[np.inf], np.minimum.accumulate(quality)[:-1]])
        keep = quality < best_before
        return cls(temperature[keep], diversity[keep], quality[keep])

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, float]], plane: Plane) -> Frontier:
        """The frontier in a plane, from metrics by temperature, each row with its `temperature`."""
        temperatures, diversity = ([row[name] for row in rows] for name in ("temperature", plane.diversity))
        return cls.from_points(temperatures, diversity, [plane.quality_cost(row) for row in rows])

    def quality_cost_at(self, diversity_cost: float) -> float:
        """What temperature alone reaches at this diversity; the nearest end of the curve beyond it."""
        return float(np.interp(diversity_cost, self.diversity_cost, self.quality_cost))

    def temperature_at(self, diversity_cost: float) -> float:
        """The temperature at which the policy has this diversity; the nearest end of the curve beyond it."""
        return float(np.interp(diversity_cost, self.diversity_cost, self.temperatures))

    def gain(self, diversity_cost: float, quality_cost: float) -> float:
        """How much lower a policy's quality cost is than this curve at its diversity; 0 is "a knob does it"."""
        return self.quality_cost_at(diversity_cost) - quality_cost


def denser(rows: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """Metrics by temperature, at temperatures between the measured ones too: cubic splines in log T through every metric.

    Diversity is best near temperature 1. There quality runs like a square root of diversity, and a straight line between two
    temperatures would be worse than what lies between them by up to a quarter of their distance: a gain for nothing.
    """
    measured = sorted(rows, key=lambda row: row["temperature"])
    if len(measured) < 2:
        return [dict(row) for row in measured]
    names = [name for name in measured[0] if name != "temperature" and all(name in row for row in measured)]
    at = np.log([row["temperature"] for row in measured])
    through = CubicSpline(at, [[row[name] for name in names] for row in measured])
    between = np.concatenate([np.linspace(a, b, _DENSITY + 1)[1:-1] for a, b in pairwise(at)])
    found = [
        {"temperature": float(np.exp(t)), **dict(zip(names, values, strict=True))}
        for t, values in zip(between, through(between).tolist(), strict=True)
    ]
    exact = [{name: row[name] for name in ("temperature", *names)} for row in measured]
    return sorted(found + exact, key=lambda row: row["temperature"])


class Frontiers:
    """The frontiers of one policy in every plane in which it has a place."""

    def __init__(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Args: rows: all metrics of the policy by temperature, each row with its `temperature`; no rows, no frontiers."""
        between = denser(rows)
        self.by_plane = {plane: Frontier.from_rows(between, plane) for plane in (planes(rows[0]) if rows else [])}

    def gains(self, metrics: Mapping[str, float], prefix: str = "") -> dict[str, float]:
        """`frontier_gain` and `bleu_frontier_gain`, behind `prefix`, of a policy with these metrics, whose names begin with it.

        Where a metric is missing, as `nll_gen` of a policy without likelihoods, the gains that need it are.
        """
        plain = {key.removeprefix(prefix): value for key, value in metrics.items() if key.startswith(prefix)}
        return {
            prefix + plane.gain: frontier.gain(plain[plane.diversity], plane.quality_cost(plain))
            for plane, frontier in self.by_plane.items()
            if plane.holds(plain)
        }

    def matching_temperature(self, metrics: Mapping[str, float]) -> float | None:
        """The temperature at which the frontiers' policy is as diverse as one with these metrics, in their first common plane."""
        for plane, frontier in self.by_plane.items():
            if plane.holds(metrics):
                return frontier.temperature_at(metrics[plane.diversity])
        return None
