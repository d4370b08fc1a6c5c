"""Softmax over h W + b for large vocabularies: exact draws, log-probabilities and the weighted
likelihood loss.

None of them stores the (R, V) logits: rows go through in chunks whose logits stay in cache.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqgan_env import native
from seqgan_env.native.softmax import NativeSoftmax
from seqgan_env.rowwise import full_precision

_LOGITS_PER_CHUNK = {"cpu": 2**20, "cuda": 2**27}
_BELOW_ONE = 1 - 2**-23  # times a float32 it is a smaller float32
_SAFE_LOGIT = 75.0  # exp of it, summed over a million tokens, is still a float32


def rows_per_chunk(vocab_size: int, device: torch.device) -> int:
    """How many rows of `vocab_size` logits are worked on at once."""
    return max(16, _LOGITS_PER_CHUNK.get(device.type, 2**24) // vocab_size)


def at_least_float32(logits: Tensor) -> Tensor:
    """Logits of 16 bits as float32, in which running sums of probabilities are exact enough to be
    inverted; others as they are.
    """
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


class SoftmaxSampler:
    """Exact draws from softmax(h W + b) by inversion, in two levels: first a block of tokens, then
    a token of the block.

    Prefer it to `torch.multinomial` where V is large: that one costs ten times as much at V 5000.
    Compiled kernels do the work on a CPU where they are built (`seqgan_env.native`), torch
    elsewhere. What a row draws does not depend on the rows beside it.
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        """
        Args:
            weight: (V, H) of the output layer.
            bias: (V,), minus infinity for a token that is never to be drawn.
        """
        softmax: type[NativeSoftmax] | type[_TorchSoftmax] = _TorchSoftmax
        if native.usable(weight, bias):
            softmax = NativeSoftmax
        self._softmax = softmax(weight.detach(), bias.detach())

    def __call__(self, hidden: Tensor, uniform: Tensor) -> Tensor:
        """Tokens (R,) for the states `hidden` (R, H); `uniform` (R,) in [0, 1) is all the
        randomness there is.
        """
        return self._softmax.draw(hidden.detach(), uniform, with_log_probs=False)[0]

    def draw_with_log_probs(self, hidden: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """The tokens (R,) that a call would draw and their log-probabilities (R,), in nats, without
        gradient.
        """
        return self._softmax.draw(hidden.detach(), uniform, with_log_probs=True)


class _TorchSoftmax:
    """The plain route, on any device and in any precision."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.vocab_size = len(bias)
        self.block_size = max(8, round(self.vocab_size**0.5))
        padding = -self.vocab_size % self.block_size
        self.weight = F.pad(weight, (0, 0, 0, padding)).t().contiguous()  # (H, V padded)
        self.bias = F.pad(bias, (0, padding), value=-torch.inf)
        self._bounds: tuple[float, float] | None = (
            None  # of |w| and b; elsewhere than on a CPU asking would be a round trip
        )
        if weight.device.type == "cpu":
            self._bounds = float(self.weight.norm(dim=0).max()), abs(float(self.bias.max()))

    def draw(self, hidden: Tensor, uniform: Tensor, with_log_probs: bool) -> tuple[Tensor, Tensor]:
        if len(hidden) == 0:
            return uniform.new_empty(0, dtype=torch.int64), hidden.new_empty(0)
        chunk = rows_per_chunk(self.vocab_size, hidden.device)
        shift = not self._cannot_overflow(hidden)
        chunks = zip(hidden.split(chunk), uniform.split(chunk), strict=True)
        tokens, log_probs = zip(
            *(self._pick(h, u, shift, with_log_probs) for h, u in chunks), strict=True
        )
        return torch.cat(tokens), torch.cat(log_probs)

    def _cannot_overflow(self, hidden: Tensor) -> bool:
        """Whether |h| |w| + b, which no logit exceeds (Cauchy-Schwarz), is safe to exponentiate as
        it is: two passes less.
        """
        if self._bounds is None:
            return False
        norm, top_bias = self._bounds
        return float(hidden.norm(dim=1).max()) * norm + top_bias < _SAFE_LOGIT

    def _pick(
        self, hidden: Tensor, uniform: Tensor, shift: bool, with_log_probs: bool
    ) -> tuple[Tensor, Tensor]:
        logits = at_least_float32(torch.addmm(self.bias, hidden, self.weight))
        if shift:
            logits -= logits.amax(1, keepdim=True)
        mass = logits.exp_().view(len(hidden), -1, self.block_size)  # (R, blocks, block_size)
        block_mass = mass.sum(2)
        total = block_mass.sum(1, keepdim=True)
        block, rest = _invert(block_mass, uniform.unsqueeze(1) * total)
        inside = mass.gather(1, block.unsqueeze(2).expand(-1, -1, self.block_size)).squeeze(1)
        place = _invert(inside, rest)[0]
        token = (block * self.block_size + place).squeeze(1)
        if not with_log_probs:
            return token, hidden.new_empty(0)
        return token, (inside.gather(1, place) / total).log().squeeze(1)


def _invert(mass: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The first index (R, 1) at which the running sum of `mass` (R, K) exceeds `target` (R, 1), and
    what is left of the target.

    A target that rounding has put at or above the whole sum is moved just below it, so that the
    index exists and has mass.
    """
    cumulative = mass.cumsum(1)
    target = torch.minimum(target, cumulative[:, -1:] * _BELOW_ONE)
    index = torch.searchsorted(cumulative, target, right=True)
    before = cumulative.gather(1, index) - mass.gather(1, index)
    return index, (target - before).clamp_(min=0)


@torch.no_grad()
def linear_log_probs(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """log softmax(h W + b)[target], (R,), without gradient.

    Args:
        hidden: (R, H).  weight: (V, H).  bias: (V,).  targets: (R,) int64.
    """
    if native.usable(hidden, weight, bias):
        return NativeSoftmax(weight, bias).log_probs(hidden, targets)
    chunk = rows_per_chunk(len(bias), hidden.device)
    parts = []
    for h, y in zip(hidden.split(chunk), targets.split(chunk), strict=True):
        logits = torch.addmm(bias, h, weight.t())
        parts.append(logits.gather(1, y.unsqueeze(1)).squeeze(1) - logits.logsumexp(1))
    return torch.cat(parts)


def linear_weighted_nll(
    hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, row_weights: Tensor
) -> Tensor:
    """sum over rows of -row_weight * log softmax(h W + b)[target]: a scalar with gradients for
    hidden, weight and bias.

    The gradient is computed in the forward pass, while a chunk's logits are in cache; `row_weights`
    (R,) is a constant. With weights 1 this is maximum likelihood, with action values the policy
    gradient of REINFORCE.
    """
    with full_precision():
        loss: Tensor = _LinearWeightedNll.apply(
            hidden.to(weight.dtype), weight, bias, targets, row_weights.to(weight.dtype)
        )
    return loss


class _LinearWeightedNll(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, row_weights: Tensor
    ) -> Tensor:
        if native.usable(hidden, weight, bias, row_weights):
            loss, *gradients = NativeSoftmax(weight, bias).weighted_nll(
                hidden, targets, row_weights
            )
        else:
            loss, *gradients = _weighted_nll_in_chunks(hidden, weight, bias, targets, row_weights)
        ctx.save_for_backward(*gradients)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (scale,) = grad_outputs
        return *(gradient * scale for gradient in ctx.saved_tensors), None, None


def _weighted_nll_in_chunks(
    hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, row_weights: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The loss and its gradients for hidden, weight and bias."""
    chunk = rows_per_chunk(len(bias), hidden.device)
    grad_hidden = torch.empty_like(hidden)
    grad_weight, grad_bias = torch.zeros_like(weight), torch.zeros_like(bias)
    loss = hidden.new_zeros(())
    for start in range(0, len(hidden), chunk):
        rows = slice(start, start + chunk)
        h, y, w = hidden[rows], targets[rows].unsqueeze(1), row_weights[rows].unsqueeze(1)
        logits = torch.addmm(bias, h, weight.t())
        top = logits.amax(1, keepdim=True)
        chosen = logits.gather(1, y) - top
        mass = logits.sub_(top).exp_()
        total = mass.sum(1, keepdim=True)
        loss += (w * (total.log() - chosen)).sum()
        grad_logits = mass.mul_(w / total).scatter_add_(1, y, -w)  # w (softmax - one hot)
        torch.mm(grad_logits, weight, out=grad_hidden[rows])
        grad_weight.addmm_(grad_logits.t(), h)
        grad_bias += grad_logits.sum(0)
    return loss, grad_hidden, grad_weight, grad_bias
