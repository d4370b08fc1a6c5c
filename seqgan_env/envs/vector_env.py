"""The batched Gymnasium face of the core: one object that steps all sequences at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from torch import Tensor

from seqgan_env.envs.core import SequenceCore, Transition
from seqgan_env.rewards.model import RewardModel
from seqgan_env.streams import streams_from_keys
from seqgan_env.types import Task, TokenSpec


def observation_space(spec: TokenSpec) -> spaces.Box:
    """The padded prefix, (T,) int32; V stands for "not written yet"."""
    return spaces.Box(0, spec.pad_token, (spec.seq_len,), np.int32)


class PaidByRewards:
    """What both faces tell about the rewards they pay."""

    rewards: RewardModel

    @property
    def discount(self) -> float:
        """The discount with which the return is the objective, from the reward form."""
        return self.rewards.discount

    def online_metrics(self) -> dict[str, float]:
        """What the rewards last learned from finished episodes; empty before that, and where they
        do not learn online.
        """
        return self.rewards.online_metrics()


class TokenVectorEnv(PaidByRewards, VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """`num_envs` sequences written side by side; see `seqgan_env.envs.env.TokenEnv` for spaces,
    rewards and episode end.

    Autoreset is same-step (`AutoresetMode.SAME_STEP`, as in Stable-Baselines3): the step that ends
    an episode returns the first observation of the next one, and the last observation and info in
    `infos["final_obs"]` and `infos["final_info"]`. Env i seeded s behaves as the single env seeded
    s + i.

    Attributes:
        task: what is written.
        rewards: what is paid, shared by handle with whoever trains the discriminator and the
            policy.
        discount: the discount that fits the reward form.
    """

    metadata = {"render_modes": ["ansi"], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int,
        rewards: RewardModel,
        render_mode: str | None = None,
        online: bool = True,
    ) -> None:
        """Args:
        num_envs: B.
        rewards: what is paid.
        render_mode: "ansi" or None.
        online: whether finished episodes teach `rewards`, where these learn at all; False for an
            environment to evaluate in.
        """
        check_render_mode(render_mode)
        self.num_envs, self.rewards, self.render_mode = num_envs, rewards, render_mode
        self.task: Task = rewards.task
        self.core = SequenceCore(self.task.spec, rewards, num_envs, online)
        self.single_observation_space = observation_space(self.task.spec)
        self.single_action_space = spaces.Discrete(self.task.spec.vocab_size)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._last: Transition | None = None

    @property
    def autoreset_mode(self) -> AutoresetMode:
        """What the step after an episode's end does, under the name that Gymnasium's own vector
        environments have for it.
        """
        mode: AutoresetMode = self.metadata["autoreset_mode"]
        return mode

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins a new episode in every env, or in those of `options["reset_mask"]` (B,) bool.

        Args:
            seed: s gives env i the seed s + i; a list gives every env its own; None goes on with
                the present streams.
            options: may hold `reset_mask`.

        Returns:
            observations (B, T) int32 and infos, with `action_mask` where a mask exists.
        """
        self.core.seed(self._seeds(seed))
        rows = self._reset_mask(options)
        self.core.reset(rows)
        self._last = None
        return self.core.tokens.copy(), self._mask_info()

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Writes one token in every env: actions (B,) int in 0..V-1.

        Returns:
            observations (B, T) int32, rewards (B,) float64, terminations (B,), truncations (B,,
            always False) and infos.

        Raises:
            gymnasium.error.InvalidAction: an action is outside the vocabulary, masked, of the wrong
                shape or not an integer.
        """
        step = self.core.step(actions)
        self.rewards.budget.env_steps += self.num_envs
        self._last = step
        infos, observations = self._infos(step), step.tokens
        if step.any_terminated:
            self.core.reset(step.terminated)
            observations = self.core.tokens.copy()
        infos |= self._mask_info()
        return (
            observations,
            step.rewards,
            step.terminated.copy(),
            np.zeros(self.num_envs, dtype=bool),
            infos,
        )

    def play(self, tokens: Tensor) -> Tensor:
        """Writes a whole sequence in every env at once: the rewards (B, T) that stepping would pay,
        from one batched rollout.

        Every env is taken from the beginning of an episode to the beginning of the next, as
        stepping would.

        Args:
            tokens: (B, T) int64, finished sequences; row i is written by env i.
        """
        if len(tokens) != self.num_envs:
            raise ValueError(
                f"play was given {len(tokens)} sequences; this environment has {self.num_envs} envs"
            )
        if self.core.lengths.any() or self.core.finished.any():
            raise ValueError(
                "play starts at the beginning of an episode, but tokens have been written; call "
                "reset() first"
            )
        streams = streams_from_keys(self.core.episode_keys(), tokens.device)
        self.rewards.budget.env_steps += int(self.task.spec.lengths(tokens).sum())
        rewards = self.rewards.rewards(tokens, streams)
        self.core.observe(tokens.cpu().numpy())
        self.core.reset(np.ones(self.num_envs, dtype=bool))
        return rewards

    def state_dict(self) -> dict[str, Any]:
        """The episodes and their random streams; not what is shared, the rewards."""
        return {"core": self.core.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state of `state_dict`, of as many envs."""
        self.core.load_state_dict(state["core"])

    def render(self) -> tuple[str, ...] | None:
        """Each env's sequence so far with its value and reward, for render mode "ansi"."""
        if self.render_mode is None:
            return None
        return tuple(render_row(self.task, self.core, self._last, i) for i in range(self.num_envs))

    def _seeds(self, seed: int | Sequence[int | None] | None) -> Sequence[int | None]:
        if seed is None:
            return [None] * self.num_envs
        if isinstance(seed, (int, np.integer)):
            self._np_random, self._np_random_seed = seeding.np_random(int(seed))
            return [int(seed) + i for i in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise ValueError(
                f"{len(seed)} seeds were given; this environment has {self.num_envs} envs"
            )
        return seed

    def _reset_mask(self, options: Mapping[str, Any] | None) -> np.ndarray:
        if options is None or "reset_mask" not in options:
            return np.ones(self.num_envs, dtype=bool)
        mask = np.asarray(options["reset_mask"])
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_:
            raise ValueError(
                f"reset_mask has shape {mask.shape} and dtype {mask.dtype}; expected "
                f"({self.num_envs},) bool"
            )
        return mask

    def _mask_info(self) -> dict[str, Any]:
        mask = self.core.action_mask()
        return (
            {}
            if mask is None
            else {"action_mask": mask, "_action_mask": np.ones(self.num_envs, dtype=bool)}
        )

    def _infos(self, step: Transition) -> dict[str, Any]:
        infos: dict[str, Any] = {}
        done = step.terminated
        if self.rewards.needs_prefix_values:
            _add(infos, "action_value", step.values, ~done)
        if step.any_terminated:
            final_obs = np.full(self.num_envs, None, dtype=object)
            for i in done.nonzero()[0]:
                final_obs[i] = step.tokens[i]
            infos |= {
                "final_obs": final_obs,
                "_final_obs": done.copy(),
                "final_info": self._final_info(step),
                "_final_info": done.copy(),
            }
        return infos

    def _final_info(self, step: Transition) -> dict[str, Any]:
        done = step.terminated
        episode: dict[str, Any] = {}
        final: dict[str, Any] = {}
        for key, values in (("r", step.returns), ("l", step.lengths), ("t", step.seconds)):
            _add(episode, key, values, done)
        for key in ("action_value", "score"):
            _add(final, key, step.values, done)
        mask = self.core.action_mask()
        if mask is not None:
            final |= {
                "action_mask": mask * done[:, None].astype(np.int8),
                "_action_mask": done.copy(),
            }
        if step.metrics:
            online: dict[str, Any] = {}
            for key, value in step.metrics.items():
                _add(online, key, np.full(self.num_envs, value), done)
            final |= {"online": online, "_online": done.copy()}
        return final | {"episode": episode, "_episode": done.copy()}


def _add(infos: dict[str, Any], key: str, values: np.ndarray, which: np.ndarray) -> None:
    """`values` where `which` is true, with Gymnasium's mask beside them."""
    if which.any():
        infos[key] = np.where(which, values, 0).astype(values.dtype)
        infos[f"_{key}"] = which.copy()


class RenderModeError(ValueError, TypeError):
    """A render mode that is not there; a TypeError too, for SB3's `make_vec_env` asks for
    "rgb_array" and takes that as a no.
    """


def check_render_mode(render_mode: str | None) -> None:
    """Raises a RenderModeError, which is a ValueError, for a render mode that is not there."""
    if render_mode not in (None, "ansi"):
        raise RenderModeError(f"render_mode is {render_mode!r}; allowed are 'ansi' and None")


def render_row(task: Task, core: SequenceCore, last: Transition | None, row: int) -> str:
    """One env as text: the sequence, its length, and the value and reward of the last token."""
    at_start = core.lengths[row] == 0
    source = last.tokens[row] if last is not None and at_start else core.tokens[row]
    text = task.decode(torch.from_numpy(source.astype(np.int64)))
    length = int((source != task.spec.pad_token).sum())
    numbers = (
        "" if last is None else f"  value {last.values[row]:.4f}  reward {last.rewards[row]:.4f}"
    )
    return f"[{length}/{task.spec.seq_len}] {text}{numbers}"
