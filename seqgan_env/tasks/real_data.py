"""What the tasks with a fixed set of real sequences have in common.

These are the split into three parts, drawing real sequences, and measuring written ones.
"""

from __future__ import annotations

import hashlib
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

Words = tuple[str, ...]  # of a line of text, a melody, a molecule or a peptide
MOST_IN_MEMORY = 2**26  # numbers of 8 bytes each; larger sets are mapped from a file
# Of sequences that a policy was trained on these would say that it was trained on them.
LOOK_AT_TRAINING = ("copied_share", "perplexity_samples", "novelty")
MOST_JUDGED = 20_000  # items to select on, or to report on; with more, errors hardly fall


class RealDataTask(MayLackData):
    """A task whose real sequences are all there is.

    They are split into those to train on, to select on and to report on.
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

    def measure_real(self) -> dict[str, float]:
        """The metrics of as many real sequences as `evaluate` draws, or of all that there are:
        those of validation, then of training. See `MeasuresReal`.

        Those of `LOOK_AT_TRAINING` are of the validation sequences alone.
        """
        chosen, counts = unseen_first(self.validation, self.real_sequences, self._num_eval)
        metrics = self.measure(chosen)
        if counts["num_training"]:
            unseen = self._of_validation()
            for name in LOOK_AT_TRAINING:
                metrics.pop(name, None)
                if name in unseen:
                    metrics[name] = unseen[name]
        return metrics | counts

    def _of_validation(self) -> dict[str, float]:
        """The metrics of the validation sequences; none where there are too few to measure."""
        if len(self.validation) < 2:
            return {}
        return self.measure(self.validation.long())

    @cached_property
    def referee(self) -> Judge | None:
        """Classifiers that say how far a policy's sequences are from the real ones.

        None where the real ones are too few.
        """
        from seqgan_env.metrics.referee import Referee  # loads scipy: where it is used

        return Referee.of(self.spec, self.real_sequences, self.validation, self.held_out)

    def knobs_of(self, policy: RolloutPolicy, more: Sequence[Knob] = ()) -> list[Knob]:
        """The knobs that fit a policy, fewer than where densities are known, and `more`.

        Raises:
            ValueError: one of `more` does not fit.
        """
        return knobs_for(policy, self.spec.vocab_size, FEW_KNOBS, more)

    def measure_knobs(
        self, policy: RolloutPolicy, knobs: Sequence[Knob], seed: int
    ) -> Iterator[dict[str, float]]:
        """The metrics of a policy under every knob, those of the referee too.

        The best knob is chosen by the referee's divergence on validation data.
        """
        for knob in knobs:
            turned = knob(policy)
            row = self.evaluate(turned, self._rng(seed))
            if self.referee is not None:
                # From the seed again, so that neither changes what the other draws.
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
    """Room for numbers 0..`most`, with whatever stands there.

    It is an int64 array. For very many numbers it is of the narrowest type that holds them and
    mapped from a temporary file, so that the operating system decides what is in memory.
    """
    if math.prod(shape) <= MOST_IN_MEMORY:
        return np.empty(shape, dtype=np.int64)
    kind = np.int16 if most <= np.iinfo(np.int16).max else np.int32
    with tempfile.TemporaryFile() as file:  # the mapping keeps it
        return np.memmap(file, dtype=kind, mode="w+", shape=shape)


def draw_without_repeats(sequences: Tensor, num: int, rng: torch.Generator) -> Tensor:
    """`num` rows of `sequences` (M, T), in random order, each once before any comes again."""
    num_rounds = -(-num // len(sequences))
    orders = []
    for _ in range(num_rounds):
        orders.append(torch.randperm(len(sequences), generator=rng, device=rng.device))  # (M,)
    rows = torch.cat(orders)[:num].to(sequences.device)  # (num,)
    return sequences[rows].long()


def unseen_first(
    validation: Tensor, real_sequences: Tensor, num: int
) -> tuple[Tensor, dict[str, int]]:
    """`num` real sequences (num, T), or all that there are, each once; and how many are of which
    part, `num_validation` and `num_training`.

    Those of validation come first, since no policy was trained on them. The choice is always the
    same.

    Args:
        validation: (M', T).
        real_sequences: (M, T) to train on.
        num: how many are wanted.
    """
    rng = torch.Generator().manual_seed(0)
    num_validation = min(num, len(validation))
    num_training = min(num - num_validation, len(real_sequences))
    chosen = []
    for part, wanted in ((validation, num_validation), (real_sequences, num_training)):
        if wanted:  # a part may be empty
            chosen.append(draw_without_repeats(part, wanted, rng))
    counts = {"num_validation": num_validation, "num_training": num_training}
    return torch.cat(chosen), counts


def split(
    items: Sequence[Words], settings: SplitSettings, source: str, kind: str
) -> list[list[Words]]:
    """The items to train on, to select on and to report on, in their order.

    Items that are the same are on the same side. The side of an item is decided by its hash with
    the seed, so that the order of the items changes none.

    Args:
        items: all that there are.
        settings: the seed and the shares of the parts.
        source: of the items, for messages.
        kind: of the items, for messages.

    Raises:
        ValueError: `source` has too few items of this `kind`.
    """
    seed = str(settings.split_seed)
    hashes = bytearray()
    for item in items:
        hashes += digest(seed, *item)[:8]
    keys = np.frombuffer(hashes, dtype=">u8")  # (M,)
    shares = (settings.validation_share, settings.held_out_share)
    parts: list[list[Words]] = [[], [], []]
    for item, part in zip(items, sides(keys, shares, source, kind).tolist(), strict=True):
        parts[part].append(item)
    return parts


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
    validation_share, held_out_share = shares
    num_validation = min(round(validation_share * len(distinct)), MOST_JUDGED)
    num_held_out = min(round(held_out_share * len(distinct)), MOST_JUDGED)
    # Hashes are as good as random, so the smallest of them are a random choice.
    part: np.ndarray = np.where(ranks < num_validation, 1, 2)
    part[ranks >= num_validation + num_held_out] = 0
    return part


def fewest(shares: tuple[float, float]) -> int:
    """The fewest distinct items of which each share that is not 0 is one at least.

    One more than there are such shares is needed, for the part to train on.
    """
    smallest = min(filter(None, shares), default=1.0)
    num = 1 + len(list(filter(None, shares)))
    while round(smallest * num) < 1:
        num += 1
    return num


def digest(*parts: str) -> bytes:
    """A hash of texts that is the same on every machine."""
    return hashlib.sha256("\0".join(parts).encode()).digest()
