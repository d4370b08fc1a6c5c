"""What an environment shows of its prefixes: the padded tokens, the last of them one-hot, or a
dict with the action mask.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from gymnasium import spaces

from seqgan_env.envs.core import SequenceCore
from seqgan_env.names import choose
from seqgan_env.types import TokenSpec

# One env's view (NumPy array or dict of arrays), or the batch of all envs'.
Shown = Any


def token_space(spec: TokenSpec) -> spaces.Box:
    """The padded prefix, (T,) int32; V stands for "not written yet"."""
    return spaces.Box(0, spec.pad_token, (spec.seq_len,), np.int32)


class Observation(Protocol):
    """A view of the prefixes. The batch of B views is laid out as Gymnasium's `batch_space` of
    `space`.
    """

    @property
    def space(self) -> spaces.Space[Any]:
        """The space of one env's view."""
        ...

    def batch(self, tokens: np.ndarray, core: SequenceCore) -> Shown:
        """New views of the prefixes `tokens` (B, T), of which `core` knows lengths and masks;
        `tokens` may be returned as it is.
        """
        ...

    def row(self, batch: Shown, i: int) -> Shown:
        """The view of env i."""
        ...


class Tokens:
    """The padded prefix itself."""

    def __init__(self, spec: TokenSpec) -> None:
        self.space = token_space(spec)

    def batch(self, tokens: np.ndarray, core: SequenceCore) -> np.ndarray:
        return tokens

    def row(self, batch: np.ndarray, i: int) -> np.ndarray:
        view: np.ndarray = batch[i]
        return view


class OneHot:
    """The last k tokens, one-hot, oldest first, and the share of the sequence that is written.

    (k * V + 1,) float32. A place for which nothing is written yet is all 0. Small dense networks
    read it as it is; with k = T it tells the whole prefix.
    """

    def __init__(self, spec: TokenSpec, window: int) -> None:
        """
        Args:
            spec: of the sequences.
            window: k, in 1..T.
        """
        if isinstance(window, bool) or not isinstance(window, int):
            raise ValueError(f"observation_window is {window!r}; expected a whole number")
        if not 1 <= window <= spec.seq_len:
            raise ValueError(
                f"observation_window is {window}; allowed is 1..{spec.seq_len} (seq_len)"
            )
        self.spec, self.window = spec, window
        self.space = spaces.Box(0.0, 1.0, (window * spec.vocab_size + 1,), np.float32)

    def batch(self, tokens: np.ndarray, core: SequenceCore) -> np.ndarray:
        vocab_size = self.spec.vocab_size
        views = np.zeros((len(tokens), self.window * vocab_size + 1), dtype=np.float32)
        views[:, -1] = core.lengths / self.spec.seq_len
        positions = core.lengths[:, None] + np.arange(-self.window, 0)  # (B, k)
        rows, places = (positions >= 0).nonzero()  # places that begin before the sequence stay 0
        views[rows, places * vocab_size + tokens[rows, positions[rows, places]]] = 1.0
        return views

    def row(self, batch: np.ndarray, i: int) -> np.ndarray:
        view: np.ndarray = batch[i]
        return view


class Fields:
    """A dict: `tokens` (T,) int32 as `Tokens` shows them, `length` (1,) int32, and `action_mask`
    (V,) int8, 1 where a token is allowed.
    """

    def __init__(self, spec: TokenSpec) -> None:
        self.spec = spec
        self.space = spaces.Dict(
            {
                "tokens": token_space(spec),
                "length": spaces.Box(0, spec.seq_len, (1,), np.int32),
                "action_mask": spaces.Box(0, 1, (spec.vocab_size,), np.int8),
            }
        )

    def batch(self, tokens: np.ndarray, core: SequenceCore) -> dict[str, np.ndarray]:
        mask = core.action_mask()
        if mask is None:
            mask = np.ones((len(tokens), self.spec.vocab_size), dtype=np.int8)
        length = core.lengths[:, None].astype(np.int32)
        return {"action_mask": mask, "length": length, "tokens": tokens}

    def row(self, batch: dict[str, np.ndarray], i: int) -> dict[str, np.ndarray]:
        return {key: values[i] for key, values in batch.items()}


OBSERVATIONS = ("tokens", "one_hot", "dict")


def make_observation(
    spec: TokenSpec, observation: str = "tokens", window: int | None = None
) -> Observation:
    """The view named `observation`, one of `OBSERVATIONS`.

    Args:
        spec: of the sequences.
        observation: name.
        window: of "one_hot": how many tokens back it sees; all of them if not given.
    """
    choose(OBSERVATIONS, observation, "observation")
    if observation == "one_hot":
        if window is None:
            window = spec.seq_len
        return OneHot(spec, window)
    if window is not None:
        raise ValueError(
            f"observation_window is {window}, but observation is {observation!r}; only 'one_hot' "
            "has a window"
        )
    if observation == "dict":
        return Fields(spec)
    return Tokens(spec)
