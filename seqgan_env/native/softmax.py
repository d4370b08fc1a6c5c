"""One output layer, softmax(h W + b), as the kernels read it: draws, log-probabilities, and their
sum with its gradients.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor

from seqgan_env import native

# of the vocabulary, whose gradients for the hidden states are summed in this order whatever the
# threads
_PARTS = 8
_ROWS_AT_ONCE = 8192  # each part has a gradient of its own for so many hidden states


class NativeSoftmax:
    """A packed output layer; `weight` (V, H) and `bias` (V,) are float32 on the CPU.

    Nothing here has an autograd graph.
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.vocab_size, self.depth = weight.shape
        tile = native.sizes().tile
        self.num_tiles = -(-self.vocab_size // tile)
        self._padding = self.num_tiles * tile - self.vocab_size
        self._by_token, norms = weight.detach().contiguous(), native.empty(self.num_tiles)
        self.weight = native.empty(self.num_tiles, self.depth, tile)
        native.run(
            "softmax_pack",
            self.num_tiles,
            1,
            by_token=self._by_token,
            vocab=self.vocab_size,
            depth=self.depth,
            weight=self.weight,
            norms=norms,
        )
        self.norm = float(norms.max()) ** 0.5
        self._set_bias(bias)

    def _set_bias(self, bias: Tensor) -> None:
        self.bias = F.pad(bias.detach(), (0, self._padding), value=-torch.inf)
        self.top = float(self.bias.max())

    def with_bias(self, bias: Tensor) -> NativeSoftmax:
        """The same weight with another bias (V,)."""
        other = copy.copy(self)
        other._set_bias(bias)
        return other

    def layer(self, prefix: str = "") -> dict[str, Tensor | float]:
        """The arguments that stand for the layer in a kernel's call; names begin with `prefix`."""
        arguments = {
            "weight": self.weight,
            "bias": self.bias,
            "depth": self.depth,
            "tiles": self.num_tiles,
            "norm": self.norm,
            "top": self.top,
        }
        return {prefix + name: argument for name, argument in arguments.items()}

    def draw(self, hidden: Tensor, uniform: Tensor, with_log_probs: bool) -> tuple[Tensor, Tensor]:
        """Tokens (R,) of the states (R, H), drawn by inversion of `uniform` (R,); their
        log-probabilities (R,), or nothing.
        """
        hidden, uniform = self._states(hidden, len(uniform)), uniform.to(torch.float32).contiguous()
        tokens = native.empty(len(hidden), dtype=torch.int64)
        log_probs = native.empty(len(hidden) if with_log_probs else 0)
        wanted = None
        if with_log_probs:
            wanted = log_probs
        native.run(
            "softmax_draw",
            len(hidden),
            native.sizes().block,
            **self.layer(),
            hidden=hidden,
            uniform=uniform,
            tokens=tokens,
            log_probs=wanted,
        )
        return tokens, log_probs

    def log_probs(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Log-probabilities (R,) of the tokens `targets` (R,) in the states (R, H)."""
        return self._log_probs(
            self._states(hidden, len(targets)), targets.to(torch.int64).contiguous()
        )[0]

    def weighted_nll(
        self, hidden: Tensor, targets: Tensor, row_weights: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The loss of `sampling.linear_weighted_nll` and its gradients for hidden (R, H), weight
        (V, H) and bias (V,).
        """
        hidden, row_weights = self._states(hidden, len(targets)), row_weights.contiguous()
        targets = targets.to(torch.int64).contiguous()
        log_probs, shift, total = self._log_probs(hidden, targets)
        lanes = native.sizes().lanes
        width = -(-self.depth // lanes) * lanes
        missing = width - self.depth
        by_token = self._by_token  # (V, width)
        if missing:
            by_token = F.pad(by_token, (0, missing)).contiguous()
        grad_weight, grad_bias = torch.zeros_like(self._by_token), native.zeros(self.vocab_size)
        grad_hidden = torch.empty_like(hidden)
        tiles_per_part = -(-self.num_tiles // _PARTS)
        num_parts = -(-self.num_tiles // tiles_per_part)
        for rows in (
            slice(i, min(i + _ROWS_AT_ONCE, len(hidden)))
            for i in range(0, len(hidden), _ROWS_AT_ONCE)
        ):
            by_part = native.empty(num_parts, rows.stop - rows.start, width)
            native.run(
                "softmax_gradients",
                num_parts,
                1,
                **self.layer(),
                by_token=by_token,
                vocab=self.vocab_size,
                width=width,
                hidden=hidden[rows],
                shift=shift[rows],
                scale=(row_weights / total)[rows],
                weights=row_weights[rows],
                targets=targets[rows],
                num_rows=rows.stop - rows.start,
                tiles_per_part=tiles_per_part,
                grad_weight=grad_weight,
                grad_bias=grad_bias,
                grad_hidden=by_part,
            )
            grad_hidden[rows] = by_part.sum(0)[:, : self.depth]
        return -(row_weights * log_probs).sum(), grad_hidden, grad_weight, grad_bias

    def _log_probs(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probabilities, shift and total, (R,) each: a token's probability is exp(logit -
        shift) / total.
        """
        log_probs, shift, total = native.empty(3, len(hidden)).unbind()
        native.run(
            "softmax_log_probs",
            len(hidden),
            native.sizes().block,
            **self.layer(),
            vocab=self.vocab_size,
            hidden=hidden,
            targets=targets,
            log_probs=log_probs,
            shift=shift,
            total=total,
        )
        return log_probs, shift, total

    def _states(self, hidden: Tensor, num_rows: int) -> Tensor:
        if hidden.shape != (num_rows, self.depth):
            raise ValueError(
                f"hidden has shape {tuple(hidden.shape)}; expected ({num_rows}, {self.depth})"
            )
        return hidden.detach().to(torch.float32).contiguous()
