"""The state of an SB3 algorithm between two updates, as tensors, numbers and lists of these.

SB3's own `save` pickles objects, and leaves out what an interrupted run needs: the replay buffer,
the last observations, the monitor's sums and the global random streams.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.vec_env import VecMonitor

from seqgan_env.optimizers import load_optimizer

# The attributes of SB3's models that change in training; an algorithm has some of them.
_COUNTERS = (
    "num_timesteps",
    "_total_timesteps",
    "_num_timesteps_at_start",
    "_episode_num",
    "_current_progress_remaining",
    "_n_updates",
    "_n_calls",
    "exploration_rate",
)
_LAST = ("_last_obs", "_last_episode_starts", "_last_original_obs")
_MONITOR = ("episode_count", "episode_returns", "episode_lengths")


def model_state(model: BaseAlgorithm) -> dict[str, Any]:
    """Weights, optimizer, counters, last observations, replay buffer, monitor, and the seeds that
    the next reset will use.
    """
    counters = {}
    for name in _COUNTERS:
        if hasattr(model, name):
            counters[name] = getattr(model, name)
    optimizer: Any = model.policy.optimizer
    assert model.env is not None
    state = {
        "policy": model.policy.state_dict(),
        "optimizer": optimizer.state_dict(),
        "counters": counters,
        "last": _attributes(model, _LAST),
        "monitor": _attributes(model.env, _MONITOR),
        "seeds": model.env.unwrapped._seeds,
    }
    buffer = getattr(model, "replay_buffer", None)
    if buffer is not None:
        state["replay_buffer"] = _attributes(buffer, _moving(buffer))
    # SB3 goes on writing into what it has handed out.
    return copy.deepcopy(state)


def load_model_state(model: BaseAlgorithm, state: dict[str, Any]) -> None:
    """Goes on from a state of `model_state`, of a model that was made in the same way."""
    optimizer: Any = model.policy.optimizer
    model.policy.load_state_dict(state["policy"])
    load_optimizer(optimizer, state["optimizer"])
    for name, value in state["counters"].items():
        setattr(model, name, value)
    for name, value in state["last"].items():
        setattr(model, name, _loaded(value))
    assert isinstance(model.env, VecMonitor)
    for name, value in state["monitor"].items():
        setattr(model.env, name, _loaded(value))
    # The envs of a new model wait for a reset with seeds, which a state that is further has used.
    model.env.unwrapped._seeds = list(state["seeds"])
    buffer = getattr(model, "replay_buffer", None)
    if buffer is not None:
        for name, value in state["replay_buffer"].items():
            setattr(buffer, name, _loaded(value))


def streams_state(streams: tuple[Any, Any, torch.Tensor, list[torch.Tensor]]) -> dict[str, Any]:
    """The global generators of Python, NumPy and torch."""
    (version, words, gauss), of_numpy, of_torch, of_cuda = streams
    name, keys, *rest = of_numpy
    return {
        "python": [version, list(words), gauss],
        "numpy": [name, keys.tolist(), *rest],
        "torch": of_torch,
        "cuda": of_cuda,
    }


def load_streams_state(
    state: dict[str, Any],
) -> tuple[Any, Any, torch.Tensor, list[torch.Tensor]]:
    """What `streams_state` was made of."""
    # The generators of Python and NumPy ask for tuples and uint32, which a file does not keep.
    version, words, gauss = state["python"]
    name, keys, *rest = state["numpy"]
    of_numpy = (name, np.array(keys, dtype=np.uint32), *rest)
    return (version, tuple(words), gauss), of_numpy, state["torch"], state["cuda"]


def _attributes(owner: Any, names: Iterable[str]) -> dict[str, Any]:
    """Attributes by name, as they are saved."""
    return {name: _saved(getattr(owner, name)) for name in names}


def _moving(buffer: ReplayBuffer) -> list[str]:
    """The attributes of a replay buffer that change: arrays, the place to write, and "full"."""
    names = []
    for name, value in vars(buffer).items():
        if isinstance(value, (np.ndarray, bool, int)):
            names.append(name)
    return names


def _saved(value: Any) -> Any:
    """An array as a tensor of its own; anything else as it is."""
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    return value


def _loaded(value: Any) -> Any:
    """What `_saved` was given, in memory of its own."""
    if isinstance(value, torch.Tensor):
        return value.numpy().copy()
    return value
