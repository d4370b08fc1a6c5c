"""Bootstrap intervals (Efron & Tibshirani 1993) for statistics of sentences.

Sentences are drawn again with replacement: the statistic of so many resamples spreads as it would
over samples of the same size. The interval is about which sentences were drawn. It says nothing
about the seed of a training run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from seqgan_env.types import Estimate

NUM_RESAMPLES = 1_000
QUANTILES = (0.025, 0.975)

_CHUNK = 4_000_000  # counts held at a time


class Statistic(Protocol):
    """A number computed from B sentences, and what it would be of other draws of them."""

    @property
    def value(self) -> float:
        """The statistic of the sentences as they are."""
        ...

    def resampled(self, counts: np.ndarray) -> np.ndarray:
        """Values (R,) where sentence b of B counts `counts[r, b]` times, (R, B) with rows that sum
        to B.
        """
        ...


@dataclass(frozen=True)
class Mean:
    """The mean of `scores` (B,)."""

    scores: np.ndarray

    @property
    def value(self) -> float:
        return float(self.scores.mean())

    def resampled(self, counts: np.ndarray) -> np.ndarray:
        means: np.ndarray = counts @ self.scores / len(self.scores)
        return means


@dataclass(frozen=True)
class Ratio:
    """The sum of `numerators` (B,) over that of `denominators` (B,): a mean per token, say."""

    numerators: np.ndarray
    denominators: np.ndarray

    @property
    def value(self) -> float:
        return float(self.numerators.sum() / self.denominators.sum())

    def resampled(self, counts: np.ndarray) -> np.ndarray:
        ratios: np.ndarray = (counts @ self.numerators) / (counts @ self.denominators)
        return ratios


@dataclass(frozen=True)
class Transformed:
    """A function of another statistic: exp of a mean log-probability is a perplexity."""

    function: Callable[[np.ndarray], np.ndarray]
    of: Statistic

    @property
    def value(self) -> float:
        return float(self.function(np.asarray(self.of.value)))

    def resampled(self, counts: np.ndarray) -> np.ndarray:
        return self.function(self.of.resampled(counts))


@dataclass(frozen=True)
class DeleteOne:
    """Any other statistic, through what it becomes without each of its sentences in turn.

    Resampling would bias the likes of distinct-n: a sentence that is drawn twice repeats all its
    n-grams, and the interval would lie beside the value. What a sentence adds is linear in its
    count here, (B - 1) * (value - value without it) less the mean of these (the jackknife's
    influence); of a mean this is the bootstrap itself.
    """

    value: float
    without_each: Callable[[], np.ndarray]  # -> (B,), computed only where an interval is asked for
    most: float = np.inf  # what it cannot exceed; nor can it fall below 0

    def resampled(self, counts: np.ndarray) -> np.ndarray:
        without = self.without_each()
        influence = (len(without) - 1) * (without.mean() - without)
        values: np.ndarray = np.clip(self.value + counts @ influence / len(without), 0, self.most)
        return values


def intervals(
    statistics: dict[str, Statistic],
    num_sentences: int,
    rng: torch.Generator,
    num_resamples: int = NUM_RESAMPLES,
) -> dict[str, Estimate]:
    """Every statistic with its percentile interval.

    All of them are of the same resamples of their `num_sentences` sentences.
    """
    # Chunk by chunk: the counts of all resamples together would not fit into memory.
    resampled: dict[str, list[np.ndarray]] = defaultdict(list)
    for counts in _resamples(num_sentences, num_resamples, rng):
        for name, statistic in statistics.items():
            resampled[name].append(statistic.resampled(counts))
    found = {}
    for name, statistic in statistics.items():
        low, high = np.quantile(np.concatenate(resampled[name]), QUANTILES).tolist()
        found[name] = Estimate(statistic.value, low, high)
    return found


def interval_of_set(
    function: Callable[[torch.Tensor], float],
    sequences: torch.Tensor,
    rng: torch.Generator,
    num_resamples: int,
) -> tuple[float, float]:
    """The percentile interval of any function of a set of sequences (B, T).

    It is called with every resample (B, T). Where it counts repeats, as the likes of distinct-n
    do, the interval lies beside the value: see `DeleteOne`.
    """
    values = []
    for _ in range(num_resamples):
        rows = torch.randint(len(sequences), (len(sequences),), generator=rng)
        values.append(function(sequences[rows.to(sequences.device)]))
    low, high = np.quantile(values, QUANTILES).tolist()
    return low, high


def _resamples(
    num_sentences: int, num_resamples: int, rng: torch.Generator
) -> Iterator[np.ndarray]:
    """How often each sentence is drawn (R, B), for some resamples R at a time."""
    rows = max(1, _CHUNK // num_sentences)
    for first in range(0, num_resamples, rows):
        num = min(rows, num_resamples - first)
        drawn = (
            torch.randint(num_sentences, (num, num_sentences), generator=rng, device=rng.device)
            .cpu()
            .numpy()
        )
        # Number the sentences of every resample apart, so that one count serves all.
        flat = drawn + np.arange(num)[:, None] * num_sentences
        yield (
            np.bincount(flat.ravel(), minlength=num * num_sentences)
            .reshape(num, num_sentences)
            .astype(float)
        )
