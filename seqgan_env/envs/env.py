"""The single Gymnasium face of the core: the batch of one."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import error, spaces

from seqgan_env.envs.core import Transition
from seqgan_env.envs.face import Face
from seqgan_env.envs.observations import Shown
from seqgan_env.envs.rendering import RENDER_MODES, render_row
from seqgan_env.rewards.model import RewardModel


class TokenEnv(Face, gym.Env[Shown, np.int64]):
    """Writing a sequence of tokens, one token a step.

    ## Description
    The sequence-generation problem of SeqGAN (Yu, Zhang, Wang and Yu: AAAI 2017). The state is the
    prefix written so far, the action is the next token, and the reward is what a score source
    thinks of Monte Carlo completions of the new prefix.

    ## Observation space
    By choice (`observation`):

    - `"tokens"`, the default: `Box(0, V, (T,), int32)`, the prefix, padded with V ("not written
      yet"). It is for policies that embed tokens; a dense network would read them as magnitudes.
    - `"one_hot"`: `Box(0, 1, (k * V + 1,), float32)`, the last k tokens (`observation_window`, by
      default all) one-hot, oldest first, zeros where nothing is written yet, and the share of the
      sequence that is written.
    - `"dict"`: `tokens` as above, `length` `Box(0, T, (1,), int32)`, and `action_mask`
      `Box(0, 1, (V,), int8)`, 1 where a token is allowed.

    ## Action space
    `Discrete(V)`: the next token. Where a mask exists, `info["action_mask"]` (V,) int8 tells the
    allowed tokens: the end token is masked until `min_length` tokens are written.

    A masked action is no error: the env writes the next token of the vocabulary in its place (token
    0 behind the last), tells it as `info["written"]`, and pays for it. So every episode ends,
    whoever acts. In Gymnasium's own environments a masked action changes nothing; here an agent
    that is blind to the mask could write nothing for ever, and be paid better for that where scores
    are negative.

    ## Rewards
    A score source says what a sequence is worth, a form what each step pays of it: `rollout` pays
    the action value Q_t (discount 0), `difference` pays Q_t - Q_{t-1} (discount 1), `terminal` pays
    the score at the end (discount 1).
    `env.unwrapped.discount` is the one that fits: summing Q_t with discount 1 would count every
    score T times.

    ## Starting state
    Nothing is written.

    ## Episode end
    Terminated by the end token, where the task has one, or by token T. Never truncated.

    ## Info
    Every step: `action_value`, Q_t of the token (with form `terminal` only at the end). At the end:
    `score` of the sequence and `episode` with `r` (return) and `l` (length), as Gymnasium's
    `RecordEpisodeStatistics` writes them but without its `t`, the seconds: info depends on seed and
    actions alone. For seconds use that wrapper, on an env made with `episode_statistics=False`, for
    it refuses an env that has such statistics. `online` has the metrics of an update of rewards
    that learn online, if this episode triggered one. `written` is the token that was written in
    place of a masked action.

    ## Learning rewards
    An env that `gym.make` is given no policy, discriminator or `RewardModel` for trains its own
    discriminator on finished episodes. It also fits an LSTM, the clone, to them, which writes the
    rollouts in place of the policy; see `seqgan_env.envs.online`. `reset(seed=...)` does not undo
    what was learned. With `online=False`, or with a `RewardModel` given, the caller trains the
    discriminator.

    ## Version history
    * v0: initial version.
    """

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": 4}  # noqa: RUF012

    def __init__(
        self,
        rewards: RewardModel,
        render_mode: str | None = None,
        episode_statistics: bool = True,
        online: bool = True,
        observation: str = "tokens",
        observation_window: int | None = None,
    ) -> None:
        """
        Args:
            rewards: what is paid.
            render_mode: "ansi" (a text), "ansi_list" (the texts since the last call) or None.
            episode_statistics: whether the last info of an episode has `episode`.
            online: whether rewards that learn are trained on finished episodes; False for an
                environment in which a policy is only evaluated.
            observation: "tokens", "one_hot" or "dict".
            observation_window: k, the tokens that "one_hot" shows; None shows all.
        """
        super().__init__(
            rewards,
            num_envs=1,
            render_mode=render_mode,
            online=online,
            observation=observation,
            observation_window=observation_window,
            episode_statistics=episode_statistics,
        )
        self.observation_space = self._view.space
        self.action_space = spaces.Discrete(self.task.spec.vocab_size)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Shown, dict[str, Any]]:
        """Begins a new episode; a seed restarts the random streams."""
        super().reset(seed=seed)
        self.core.seed([seed])
        self.core.reset(np.array([True]))
        self._last = None
        self._keep_frames(begun=np.array([True]))
        return self._shown(self.core.tokens.copy()), self._mask_info()

    def step(self, action: np.int64) -> tuple[Shown, float, bool, bool, dict[str, Any]]:
        """Writes one token, an integer in 0..V-1."""
        if np.ndim(action) != 0:
            raise error.InvalidAction(
                f"the action has shape {np.shape(action)}; expected one integer token"
            )
        step = self.core.step(np.asarray(action).reshape(1))
        self.rewards.budget.env_steps += 1
        self._last = step
        self._keep_frames(begun=np.array([False]))
        terminated = bool(step.terminated[0])
        return (
            self._shown(step.tokens),
            float(step.rewards[0]),
            terminated,
            False,
            self._info(step, terminated) | self._mask_info(),
        )

    def render(self) -> Any:
        """The sequence so far with its value and reward, for render mode "ansi"; for "ansi_list" a
        list of these, of the steps of this episode since the last call.
        """
        if self.render_mode is None:
            return None
        if self.render_mode == "ansi_list":
            return self._frames.take()[0]
        return render_row(self.task, self.core, self._last, 0)

    def _shown(self, tokens: np.ndarray) -> Shown:
        return self._view.row(self._view.batch(tokens, self.core), 0)

    def _mask_info(self) -> dict[str, Any]:
        mask = self.core.action_mask()
        if mask is None:
            return {}
        return {"action_mask": mask[0]}

    def _info(self, step: Transition, terminated: bool) -> dict[str, Any]:
        value = float(step.values[0])
        info: dict[str, Any] = {}
        if not np.isnan(value):
            info["action_value"] = value
        if step.replaced is not None:
            info["written"] = int(step.tokens[0, step.lengths[0] - 1])
        if terminated:
            info["score"] = value
            if self.episode_statistics:
                info["episode"] = {"r": float(step.returns[0]), "l": int(step.lengths[0])}
        if step.metrics:
            info["online"] = dict(step.metrics)
        return info
