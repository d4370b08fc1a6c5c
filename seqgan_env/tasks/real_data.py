"""What the tasks with a fixed set of real sequences have in common: the split, drawing, and
measuring.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from seqgan_env.generators.knobs import FEW_KNOBS, Knob, Temperature, knobs_for
from seqgan_env.metrics.real_data import RealDataMetrics
from seqgan_env.metrics.score import REFEREED, SELECT
from seqgan_env.tasks.options import SplitSettings
from seqgan_env.types import Estimate, Judge, RolloutPolicy, TokenSpec

Words = tuple[str, ...]  # of a line of text or a melody


class RealDataTask:
    """A task whose real sequences are all there is, split into those to train on, to select on and
    to report on.
    """

    def __init__(
        self,
        name: str,
        spec: TokenSpec,
        parts: Sequence[Tensor],
        num_eval: int,
        metrics: type[RealDataMetrics] = RealDataMetrics,
    ) -> None:
        """Args:
        name: of the task.
        spec: of its sequences.
        parts: sequences (M, T) to train on, (M', T) to select on and (M'', T) to report on.
        num_eval: sequences drawn from a policy to evaluate it.
        metrics: what measures them.
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
        for name in ("real_sequences", "validation", "held_out"):
            setattr(self, name, getattr(self, name).to(device))
        return self


def draw_without_repeats(sequences: Tensor, num: int, rng: torch.Generator) -> Tensor:
    """`num` rows of `sequences` (M, T), in random order, each once before any comes again."""
    orders = [
        torch.randperm(len(sequences), generator=rng, device=rng.device)
        for _ in range(-(-num // len(sequences)))
    ]
    return sequences[torch.cat(orders)[:num].to(sequences.device)]


def split(
    items: Sequence[Words], settings: SplitSettings, source: str, kind: str
) -> list[list[Words]]:
    """The items to train on, to select on and to report on, in their order; what is the same is on
    the same side.

    Raises:
        ValueError: `source` has too few items of this `kind`.
    """
    shuffled = sorted(set(items), key=lambda item: digest(str(settings.split_seed), *item))
    num_validation = max(1, round(settings.validation_share * len(shuffled)))
    num_held_out = max(1, round(settings.held_out_share * len(shuffled)))
    if num_validation + num_held_out >= len(shuffled):
        raise ValueError(
            f"{source} has {len(shuffled)} distinct {kind} to use; a split into three parts needs "
            "3 or more"
        )
    side = dict.fromkeys(shuffled[:num_validation], 1) | dict.fromkeys(
        shuffled[num_validation:][:num_held_out], 2
    )
    return [[item for item in items if side.get(item, 0) == part] for part in range(3)]


def digest(*parts: str) -> bytes:
    """A hash of texts that is the same on every machine."""
    return hashlib.sha256("\0".join(parts).encode()).digest()
