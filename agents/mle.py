"""Maximum likelihood, the pre-training of every agent (Yu et al. 2017, eq. 1)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from seqgan_env.language_model import LanguageModel


class MaximumLikelihood:
    """Fits a language model to sequences with Adam; keeps its optimizer, so that epochs may come one at a time."""

    def __init__(
        self,
        policy: LanguageModel,
        rng: torch.Generator,
        learning_rate: float = 1e-2,
        batch_size: int = 64,
        max_grad_norm: float = 5.0,
    ) -> None:
        """Args:
        policy: trained in place.
        rng: for the order of sequences.
        learning_rate: of Adam.
        batch_size: sequences per step.
        max_grad_norm: gradients are scaled down to this norm.
        """
        self.policy, self.rng, self.batch_size, self.max_grad_norm = policy, rng, batch_size, max_grad_norm
        self.optimizer = torch.optim.Adam([p for p in policy.parameters() if p.requires_grad], lr=learning_rate, fused=True)

    def fit(self, sequences: Tensor, num_epochs: int, read: Callable[[Tensor], Tensor] | None = None) -> dict[str, float]:
        """`num_epochs` passes over `sequences` (M, T).

        Args:
            sequences: to fit.
            num_epochs: passes.
            read: from a batch (B, T) to what the model reads in order to predict it (B, T); if None the batch, moved right.

        Returns:
            `mle_loss`, the mean over the last epoch, in nats per token.
        """
        total = zero = torch.zeros((), device=self.policy.device)
        for _ in range(num_epochs):
            order = torch.randperm(len(sequences), generator=self.rng).to(sequences.device)
            total = sum((self._step(sequences[rows], read) for rows in order.split(self.batch_size)), zero)
        return {"mle_loss": float(total) / max(1, int((sequences != self.policy.spec.pad_token).sum()))}

    def _step(self, tokens: Tensor, read: Callable[[Tensor], Tensor] | None) -> Tensor:
        """One step; the sum of -log p over the batch before it, in nats."""
        written = tokens != self.policy.spec.pad_token
        total = self.policy.weighted_nll(tokens, written.to(torch.float32), read(tokens) if read else None)
        self.optimizer.zero_grad(set_to_none=True)
        (total / written.sum()).backward()
        torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
        self.optimizer.step()
        return total.detach()
