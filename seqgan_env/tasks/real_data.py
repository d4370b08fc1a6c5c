"""What the tasks with a fixed set of real sequences have in common: the split, drawing, and
measuring.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Self

import numpy as np
import torch
from torch import Tensor

from seqgan_env.generators.knobs import FEW_KNOBS, Knob, Temperature, knobs_for
from seqgan_env.metrics.real_data import RealDataMetrics
from seqgan_env.metrics.score import REFEREED, SELECT
from seqgan_env.tasks.carried import MayLackData
from seqgan_env.tasks.options import SplitSettings
from seqgan_env.types import Estimate, Judge, RolloutPolicy, TokenSpec

Words = tuple[str, ...]  # of a line of text or a melody
MOST_IN_MEMORY = 2**26  # numbers of 8 bytes each
MOST_JUDGED = 20_000  # to select on and to report on; beyond that errors hardly fall


class RealDataTask(MayLackData):
    """A task whose real sequences are all there is, split into those to train on, to select on and
    to report on.
    """

    def __init__(
        self,
        name: str,
        spec: TokenSpec,
        parts: Sequence[Tensor],
        num_eval: int,
        metrics: Callable[[TokenSpec, Tensor, Tensor], RealDataMetrics] = RealDataMetrics,
    ) -> None:
        """
        Args:
            name: of the task.
            spec: of its sequences.
            parts: sequences (M, T) to train on, (M', T) to select on and (M'', T) to report on.
            num_eval: sequences drawn from a policy to evaluate it.
            metrics: makes what measures them, of the spec, the first and the last of the parts.
        """
        self.name, self.spec = name, spec
        self.real_sequences, self.validation, self.held_out = parts
        self._num_eval, self._metrics = num_eval, metrics(spec, self.real_sequences, self.held_out)

    def draw_real(self, num: int, rng: torch.Generator) -> Tensor:
        """`num` training sequences (num, T) in random order, each once before any comes again."""
        return draw_without_repeats(self.real_sequences, num, rng)

    def evaluate(self, policy: RolloutPolicy, rng: torch.Generator) -> dict[str, float]:
        """The task's metrics, `RealDataMetrics` or more, of `num_eval` sequences drawn from a
        policy.
        """
        return self._metrics.of_policy(policy, self._num_eval, rng)

    def estimates(self, policy: RolloutPolicy, rng: torch.Generator) -> dict[str, Estimate]:
        """The metrics of `evaluate`, of the same draws, with 95 % intervals."""
        return self._metrics.estimates(policy, self._num_eval, rng)

    def measure(self, samples: Tensor) -> dict[str, float]:
        """The metrics of sequences (B, T) from anywhere.

        Raises:
            ValueError: they are no finished sequences of this task, or fewer than 2.
        """
        return self._metrics.of_samples(self.spec.check_sequences(samples, "samples"))

    @cached_property
    def referee(self) -> Judge | None:
        """Classifiers that say how far a policy's sequences are from these; None where these are
        too few.
        """
        from seqgan_env.metrics.referee import Referee  # loads scipy: where it is used

        return Referee.of(self.spec, self.real_sequences, self.validation, self.held_out)

    def knobs_of(self, policy: RolloutPolicy, more: Sequence[Knob] = ()) -> list[Knob]:
        """The knobs that fit a policy, fewer than where densities are known, and `more`."""
        return knobs_for(policy, self.spec.vocab_size, [*FEW_KNOBS, *more])

    def measure_knobs(
        self, policy: RolloutPolicy, knobs: Sequence[Knob], seed: int
    ) -> Iterator[dict[str, float]]:
        """The metrics of every knob and the referee's, of which that on validation data chooses the
        best.
        """
        for knob in knobs:
            turned = knob(policy)
            row = self.evaluate(turned, self._rng(seed))
            if self.referee is not None:
                row |= dict(self.referee.of_policy(turned, self._rng(seed)))
                row[SELECT + REFEREED.divergence] = row[f"{REFEREED.divergence}_validation"]
            if isinstance(knob, Temperature):
                row["temperature"] = knob.value
            yield row

    def paired_error(self, policy: RolloutPolicy, other: RolloutPolicy, seed: int) -> float | None:
        """None: the referee judges one policy at a time."""
        return None

    def _rng(self, seed: int) -> torch.Generator:
        return torch.Generator(device=self.real_sequences.device).manual_seed(seed)

    def to(self, device: str) -> Self:
        """Moves the data to `device`, in place."""
        if self.no_data is None:
            for name in ("real_sequences", "validation", "held_out"):
                setattr(self, name, getattr(self, name).to(device))
        return self


def allocated(shape: tuple[int, int], most: int) -> np.ndarray:
    """Room for numbers 0..`most`: int64; of very many the narrowest type, mapped from a temporary
    file, so that the operating system decides what is in memory.
    """
    if math.prod(shape) <= MOST_IN_MEMORY:
        return np.empty(shape, dtype=np.int64)
    kind = np.int16 if most <= np.iinfo(np.int16).max else np.int32
    with tempfile.TemporaryFile() as file:  # the mapping keeps it
        return np.memmap(file, dtype=kind, mode="w+", shape=shape)


def draw_without_repeats(sequences: Tensor, num: int, rng: torch.Generator) -> Tensor:
    """`num` rows of `sequences` (M, T), in random order, each once before any comes again."""
    orders = [
        torch.randperm(len(sequences), generator=rng, device=rng.device)
        for _ in range(-(-num // len(sequences)))
    ]
    return sequences[torch.cat(orders)[:num].to(sequences.device)].long()


def split(
    items: Sequence[Words], settings: SplitSettings, source: str, kind: str
) -> list[list[Words]]:
    """The items to train on, to select on and to report on, in their order; what is the same is on
    the same side.

    Raises:
        ValueError: `source` has too few items of this `kind`.
    """
    seed = str(settings.split_seed)
    hashes = b"".join(digest(seed, *item)[:8] for item in items)
    shares = (settings.validation_share, settings.held_out_share)
    part_of = sides(np.frombuffer(hashes, dtype=">u8"), shares, source, kind).tolist()
    return [
        [item for item, its_part in zip(items, part_of, strict=True) if its_part == part]
        for part in range(3)
    ]


def sides(keys: np.ndarray, shares: tuple[float, float], source: str, kind: str) -> np.ndarray:
    """To which part each item goes, (M,): 0 to train on, 1 to select on, 2 to report on.

    Args:
        keys: (M,), hashes of the items; those with the same are on the same side.
        shares: of the distinct ones, to select on and to report on, but `MOST_JUDGED` each at most;
            0 where there is no such part.
        source: of the items, for messages.
        kind: of the items, for messages.

    Raises:
        ValueError: there are too few.
    """
    distinct, ranks = np.unique(keys, return_inverse=True)
    needed = fewest(shares)
    if len(distinct) < needed:
        told = " and ".join(f"{share:g}" for share in shares if share)
        raise ValueError(
            f"{source} has {len(distinct)} distinct {kind} to use; {needed} or more are needed, so "
            f"that a share of {told} is one at least"
        )
    num_validation, num_held_out = (
        min(round(share * len(distinct)), MOST_JUDGED) for share in shares
    )
    part: np.ndarray = np.where(ranks < num_validation, 1, 2)
    part[ranks >= num_validation + num_held_out] = 0
    return part


def fewest(shares: tuple[float, float]) -> int:
    """The fewest distinct items of which each share that is not 0 is one at least."""
    wanted = [share for share in shares if share]
    return next(n for n in itertools.count(1 + len(wanted)) if all(round(s * n) for s in wanted))


def digest(*parts: str) -> bytes:
    """A hash of texts that is the same on every machine."""
    return hashlib.sha256("\0".join(parts).encode()).digest()
