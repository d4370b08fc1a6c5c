"""One output layer, softmax(h W + b), as the kernels read it: draws, log-probabilities, and their
sum with its gradients.
"""

from __future__ import annotations

import copy
import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from seqgan_env import native

# of the vocabulary, whose gradients for the hidden states are summed in this order whatever the
# threads
_PARTS = 8
_MASSES_AT_ONCE = 2**22  # rows times tokens, whose masses are to stay in the last cache
_ROWS_AT_ONCE = 8192  # at most: each part has a gradient of its own for so many hidden states


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
        hidden, targets = self._rows(hidden, targets)
        log_probs, total = native.empty(2, len(hidden)).unbind()
        self._log_probs(hidden, targets, log_probs, total)
        return log_probs

    def weighted_nll(
        self, hidden: Tensor, targets: Tensor, row_weights: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The loss of `sampling.linear_weighted_nll` and its gradients for hidden (R, H), weight
        (V, H) and bias (V,).

        Rows are worked on in chunks: the probabilities of a chunk are computed once, and stay in
        cache until the gradients have read them.
        """
        hidden, targets = self._rows(hidden, targets)
        row_weights = row_weights.detach().contiguous()
        log_probs, total = native.empty(2, len(hidden)).unbind()
        grad_hidden = torch.empty_like(hidden)
        grad_weight, grad_bias = torch.zeros_like(self.weight), torch.zeros_like(self.bias)
        chunk = self._rows_per_chunk()
        room = self._room_for_masses(min(chunk, len(hidden)))
        for first in range(0, len(hidden), chunk):
            rows = slice(first, min(first + chunk, len(hidden)))
            masses = room[: _num_blocks(rows.stop - rows.start)]
            self._log_probs(hidden[rows], targets[rows], log_probs[rows], total[rows], masses)
            grad_hidden[rows] = self._add_gradients(
                hidden[rows],
                targets[rows],
                row_weights[rows],
                row_weights[rows] / total[rows],
                masses,
                grad_weight,
                grad_bias,
            )
        loss = -(row_weights * log_probs).sum()
        return loss, grad_hidden, self._by_tokens(grad_weight), grad_bias[: self.vocab_size]

    def _log_probs(
        self,
        hidden: Tensor,
        targets: Tensor,
        log_probs: Tensor,
        total: Tensor,
        masses: Tensor | None = None,
    ) -> None:
        """Writes log-probabilities (R,), and the total (R,) of each row's masses; the masses too,
        if there is room for them.
        """
        native.run(
            "softmax_log_probs",
            len(hidden),
            native.sizes().block,
            **self.layer(),
            vocab=self.vocab_size,
            hidden=hidden,
            targets=targets,
            log_probs=log_probs,
            total=total,
            masses=masses,
        )

    def _add_gradients(
        self,
        hidden: Tensor,
        targets: Tensor,
        weights: Tensor,
        scale: Tensor,
        masses: Tensor,
        grad_weight: Tensor,
        grad_bias: Tensor,
    ) -> Tensor:
        """Adds to the packed gradients of weight and bias what comes of some rows, and returns that
        of their states (R, H). `scale` (R,) makes gradients of masses.
        """
        tiles_per_part = -(-self.num_tiles // _PARTS)
        num_parts = -(-self.num_tiles // tiles_per_part)
        width = self._padded_by_token.shape[1]
        by_part = native.empty(num_parts, len(hidden), width)
        native.run(
            "softmax_gradients",
            num_parts,
            1,
            by_token=self._padded_by_token,
            vocab=self.vocab_size,
            width=width,
            depth=self.depth,
            tiles=self.num_tiles,
            hidden=hidden,
            masses=masses,
            scale=scale,
            weights=weights,
            targets=targets,
            num_rows=len(hidden),
            tiles_per_part=tiles_per_part,
            grad_weight=grad_weight,
            grad_bias=grad_bias,
            grad_hidden=by_part,
        )
        return by_part.sum(0)[:, : self.depth]

    @functools.cached_property
    def _padded_by_token(self) -> Tensor:
        """The weight (V, H), its rows padded to whole vectors."""
        missing = -self.depth % native.sizes().lanes
        if not missing:
            return self._by_token
        return F.pad(self._by_token, (0, missing))

    def _rows_per_chunk(self) -> int:
        """Whole blocks of rows: as many as _MASSES_AT_ONCE allows, and at least one a thread."""
        block, tile = native.sizes().block, native.sizes().tile
        in_cache = _MASSES_AT_ONCE // (self.num_tiles * tile * block)
        num_blocks = max(in_cache, torch.get_num_threads())
        most = max(1, _ROWS_AT_ONCE // block)
        return min(num_blocks, most) * block

    def _room_for_masses(self, num_rows: int) -> Tensor:
        sizes = native.sizes()
        return native.empty(_num_blocks(num_rows), self.num_tiles, sizes.block, sizes.tile)

    def _by_tokens(self, packed: Tensor) -> Tensor:
        """A weight (V, H) that is given packed, (tiles, H, tile)."""
        return packed.transpose(1, 2).reshape(-1, self.depth)[: self.vocab_size]

    def _rows(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """States (R, H) and targets (R,) as kernels read them."""
        return self._states(hidden, len(targets)), targets.to(torch.int64).contiguous()

    def _states(self, hidden: Tensor, num_rows: int) -> Tensor:
        if hidden.shape != (num_rows, self.depth):
            raise ValueError(
                f"hidden has shape {tuple(hidden.shape)}; expected ({num_rows}, {self.depth})"
            )
        return hidden.detach().to(torch.float32).contiguous()


def _num_blocks(num_rows: int) -> int:
    return -(-num_rows // native.sizes().block)
