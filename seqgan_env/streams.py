"""Randomness as an argument: one counter-based stream per row, so that a row's draws do not depend
on its batch.

A key is a 64-bit integer; folding data into a key gives another key, and hashing a key with a
counter gives a draw. The hash is the finaliser of SplitMix64 (Steele, Lea and Flood 2014). The
NumPy and the torch route give the same keys.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB
_DRAW = 0x5851F42D4C957F2D  # separates the counters of draws from folded data


class RowStreams(torch.Generator):
    """A `torch.Generator` that also holds one independent stream per row of a batch.

    A policy that draws through `uniforms` gives row i the same completion whatever rows stand
    beside it; one that uses it as an ordinary generator still gets reproducible, but
    batch-dependent, numbers.
    """

    keys: Tensor  # (B,) int64

    def __new__(cls, keys: Tensor) -> RowStreams:
        return super().__new__(cls, device=keys.device)  # type: ignore[call-arg]

    def __init__(self, keys: Tensor) -> None:
        self.keys = keys
        self.manual_seed(int(_mix(keys.sum().view(1))) & (2**63 - 1))

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def draw(cls, rng: torch.Generator, num_rows: int) -> RowStreams:
        """Streams for `num_rows` rows: `rng` itself if it has them, new ones drawn from it
        otherwise.
        """
        if isinstance(rng, RowStreams):
            if len(rng) != num_rows:
                raise ValueError(f"rng has streams for {len(rng)} rows; this batch has {num_rows}")
            return rng
        keys = torch.randint(-(2**63), 2**63 - 1, (num_rows,), generator=rng, device=rng.device)
        return cls(keys)

    def fold_in(self, data: int | Tensor) -> RowStreams:
        """New streams in which `data`, an int or one int64 per row (B,), is part of the key."""
        return RowStreams(_fold(self.keys, data))

    def repeat(self, times: int) -> RowStreams:
        """`times` independent streams for every row: row i becomes the rows from i * times on."""
        # Copies are numbered downwards from -1, since callers of `fold_in` number upwards from 0.
        copy = -1 - torch.arange(times, device=self.keys.device).repeat(len(self))
        return RowStreams(_fold(self.keys.repeat_interleave(times), copy))

    def select(self, rows: Tensor) -> RowStreams:
        """The streams of `rows` (M,), an int64 index."""
        return RowStreams(self.keys[rows])

    def uniform(self, num_columns: int) -> Tensor:
        """Uniform float32 draws in [0, 1), (B, num_columns); the same call gives the same draws."""
        return draws_of(self.keys, num_columns)


def draws_of(keys: Tensor, num: int) -> Tensor:
    """Uniform float32 draws in [0, 1) of keys (B,) int64, (B, num): the upper 24 bits of a hash."""
    return (
        _shift_right(_mix(keys.unsqueeze(1) ^ draw_counters(num, keys.device)), 40).to(
            torch.float32
        )
        * 2.0**-24
    )


def draw_counters(num: int, device: torch.device) -> Tensor:
    """What a key is joined with, by exclusive or, before it is hashed to each of its draws: (num,)
    int64.
    """
    return _mix(torch.arange(1, num + 1, device=device) * _signed(_DRAW))


def uniforms(rng: torch.Generator, num_rows: int, num_columns: int) -> Tensor:
    """Uniform draws in [0, 1), (num_rows, num_columns), from any generator; row by row if it has
    row streams.
    """
    if isinstance(rng, RowStreams):
        return RowStreams.draw(rng, num_rows).uniform(num_columns)
    return torch.rand(num_rows, num_columns, generator=rng, device=rng.device, dtype=torch.float32)


def fold_keys(keys: np.ndarray, data: np.ndarray) -> np.ndarray:
    """The NumPy route of `RowStreams.fold_in`: keys (B,) uint64 and data (B,) int64 to new keys
    (B,) uint64.
    """
    return _mix_numpy(
        keys ^ _mix_numpy(data.astype(np.uint64) * np.uint64(_GOLDEN) + np.uint64(_GOLDEN))
    )


def seed_key(seed: int) -> int:
    """The key of a user's seed, as an int in 0..2**64 - 1."""
    return int(_mix_numpy(np.array([seed & (2**64 - 1)], dtype=np.uint64) + np.uint64(_GOLDEN))[0])


def streams_from_keys(keys: np.ndarray, device: torch.device) -> RowStreams:
    """The streams of NumPy keys (B,) uint64."""
    return RowStreams(torch.from_numpy(keys.view(np.int64)).to(device))


def _fold(keys: Tensor, data: int | Tensor) -> Tensor:
    data = torch.as_tensor(data, device=keys.device, dtype=torch.int64)
    return _mix(keys ^ _mix(data * _signed(_GOLDEN) + _signed(_GOLDEN)))


def _signed(value: int) -> int:
    if value >= 2**63:
        return value - 2**64
    return value


def _shift_right(x: Tensor, bits: int) -> Tensor:
    return (x >> bits) & ((1 << (64 - bits)) - 1)  # int64 shifts carry the sign; a hash must not


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift_right(x, 30)) * _signed(_FIRST)
    x = (x ^ _shift_right(x, 27)) * _signed(_SECOND)
    return x ^ _shift_right(x, 31)


def _mix_numpy(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(_FIRST)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(_SECOND)
    mixed: np.ndarray = x ^ (x >> np.uint64(31))
    return mixed
