"""Training of a discriminator, of any kind (Yu et al. 2017, eq. 5)."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import increment_version

from seqgan_env.budget import Budget
from seqgan_env.discriminators.base import Discriminator, FastSteps, Step, in_mode
from seqgan_env.optimizers import load_optimizer
from seqgan_env.rowwise import full_precision


@dataclass
class DiscriminatorTrainer:
    """Trains a discriminator on real and generated sequences with the logistic loss.

    Attributes:
        discriminator: trained in place.
        budget: counts the sequences trained on; a new one if not given.
        fast: whether the discriminator's own way of making a step may stand in for autograd.
        optimizer: that of `Discriminator.make_optimizer`; any other of torch may take its place.
    """

    discriminator: Discriminator
    budget: Budget = field(default_factory=Budget)
    fast: bool = True
    optimizer: torch.optim.Optimizer = field(init=False)
    fast_steps: FastSteps | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.optimizer = self.discriminator.make_optimizer()
        self.fast_steps = None
        if self.fast:
            self.fast_steps = self.discriminator.fast_steps()

    @full_precision()
    def fit(
        self, real: Tensor, generated: Tensor, num_epochs: int, rng: torch.Generator
    ) -> dict[str, float]:
        """`num_epochs` passes over real (M, T) and generated (M', T) sequences, shuffled together.

        Returns:
            `loss`, the mean logistic loss of the last epoch without the penalty, in nats per
            sequence.
        """
        # Real sequences first, labelled 1, and generated ones, labelled 0.
        tokens = torch.cat([real, generated])
        labels = (torch.arange(len(tokens), device=tokens.device) < len(real)).to(torch.float32)
        loss = zero = torch.zeros((), dtype=torch.float64, device=tokens.device)
        step = self._choose_step()
        parameters = list(self.discriminator.parameters())
        with in_mode(self.discriminator, training=True):
            for _ in range(num_epochs):
                order = torch.randperm(len(tokens), generator=rng, device=rng.device)
                loss = zero
                for rows in order.to(tokens.device).split(self.discriminator.batch_size):
                    loss = loss + step(tokens[rows], labels[rows], rng).double() * len(rows)
                    increment_version(parameters)  # for autograd's checks; fused steps do not
        self.budget.sequences_trained += num_epochs * len(tokens)
        if not num_epochs:
            return {"loss": math.nan}
        return {"loss": float(loss) / len(tokens)}

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state; not the discriminator."""
        return copy.deepcopy({"optimizer": self.optimizer.state_dict()})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state of `state_dict`."""
        load_optimizer(self.optimizer, state["optimizer"])

    def _choose_step(self) -> Step:
        fast = None
        if self.fast_steps is not None:
            fast = self.fast_steps.step_with(self.optimizer)
        if fast is None:
            return self.step_by_autograd
        return fast

    def step_by_autograd(self, tokens: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
        """A `Step` that any discriminator and any optimizer can make."""
        # Loss and penalty.
        logits = self.discriminator(tokens, rng)
        loss = F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
        penalty = self.discriminator.penalty()
        objective = loss
        if penalty is not None:
            objective = loss + penalty

        # Optimise.
        self.optimizer.zero_grad(set_to_none=True)
        objective.backward()
        self.optimizer.step()
        return loss.detach()


def discriminator_accuracy(
    discriminator: Discriminator, real: Tensor, generated: Tensor
) -> dict[str, float]:
    """Accuracies in 0..1 on `real` (M, T) and `generated` (M', T) sequences that it was never
    trained on, and their mean.
    """
    accuracy_real = float((discriminator.logits(real) > 0).float().mean())
    accuracy_generated = float((discriminator.logits(generated) <= 0).float().mean())
    return {
        "accuracy_real_heldout": accuracy_real,
        "accuracy_generated_heldout": accuracy_generated,
        "accuracy_heldout": (accuracy_real + accuracy_generated) / 2,
    }
