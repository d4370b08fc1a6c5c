"""The Stable-Baselines3 face of the vector environment: one object that steps all sequences, in
place of `DummyVecEnv`.
"""

from __future__ import annotations

import inspect
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3.common.vec_env import VecMonitor
from stable_baselines3.common.vec_env.base_vec_env import VecEnv, VecEnvIndices

from seqgan_env.envs.vector_env import TokenVectorEnv

# An array (B, ...), or a dict of such where the environment shows a dict.
Observations = Any

_BY_ENV = ("action_masks", "render")  # methods whose result has one entry per env


class SequenceVecEnv(VecEnv):
    """`TokenVectorEnv` as Stable-Baselines3 wants it.

    Episodes are never truncated, so `TimeLimit.truncated` is always False. The step that ends an
    episode brings its last observation in `info["terminal_observation"]`, its score in
    `info["score"]` and, where the rewards have just learned online, their metrics in
    `info["online"]`; `info["episode"]` is left to `VecMonitor`. `info["written"]` is the token that
    took the place of a masked one. The envs are one object: `get_attr`
    gives each the same value, and `set_attr` sets all of them or none.
    """

    def __init__(self, env: VectorEnv) -> None:
        """
        Args:
            env: a `TokenVectorEnv`, or Gymnasium vector wrappers around one.

        Raises:
            TypeError: it is something else.
            ValueError: its `autoreset_mode` is not "same_step".
        """
        if not isinstance(env.unwrapped, TokenVectorEnv):
            raise TypeError(
                f"SequenceVecEnv was given a {type(env.unwrapped).__name__}; expected a "
                "TokenVectorEnv"
            )
        mode = env.unwrapped.autoreset_mode
        if mode != AutoresetMode.SAME_STEP:
            raise ValueError(
                f"autoreset_mode is {mode.name.lower()!r}; allowed is 'same_step': "
                "Stable-Baselines3 expects the step that ends an episode to begin the next one"
            )
        self.env, self.base = env, env.unwrapped
        self._actions = np.zeros(env.num_envs, dtype=np.int64)
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> Observations:
        """First observations, (B, T) int32 unless the env shows others; the seeds of an earlier
        `seed(s)`, s + i for env i, are used up by it.
        """
        seeds: list[int | None] | None = self._seeds
        if not any(map(_is_given, self._seeds)):
            seeds = None  # for all envs at once: their streams go on
        observations, infos = self.env.reset(seed=seeds)  # type: ignore[arg-type]
        masks = infos.get("action_mask")
        # One dict for each env, where Gymnasium has one with an array for all.
        self.reset_infos = []
        for i in range(self.num_envs):
            info = {}
            if masks is not None:
                info["action_mask"] = masks[i]
            self.reset_infos.append(info)
        self._reset_seeds()
        self._reset_options()
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[Observations, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Observations as of `reset`, rewards (B,) float32, dones (B,) bool and B infos."""
        observations, rewards, terminated, _, infos = self.env.step(self._actions)
        dicts: list[dict[str, Any]] = []
        for _ in range(self.num_envs):
            dicts.append({"TimeLimit.truncated": False})

        # What has ended. The observations above already are those of the next episodes.
        for i in np.flatnonzero(terminated):
            dicts[i]["terminal_observation"] = infos["final_obs"][i]
            dicts[i]["score"] = float(infos["final_info"]["score"][i])
            if "online" in infos["final_info"]:
                dicts[i]["online"] = {}
                for name, values in infos["final_info"]["online"].items():
                    if not name.startswith("_"):  # Gymnasium's masks stand beside the values
                        dicts[i]["online"][name] = float(values[i])
        # Masked tokens. `_written` says for which envs there is an entry.
        for i in np.flatnonzero(infos.get("_written", ())):
            dicts[i]["written"] = int(infos["written"][i])
        return observations, rewards.astype(np.float32), terminated, dicts

    def action_masks(self) -> np.ndarray:
        """Allowed actions (B, V) bool, as sb3-contrib's maskable algorithms ask for them."""
        mask = self.base.core.action_mask()
        if mask is None:
            return np.ones((self.num_envs, self.base.task.spec.vocab_size), dtype=bool)
        return mask.astype(bool)

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        value = getattr(self._owner(attr_name), attr_name)
        return self._repeated(value, indices)

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        if set(self._get_indices(indices)) != set(range(self.num_envs)):
            raise ValueError(
                f"set_attr of {attr_name!r} names some of the {self.num_envs} envs; they are one "
                "object, so set all"
            )
        setattr(self.base, attr_name, value)

    def env_method(
        self,
        method_name: str,
        *method_args: Any,
        indices: VecEnvIndices = None,
        **method_kwargs: Any,
    ) -> list[Any]:
        """The result of one call, for each of `indices`: its own entry of `action_masks` and
        `render`, otherwise the same.
        """
        result = getattr(self._owner(method_name), method_name)(*method_args, **method_kwargs)
        if method_name in _BY_ENV and result is not None:
            return [result[i] for i in self._get_indices(indices)]
        return self._repeated(result, indices)

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None
    ) -> list[bool]:
        # Walk from the outermost wrapper to the environment itself.
        env, wrapped = self.env, False
        while env is not self.base:
            wrapped |= isinstance(env, wrapper_class)
            env = env.env  # type: ignore[attr-defined]
        return self._repeated(wrapped, indices)

    def close(self) -> None:
        self.env.close()

    def _repeated(self, value: Any, indices: VecEnvIndices) -> list[Any]:
        """What is the same for every env, once for each of `indices`."""
        return [value] * len(list(self._get_indices(indices)))

    def _owner(self, name: str) -> Any:
        """Who has an attribute or method that SB3 asks for: the masks are made here."""
        if name == "action_masks":
            return self
        return self.env


def _is_given(seed: int | None) -> bool:
    return seed is not None


class CopyableMonitor(VecMonitor):
    """SB3's monitor, which can be copied and pickled with the model that steps it.

    SB3's wrappers keep a table of their class's attributes, and a class cannot be pickled by value.
    """

    def __getstate__(self) -> dict[str, Any]:
        state = dict(vars(self))
        state.pop("class_attributes", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, class_attributes=dict(inspect.getmembers(type(self))))
