"""Distributions over thousands of tokens: a fused log-probability and entropy for training, and
SB3's distribution object.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from stable_baselines3.common.distributions import Distribution
from torch import Tensor, nn
from torch.distributions import Categorical

from seqgan_env.generators.sampling import rows_per_chunk

# exp of it is 0, and unlike minus infinity it leaves no NaN in entropies, divergences and gradients
FORBIDDEN_LOGIT = -1e8


def log_probs_and_entropy(
    hidden: Tensor, weight: Tensor, bias: Tensor, actions: Tensor, forbidden: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """log softmax(h W + b)[action] and the entropy of softmax(h W + b), (R,) each, in nats, with
    gradients.

    Args:
        hidden: (R, H).  weight: (V, H).  bias: (V,).  actions: (R,) int64.
        forbidden: (R, V) bool, tokens of probability 0, or None.
    """
    result: tuple[Tensor, Tensor] = _LogProbsAndEntropy.apply(
        hidden, weight, bias, actions, forbidden
    )
    return result


class _LogProbsAndEntropy(torch.autograd.Function):
    """Differentiable once.

    Rows go through in chunks whose logits stay in cache; only the probabilities are kept.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor,
        actions: Tensor,
        forbidden: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        probs = hidden.new_empty(len(hidden), len(bias))
        log_probs, entropy = hidden.new_empty(len(hidden)), hidden.new_empty(len(hidden))
        chunk = rows_per_chunk(len(bias), hidden.device)
        for start in range(0, len(hidden), chunk):
            rows = slice(start, start + chunk)
            logits = torch.addmm(bias, hidden[rows], weight.t())
            if forbidden is not None:
                logits.masked_fill_(forbidden[rows], FORBIDDEN_LOGIT)
            logits.sub_(logits.amax(1, keepdim=True))
            mass = torch.exp(logits, out=probs[rows])
            total = mass.sum(1, keepdim=True)
            log_total = total.log().squeeze(1)
            log_probs[rows] = logits.gather(1, actions[rows].unsqueeze(1)).squeeze(1) - log_total
            mass.div_(total)
            entropy[rows] = log_total - logits.mul_(mass).sum(1)
        ctx.save_for_backward(hidden, weight, actions, probs, entropy)
        ctx.set_materialize_grads(False)
        return log_probs, entropy

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        hidden, weight, actions, probs, entropy = ctx.saved_tensors
        grad_log_probs, grad_entropy = grad_outputs
        grad_hidden, grad_weight = torch.empty_like(hidden), torch.zeros_like(weight)
        grad_bias = weight.new_zeros(len(weight))
        through_entropy = grad_entropy is not None and bool(grad_entropy.any())
        chunk = rows_per_chunk(len(weight), hidden.device)
        for start in range(0, len(hidden), chunk):
            rows = slice(start, start + chunk)
            p = probs[rows]
            g = torch.zeros_like(entropy[rows])
            if grad_log_probs is not None:
                g = grad_log_probs[rows]
            grad_logits = (p * -g.unsqueeze(1)).scatter_add_(
                1, actions[rows].unsqueeze(1), g.unsqueeze(1)
            )  # g (one hot - p)
            if through_entropy and grad_entropy is not None:
                surprise = torch.xlogy(p, p).addcmul_(
                    p, entropy[rows].unsqueeze(1)
                )  # p (log p + H)
                grad_logits.addcmul_(surprise, -grad_entropy[rows].unsqueeze(1))
            torch.mm(grad_logits, weight, out=grad_hidden[rows])
            grad_weight.addmm_(grad_logits.t(), hidden[rows])
            grad_bias += grad_logits.sum(0)
        return grad_hidden, grad_weight, grad_bias, None, None


class TokenDistribution(Distribution):
    """Stable-Baselines3's view of softmax over the tokens, with `.distribution` for its KL
    divergence.

    Unlike SB3's own, an instance is one distribution and is not filled anew; nothing is validated,
    since the logits are ours.
    """

    def __init__(self, logits: Tensor) -> None:
        """
        Args:
            logits: (R, V), `FORBIDDEN_LOGIT` or minus infinity for tokens that are never to be
                drawn.
        """
        super().__init__()
        self.distribution: Categorical = Categorical(
            logits=logits.clamp(min=FORBIDDEN_LOGIT), validate_args=False
        )

    def apply_masking(self, masks: np.ndarray | Tensor | None) -> None:
        """Forbids the tokens where `masks` (R, V) is 0, as sb3-contrib's distributions do."""
        if masks is not None:
            allowed = torch.as_tensor(
                masks, device=self.distribution.logits.device, dtype=torch.bool
            )
            logits = self.distribution.logits.masked_fill(
                ~allowed.view(self.distribution.logits.shape), FORBIDDEN_LOGIT
            )
            self.distribution = Categorical(logits=logits, validate_args=False)

    def log_prob(self, actions: Tensor) -> Tensor:
        chosen: Tensor = self.distribution.logits.gather(1, actions.long().view(-1, 1)).squeeze(1)
        return chosen

    def entropy(self) -> Tensor:
        entropy: Tensor = self.distribution.entropy()
        return entropy

    def sample(self) -> Tensor:
        """Tokens (R,), by inversion of one uniform draw from torch's global generator each."""
        cumulative = self.distribution.probs.cumsum(1)
        target = torch.rand(len(cumulative), 1, device=cumulative.device) * cumulative[:, -1:]
        index = torch.searchsorted(cumulative, target, right=True).clamp_(
            max=cumulative.shape[1] - 1
        )
        drawn = torch.where(
            self.distribution.probs.gather(1, index) > 0,
            index,
            self.distribution.probs.argmax(1, keepdim=True),
        )
        return drawn.squeeze(1)

    def mode(self) -> Tensor:
        return self.distribution.logits.argmax(1)

    def proba_distribution_net(self, *args: Any, **kwargs: Any) -> nn.Module:
        raise NotImplementedError("the output layer belongs to the language model")

    def proba_distribution(self, *args: Any, **kwargs: Any) -> TokenDistribution:
        """A new distribution from logits (R, V)."""
        return TokenDistribution(*args, **kwargs)

    def actions_from_params(self, *args: Any, deterministic: bool = False, **kwargs: Any) -> Tensor:
        return TokenDistribution(*args, **kwargs).get_actions(deterministic)

    def log_prob_from_params(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        new = TokenDistribution(*args, **kwargs)
        actions = new.sample()
        return actions, new.log_prob(actions)
