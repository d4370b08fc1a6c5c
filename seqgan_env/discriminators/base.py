"""What a discriminator is: the protocol between those who bring one and those who train it and are
paid by it.

A plug-in is a subclass of `Discriminator` with a `forward`; all else has a default.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from seqgan_env.names import choose
from seqgan_env.rowwise import full_precision, in_parts, in_whole_blocks, sigmoid
from seqgan_env.types import RolloutPolicy, TokenSpec

SCORES_AS = ("probability", "logit")
SEQUENCES_PER_CHUNK = 1024

# One step of training on tokens (B, T), labels (B,), 1 for real sequences and 0 for others, and the
# generator of its dropout. Returns the mean logistic loss of the batch before the step, in nats, as
# a number that still lies on the device.
Step = Callable[[Tensor, Tensor, torch.Generator], Tensor]

# What pre-training is called with: steps done, their number, and metrics.
Tell = Callable[[int, int, dict[str, float]], None]


def silent(done: int, total: int, metrics: dict[str, float]) -> None:
    """Tells nobody."""


class FastSteps(Protocol):
    """Steps of training by other means than autograd, which decline by themselves.

    A trainer holds one from its beginning to its end, and asks it before every series of steps.
    """

    def step_with(self, optimizer: torch.optim.Optimizer) -> Step | None:
        """The step that does what autograd and `optimizer` would; None where it is left to them."""
        ...


class Discriminator(nn.Module, ABC):
    """Tells real sequences from generated ones; `score` is the probability of being real, or its
    logit.

    A class needs `forward` alone. It is made by `Class(spec, rng, **options)` when it is asked for
    by name. `seqgan_env.testing.check_discriminator` verifies an implementation.

    Attributes:
        spec: of the sequences.
        score_as: what `score` returns, "probability" (the paper's) or "logit".
        batch_size: sequences in a step of training, half of them real.
        learning_rate: of Adam, the optimizer of `make_optimizer`.
        learns_from_negatives: False where d-steps would do nothing, so that they are left out.
        needs_policy: whether `forward` asks the policy that it was told of by `bind`.
    """

    batch_size: int = 256
    learning_rate: float = 3e-3
    learns_from_negatives: bool = True
    needs_policy: bool = False

    def __init__(self, spec: TokenSpec, score_as: str = "probability") -> None:
        """
        Args:
            spec: of the sequences.
            score_as: "probability" or "logit".
        """
        super().__init__()
        self.spec, self.score_as = spec, choose(SCORES_AS, score_as, "score_as")

    # What a discriminator computes.

    @abstractmethod
    def forward(self, tokens: Tensor, dropout_rng: torch.Generator | None = None) -> Tensor:
        """Logits (B,) of finished sequences, with gradient.

        Args:
            tokens: (B, T) int64, padded with V behind the end.
            dropout_rng: given in training, the only source of randomness; without it nothing is
                random.
        """

    @property
    def device(self) -> torch.device:
        """Where its first parameter lies."""
        return next(self.parameters()).device

    @torch.no_grad()
    @full_precision()
    def logits(self, tokens: Tensor) -> Tensor:
        """Logits (B,) of sequences (B, T), without dropout and gradient, in evaluation mode.

        On a CPU a logit is a function of its sequence and the parameters alone, bit by bit.
        """
        # Blocks of one size give every sequence the same sums whatever stands beside it.
        route = functools.partial(in_whole_blocks, self)
        with in_mode(self, training=False):
            return in_parts(route, tokens, SEQUENCES_PER_CHUNK)

    def score(self, tokens: Tensor) -> Tensor:
        """P(real) of sequences (B, T), or its logit: (B,)."""
        logits = self.logits(tokens)
        if self.score_as == "logit":
            return logits
        return sigmoid(logits)

    # How it is trained.

    def make_optimizer(self) -> torch.optim.Optimizer:
        """The optimizer of its training."""
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate, fused=True)

    def penalty(self) -> Tensor | None:
        """What is added to the mean logistic loss of a step, a scalar with gradient: the place of
        weight penalties. None for nothing.
        """
        return None

    def fast_steps(self) -> FastSteps | None:
        """What may stand in for autograd in its training; None, and autograd does all of it."""
        return None

    # What it is told.

    def bind(self, policy: RolloutPolicy) -> None:
        """Told of the live policy, by handle, before it scores anything of it; the policy moves on
        by itself. Most have no use for it.

        Raises:
            TypeError: the policy lacks something that the discriminator needs.
        """

    def pretrain(
        self, real: Tensor, validation: Tensor, rng: torch.Generator, tell: Tell = silent
    ) -> dict[str, float]:
        """Learns what can be learned without negatives; nothing unless overridden.

        Called once, before the first d-step.

        Args:
            real: (M, T) of any integer type, to train on; of a large corpus they are mapped from a
                file, so that `.long()` is for the rows that are read at once.
            validation: (M', T), to select on.
            rng: the only source of randomness.
            tell: to be called before the first step and after every one, with the steps done, their
                number and metrics, so that nobody waits in silence.

        Returns:
            Metrics of what it did.
        """
        return {}


@contextmanager
def in_mode(module: nn.Module, training: bool) -> Iterator[None]:
    """`module` and its parts in training or in evaluation mode; then each in its own again."""
    before = [(part, part.training) for part in module.modules()]
    module.train(training)
    try:
        yield
    finally:
        for part, mode in before:
            part.training = mode
