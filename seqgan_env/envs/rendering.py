"""Sequences as text, for the render modes of both faces."""

from __future__ import annotations

import numpy as np
import torch

from seqgan_env.envs.core import SequenceCore, Transition
from seqgan_env.types import Task

RENDER_MODES = ("ansi", "ansi_list")


class RenderModeError(ValueError, TypeError):
    """A render mode that is not there; a TypeError too, for SB3's `make_vec_env` asks for
    "rgb_array" and takes that as a no.
    """


def check_render_mode(render_mode: str | None) -> None:
    """Raises a RenderModeError, which is a ValueError, for a mode that is not there."""
    if render_mode is not None and render_mode not in RENDER_MODES:
        allowed = ", ".join(map(repr, RENDER_MODES))
        raise RenderModeError(f"render_mode is {render_mode!r}; allowed are {allowed} and None")


def render_row(task: Task, core: SequenceCore, last: Transition | None, row: int) -> str:
    """One env as text: the sequence, its length, and the value and reward of the last token."""
    at_start = core.lengths[row] == 0
    source = core.tokens[row]
    if last is not None and at_start:  # the step has begun a new episode: show the one that ended
        source = last.tokens[row]
    text = task.decode(torch.from_numpy(source.astype(np.int64)))
    length = int((source != task.spec.pad_token).sum())
    numbers = ""
    if last is not None and last.written[row]:
        numbers = f"  value {last.values[row]:.4f}  reward {last.rewards[row]:.4f}"
    return f"[{length}/{task.spec.seq_len}] {text}{numbers}"


class Frames:
    """The frames of every env's present episode since they were last taken, for "ansi_list"."""

    def __init__(self, num_envs: int) -> None:
        self._frames: list[list[str]] = [[] for _ in range(num_envs)]

    def add(
        self, task: Task, core: SequenceCore, last: Transition | None, begun: np.ndarray
    ) -> None:
        """Appends one frame of every env; where an episode has `begun` (B,) bool, the frames of
        the one before go.
        """
        for i, frames in enumerate(self._frames):
            if begun[i]:
                frames.clear()
            frames.append(render_row(task, core, last, i))

    def take(self) -> tuple[list[str], ...]:
        """The frames of each env, which are forgotten here."""
        taken = tuple(self._frames)
        self._frames = [[] for _ in taken]
        return taken
