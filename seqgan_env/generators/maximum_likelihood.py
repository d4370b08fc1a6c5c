"""Maximum likelihood, the pre-training of every agent (Yu et al. 2017, eq. 1)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seqgan_env.checks import check_above, check_fields, check_least
from seqgan_env.generators.language_model import LanguageModel
from seqgan_env.optimizers import load_optimizer

EPOCH_TOKENS = 2_000_000  # about a minute on one core


@dataclass(frozen=True)
class MaximumLikelihoodConfig:
    """How an agent's policy is fitted to real sequences before it is paid.

    The names begin with `mle`, because agents have a learning rate of their own beside this one.

    Attributes:
        mle_learning_rate: of the first epoch; chosen for the LSTM, other policies want a smaller
            one.
        mle_batch_size: sequences per step.
        mle_learning_rate_decay: what the rate is multiplied by after every epoch; 1 is the paper's.
        mle_weight_decay: of AdamW; 0 is the paper's Adam.
        max_mle_grad_norm: gradients are scaled down to this norm.
    """

    mle_learning_rate: float = 8e-2
    mle_batch_size: int = 64
    mle_learning_rate_decay: float = 0.95
    mle_weight_decay: float = 0.1
    max_mle_grad_norm: float = 5.0

    def __post_init__(self) -> None:
        check_fields(self)
        check_least(self, 0, "mle_learning_rate", "mle_weight_decay")
        check_least(self, 1, "mle_batch_size")
        check_above(self, 0, "max_mle_grad_norm", "mle_learning_rate_decay")
        if self.mle_learning_rate_decay > 1:
            raise ValueError(
                f"mle_learning_rate_decay is {self.mle_learning_rate_decay}; allowed is above 0 "
                "and at most 1"
            )

    def fitter(self, policy: LanguageModel, rng: torch.Generator) -> MaximumLikelihood:
        """Maximum likelihood of `policy` with these numbers; `rng` is for the order of
        sequences.
        """
        return MaximumLikelihood(
            policy,
            rng,
            learning_rate=self.mle_learning_rate,
            batch_size=self.mle_batch_size,
            max_grad_norm=self.max_mle_grad_norm,
            learning_rate_decay=self.mle_learning_rate_decay,
            weight_decay=self.mle_weight_decay,
        )


class MaximumLikelihood:
    """Fits a language model to sequences with AdamW (Loshchilov & Hutter 2019); epochs may come one
    at a time.

    A falling learning rate and weight decay make maximum likelihood a strong rival: whatever is
    left of its optimisation, any further training would finish, and that would look like a gain.
    Without both of them this is Adam, as the paper has it.
    """

    def __init__(
        self,
        policy: LanguageModel,
        rng: torch.Generator,
        learning_rate: float = 1e-2,
        batch_size: int = 64,
        max_grad_norm: float = 5.0,
        learning_rate_decay: float = 1.0,
        weight_decay: float = 0.0,
    ) -> None:
        """
        Args:
            policy: trained in place.
            rng: for the order of sequences.
            learning_rate: of the first epoch.
            batch_size: sequences per step.
            max_grad_norm: gradients are scaled down to this norm.
            learning_rate_decay: what the learning rate is multiplied by after every epoch.
            weight_decay: decoupled, of AdamW; a step shrinks every parameter by the learning rate
                times this.

        Raises:
            ValueError: a decay out of its range.
        """
        if not 0 < learning_rate_decay <= 1:
            raise ValueError(
                f"learning_rate_decay is {learning_rate_decay}; allowed is above 0 and at most 1"
            )
        if weight_decay < 0:
            raise ValueError(f"weight_decay is {weight_decay}; allowed is 0 or more")
        self.policy, self.rng, self.batch_size, self.max_grad_norm = (
            policy,
            rng,
            batch_size,
            max_grad_norm,
        )
        trained = [p for p in policy.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            trained, lr=learning_rate, weight_decay=weight_decay, fused=True
        )
        self.learning_rate_decay = learning_rate_decay

    def fit(
        self, sequences: Tensor, num_epochs: int, read: Callable[[Tensor], Tensor] | None = None
    ) -> dict[str, float]:
        """`num_epochs` passes over `sequences` (M, T).

        Args:
            sequences: to fit, of any integer type.
            num_epochs: passes.
            read: from a batch (B, T) to what the model reads in order to predict it (B, T); if None
                the batch, moved right.

        Returns:
            `mle_loss`, the mean over the last epoch, in nats per token.
        """
        total = zero = torch.zeros((), dtype=torch.float32, device=self.policy.device)
        for _ in range(num_epochs):
            order = torch.randperm(len(sequences), generator=self.rng).to(sequences.device)
            total = sum(
                (self._step(sequences[rows].long(), read) for rows in order.split(self.batch_size)),
                zero,
            )
            self._lower_learning_rate()
        return {
            "mle_loss": float(total) / max(1, int((sequences != self.policy.spec.pad_token).sum()))
        }

    def state_dict(self) -> dict[str, Any]:
        """The optimizer, its learning rate and the order of sequences to come; not the policy."""
        return copy.deepcopy(
            {"optimizer": self.optimizer.state_dict(), "rng": self.rng.get_state()}
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state of `state_dict`."""
        load_optimizer(self.optimizer, state["optimizer"])
        self.rng.set_state(state["rng"])

    def _lower_learning_rate(self) -> None:
        """What a scheduler of torch would do, which does not survive being pickled."""
        for group in self.optimizer.param_groups:
            group["lr"] *= self.learning_rate_decay

    def _step(self, tokens: Tensor, read: Callable[[Tensor], Tensor] | None) -> Tensor:
        """One step; the sum of -log p over the batch before it, in nats."""
        written = tokens != self.policy.spec.pad_token
        total = self.policy.weighted_nll(
            tokens, written.to(torch.float32), read(tokens) if read else None
        )
        self.optimizer.zero_grad(set_to_none=True)
        (total / written.sum()).backward()
        torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
        self.optimizer.step()
        return total.detach()


def sequences_of_epoch(sequences: Tensor, most_tokens: int, epoch: int) -> Tensor:
    """The sequences (K, T), int64, that an epoch passes through.

    Of more than a budget an epoch passes through a part, each sequence once before any comes again.

    Args:
        sequences: (M, T), of any integer type.
        most_tokens: the budget, padding counted; 0 is none.
        epoch: number of the epoch, from 0.
    """
    num_parts = 1
    if most_tokens:
        num_parts = -(-sequences.numel() // most_tokens)
    if num_parts == 1:
        return sequences.long()
    passed, part = divmod(epoch, num_parts)
    order = torch.randperm(len(sequences), generator=torch.Generator().manual_seed(passed))
    return sequences[order[part::num_parts].to(sequences.device)].long()
