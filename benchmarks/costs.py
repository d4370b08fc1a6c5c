"""Arithmetic and memory traffic that the work items cannot do without, as far as we know how to do
them.

Multiplications and additions of matrix products count, one FLOP each; exponentials, activations and
comparisons do not. E and H are the dimensions of the LSTM (embedding, hidden), e that of D's
embedding, (w, c) its filter widths and channels, F = sum c, P the number of parameters.

writing a token       2 H V (logits) + 8 H (E + H) (LSTM)
training on a token   3 times as much: backward is two products for each one forward
scoring M sequences   tables 2 e (V + 1) sum w c; then per sequence sum w c (T - w + 1) additions,
                      and 4 F^2 of the highway layer
training D on one     convolutions 2 e sum w c (T - w + 1) forward; backward 4 e sum w c, as only
                      the maximum has a gradient; highway layer 12 F^2

Bytes are those that no cache can save: rows gathered from D's tables, 4 sum w c (T - w + 1) per
sequence, and the tables once, if they are larger than the last cache; Adam's reads and writes, 24 P
per step (parameter, two moments; a gradient can do without).
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.measuring import Limits
from seqgan_env.discriminators.cnn import CNNConfig

_CACHE_BYTES = 2**25  # what is smaller is taken to stay in a cache


@dataclass(frozen=True)
class Cost:
    """Of a piece of work.

    Attributes:
        flops: in float32.
        half_flops: in bfloat16, where the processor multiplies it.
        bytes: from and to memory.
    """

    flops: float = 0.0
    half_flops: float = 0.0
    bytes: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.flops + other.flops, self.half_flops + other.half_flops, self.bytes + other.bytes
        )

    def __mul__(self, times: float) -> Cost:
        return Cost(self.flops * times, self.half_flops * times, self.bytes * times)

    @property
    def all_flops(self) -> float:
        return self.flops + self.half_flops

    def floor(self, limits: Limits) -> tuple[float, str]:
        """Seconds that the machine needs at its measured limits, and which one binds: "GEMM" or
        "memory".
        """
        rate = max(limits.gemm, limits.gemm_bfloat16)
        compute, memory = (
            self.flops / limits.gemm + self.half_flops / rate,
            self.bytes / limits.bandwidth,
        )
        return max(compute, memory), "memory" if memory > compute else "GEMM"


@dataclass(frozen=True)
class Costs:
    """The formulas at given sizes."""

    vocab_size: int
    seq_len: int
    discriminator: CNNConfig
    dim: int = 32  # E and H

    def writing(self, num_tokens: float) -> Cost:
        return Cost(num_tokens * (2 * self.dim * self.vocab_size + 16 * self.dim**2))

    def rollouts(self, batch_size: int, num_rollouts: int) -> Cost:
        """Every prefix of a batch completed and scored: T (T - 1) / 2 tokens and T - 1 sequences a
        row and rollout.
        """
        steps = self.seq_len - 1
        written = self.writing(batch_size * num_rollouts * self.seq_len * steps / 2)
        return written + self.scoring(batch_size * (num_rollouts * steps + 1))

    def g_step(self, batch_size: int, num_rollouts: int) -> Cost:
        tokens = batch_size * self.seq_len
        return (
            self.writing(tokens)
            + self.rollouts(batch_size, num_rollouts)
            + self.writing(tokens) * 3
        )

    def likelihood_epoch(self, num: int, batch_size: int) -> Cost:
        parameters = self.vocab_size * (2 * self.dim + 1) + 4 * self.dim * (2 * self.dim + 1)
        return self.writing(num * self.seq_len) * 3 + _adam(parameters, num / batch_size)

    def scoring(self, num: int) -> Cost:
        sums, rows, features = self._sums(), self.vocab_size + 1, self._features()
        taps = sum(w * c for w, c in self._filters())
        table_bytes = 4 * rows * taps
        moved = table_bytes + 4 * num * sums if table_bytes > _CACHE_BYTES else 0
        highway = 4 * num * features**2
        exact = 2 * self.discriminator.embedding_dim * rows * taps + num * sums
        half = self.discriminator.bfloat16_highway
        return Cost(exact + (0 if half else highway), highway if half else 0, moved)

    def discriminator_epoch(self, num: int) -> Cost:
        config, features = self.discriminator, self._features()
        taps = sum(w * c for w, c in self._filters())
        convolutions = config.embedding_dim * (2 * self._sums() + 4 * taps)
        parameters = (
            config.embedding_dim * (self.vocab_size + 1 + taps) + 2 * features**2 + 4 * features + 1
        )
        return Cost(num * (convolutions + 12 * features**2)) + _adam(
            parameters, num / config.batch_size
        )

    def _filters(self) -> list[tuple[int, int]]:
        pairs = zip(self.discriminator.widths, self.discriminator.channels, strict=True)
        return [(width, channels) for width, channels in pairs if width <= self.seq_len]

    def _features(self) -> int:
        return sum(channels for _, channels in self._filters())

    def _sums(self) -> int:
        return sum(w * c * (self.seq_len - w + 1) for w, c in self._filters())


def _adam(parameters: int, steps: float) -> Cost:
    return Cost(bytes=24 * parameters * steps if 16 * parameters > _CACHE_BYTES else 0.0)
