"""What both Gymnasium faces of the core share: how they are made, and what they tell and save."""

from __future__ import annotations

from typing import Any

import numpy as np

from seqgan_env.envs.core import SequenceCore, Transition
from seqgan_env.envs.observations import make_observation
from seqgan_env.envs.rendering import Frames, check_render_mode
from seqgan_env.rewards.model import RewardModel
from seqgan_env.types import Task


def check_rewards(rewards: Any) -> None:
    """Raises a ValueError unless `rewards` is a reward model."""
    if not isinstance(rewards, RewardModel):
        raise ValueError(
            f"rewards is a {type(rewards).__name__}; expected a RewardModel, as "
            "build_rewards(task) makes one"
        )


class Face:
    """A core, the rewards that it pays, and a view of its prefixes.

    Attributes:
        task: what is written.
        rewards: what is paid, shared by handle.
        core: the episodes.
        render_mode: "ansi", "ansi_list" or None.
        episode_statistics: whether the info of an episode's end has `episode`.
    """

    def __init__(
        self,
        rewards: RewardModel,
        num_envs: int,
        render_mode: str | None,
        online: bool,
        observation: str,
        observation_window: int | None,
        episode_statistics: bool,
    ) -> None:
        """Args as of the faces."""
        check_render_mode(render_mode)
        check_rewards(rewards)
        self.rewards, self.render_mode = rewards, render_mode
        self.episode_statistics = episode_statistics
        self.task: Task = rewards.task
        self.core = SequenceCore(self.task.spec, rewards, num_envs, online)
        self._view = make_observation(self.task.spec, observation, observation_window)
        self._last: Transition | None = None
        self._frames = Frames(num_envs)

    @property
    def discount(self) -> float:
        """The discount with which the return is the objective, from the reward form."""
        return self.rewards.discount

    def online_metrics(self) -> dict[str, float]:
        """What the rewards last learned from finished episodes; empty before that, and where they
        do not learn online.
        """
        return self.rewards.online_metrics()

    def state_dict(self) -> dict[str, Any]:
        """The episodes and their random streams; not what is shared, the rewards.

        Whoever saves an environment that learns online saves `rewards.state_dict()` beside it: then
        a new environment, made in the same way, goes on bit by bit.
        """
        return {"core": self.core.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state of `state_dict`, of as many envs. What was last rendered is
        forgotten.

        Raises:
            ValueError: the state is of other sequences, of another vocabulary, or of another number
                of envs; then nothing has changed.
        """
        self.core.load_state_dict(state["core"])
        self._last, self._frames = None, Frames(self.core.num_envs)

    def _keep_frames(self, begun: np.ndarray) -> None:
        """Keeps a frame of every env, for "ansi_list"; `begun` (B,) bool says where an episode has
        just begun.
        """
        if self.render_mode == "ansi_list":
            self._frames.add(self.task, self.core, self._last, begun)
