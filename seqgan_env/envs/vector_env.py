"""The batched Gymnasium face of the core: one object that steps all sequences at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from torch import Tensor

from seqgan_env.envs.core import Transition
from seqgan_env.envs.face import Face
from seqgan_env.envs.observations import Shown
from seqgan_env.envs.rendering import RENDER_MODES, render_row
from seqgan_env.names import choose
from seqgan_env.rewards.model import RewardModel
from seqgan_env.streams import streams_from_keys

AUTORESET_MODES = {mode.name.lower(): mode for mode in AutoresetMode}


class TokenVectorEnv(Face, VectorEnv[Shown, np.ndarray, np.ndarray]):
    """Writes `num_envs` sequences side by side, one in each env.

    Spaces, rewards and the end of an episode are those of `seqgan_env.envs.env.TokenEnv`.
    Env i seeded s behaves as the single env seeded s + i, and the whole as Gymnasium's
    `SyncVectorEnv` of single envs. What the step after an episode's end does is chosen:

    - `AutoresetMode.SAME_STEP`, the default, as in Stable-Baselines3: the step that ends an episode
      returns the first observation of the next one, and the last observation and info in
      `infos["final_obs"]` and `infos["final_info"]`.
    - `AutoresetMode.NEXT_STEP`, Gymnasium's default: the next step ignores the action of this env,
      pays 0 and returns the first observation of the next episode.
    - `AutoresetMode.DISABLED`: the caller resets, through `options={"reset_mask": done}`.

    Examples:
        >>> import gymnasium as gym
        >>> import seqgan_env  # importing registers the ids
        >>> envs = gym.make_vec("SeqGAN/Oracle-v0", num_envs=3, source="constant")
        >>> observations, infos = envs.reset(seed=0)
        >>> observations, rewards, terminated, truncated, infos = envs.step(np.array([4, 8, 15]))
        >>> observations[:, :2].tolist()
        [[4, 50], [8, 50], [15, 50]]
        >>> rewards.tolist()
        [1.0, 1.0, 1.0]

    Attributes:
        task: what is written.
        rewards: what is paid, shared by handle with whoever trains the discriminator and the
            policy.
        discount: the discount that fits the reward form.
        autoreset_mode: as above.
    """

    metadata = {  # noqa: RUF012
        "render_modes": list(RENDER_MODES),
        "render_fps": 4,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self,
        num_envs: int,
        rewards: RewardModel,
        render_mode: str | None = None,
        online: bool = True,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        observation: str = "tokens",
        observation_window: int | None = None,
        episode_statistics: bool = True,
    ) -> None:
        """
        Args:
            num_envs: B.
            rewards: what is paid.
            render_mode: "ansi", "ansi_list" or None.
            online: whether finished episodes teach `rewards`, where these learn at all; False for
                an environment to evaluate in.
            autoreset_mode: a Gymnasium `AutoresetMode`, or "same_step", "next_step" or "disabled".
            observation: "tokens", "one_hot" or "dict"; see `seqgan_env.envs.observations`.
            observation_window: of "one_hot".
            episode_statistics: whether the info of an episode's end has `episode`.
        """
        super().__init__(
            rewards,
            num_envs,
            render_mode=render_mode,
            online=online,
            observation=observation,
            observation_window=observation_window,
            episode_statistics=episode_statistics,
        )
        self.num_envs = num_envs
        self.autoreset_mode = to_autoreset_mode(autoreset_mode)
        self.metadata = type(self).metadata | {"autoreset_mode": self.autoreset_mode}
        self.single_observation_space = self._view.space
        self.single_action_space = spaces.Discrete(self.task.spec.vocab_size)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Shown, dict[str, Any]]:
        """Begins a new episode in every env, or in those of `options["reset_mask"]` (B,) bool.

        Args:
            seed: s gives env i the seed s + i; a list gives every env its own; None goes on with
                the present streams. An env that is not reset keeps its stream.
            options: may hold `reset_mask`.

        Returns:
            observations of all envs, and infos, with `action_mask` where a mask exists.
        """
        rows = self._reset_mask(options)
        seeds = self._seeds(seed)
        for i in np.flatnonzero(~rows).tolist():
            seeds[i] = None  # an env that is not reset keeps its stream
        self.core.seed(seeds)
        self.core.reset(rows)
        self._last = None
        self._keep_frames(rows)
        return self._view.batch(self.core.tokens.copy(), self.core), self._mask_info()

    def step(
        self, actions: np.ndarray
    ) -> tuple[Shown, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Writes one token in every env: actions (B,) int in 0..V-1.

        Returns:
            observations, rewards (B,) float64, terminations (B,), truncations (B,, always False)
            and infos.

        Raises:
            gymnasium.error.InvalidAction: an action is outside the vocabulary, of the wrong shape
                or not an integer.
            gymnasium.error.ResetNeeded: an env has no episode to write in.
        """
        # Write the tokens. In NEXT_STEP mode an env whose episode ended begins the next instead.
        step = self.core.step(actions, restart=self.autoreset_mode == AutoresetMode.NEXT_STEP)
        self.rewards.budget.env_steps += int(np.count_nonzero(step.written))
        before, self._last = self._last, step
        observations = self._view.batch(step.tokens, self.core)
        # Before the reset: final observations and masks are those of the episodes that ended.
        infos = self._infos(step, observations)
        if step.any_terminated and self.autoreset_mode == AutoresetMode.SAME_STEP:
            self.core.reset(step.terminated)
            observations = self._view.batch(self.core.tokens.copy(), self.core)
        # The mask is that of the next action, so it is taken after the reset.
        infos |= self._mask_info()
        # Envs whose episode had ended in the step before have begun a new one with this step.
        begun = np.zeros(self.num_envs, dtype=bool)  # (B,)
        if before is not None:
            begun = before.terminated
        self._keep_frames(begun)
        truncated = np.zeros(self.num_envs, dtype=bool)  # (B,)
        return observations, step.rewards, step.terminated.copy(), truncated, infos

    def play(self, tokens: Tensor) -> Tensor:
        """Writes a whole sequence in every env at once.

        Every env is taken from the beginning of an episode to the beginning of the next, as
        stepping would.

        Args:
            tokens: (B, T) int64, finished sequences; row i is written by env i.

        Returns:
            The rewards (B, T) that stepping would pay, from one batched rollout.

        Raises:
            ValueError: these are no such sequences, or an episode is under way.
            gymnasium.error.ResetNeeded: an env has no episode to write in.
        """
        if len(tokens) != self.num_envs:
            raise ValueError(
                f"play was given {len(tokens)} sequences; this environment has {self.num_envs} envs"
            )
        self.core.check_begun()
        if self.core.lengths.any():
            raise ValueError(
                "play starts at the beginning of an episode, but tokens have been written; call "
                "reset() first"
            )
        self._check_ends(tokens)
        # The streams of these episodes are taken before anything moves them on.
        streams = streams_from_keys(self.core.episode_keys(), tokens.device)
        self.rewards.budget.env_steps += int(self.task.spec.lengths(tokens).sum())
        rewards = self.rewards.rewards(tokens, streams)  # (B, T)
        # Only after they are paid do the episodes teach the reward model, as in stepping.
        # A copy, for what waits to be learned from must outlive the caller's tensor.
        self.core.observe(tokens.cpu().numpy().copy())
        self.core.reset(np.ones(self.num_envs, dtype=bool))
        return rewards

    def _check_ends(self, tokens: Tensor) -> None:
        """Raises a ValueError if a sequence ends where the end is masked."""
        spec = self.task.spec
        if not spec.min_length or spec.eos_token is None:
            return
        spec.check_sequences(tokens)
        early = tokens[:, : spec.min_length].eq(spec.eos_token).any(1)  # (B,)
        if bool(early.any()):
            row = int(early.nonzero()[0])
            raise ValueError(
                f"sequence {row} that play was given ends before {spec.min_length} tokens, where "
                "the end token is masked (min_length)"
            )

    def render(self) -> tuple[Any, ...] | None:
        """Each env's sequence so far with its value and reward, for render mode "ansi".

        For "ansi_list" a list of these for each env: one after every step of the present episode
        since the last call. Where a step has just begun a new episode (`SAME_STEP`) the list is
        that of the one that ended.
        """
        if self.render_mode is None:
            return None
        if self.render_mode == "ansi_list":
            return self._frames.take()
        frames = []
        for i in range(self.num_envs):
            frames.append(render_row(self.task, self.core, self._last, i))
        return tuple(frames)

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The attribute `name`, or the result of the method, once for each env.

        The envs are one object, so it is called once; of `render` each env gets its own frame.
        """
        attribute = getattr(self, name)
        result = attribute
        if callable(attribute):
            result = attribute(*args, **kwargs)
        if name == "render" and result is not None:
            return tuple(result)
        return (result,) * self.num_envs

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """The attribute `name`, once for each env."""
        return (getattr(self, name),) * self.num_envs

    def set_attr(self, name: str, values: Any) -> None:
        """Sets the attribute `name` of all envs, which are one object.

        Args:
            name: of the attribute.
            values: one value, or a list or tuple with the same value for each env.

        Raises:
            ValueError: there are other than `num_envs` values, or they differ.
        """
        if isinstance(values, (list, tuple)):
            if len(values) != self.num_envs:
                raise ValueError(
                    f"set_attr of {name!r} was given {len(values)} values; this environment has "
                    f"{self.num_envs} envs"
                )
            for value in values:
                # Asked by identity first: NaN, for one, is not equal to itself.
                if value is not values[0] and value != values[0]:
                    raise ValueError(
                        f"set_attr of {name!r} was given different values; the envs are one object "
                        "and share theirs"
                    )
            values = values[0]
        setattr(self, name, values)

    def _seeds(self, seed: Any) -> list[int | None]:
        """The seed of each env, (B,), in a new list.

        Raises:
            ValueError: `seed` is none, or these are other than B.
        """
        if seed is None:
            return [None] * self.num_envs
        if isinstance(seed, (int, np.integer)):
            self._np_random, self._np_random_seed = seeding.np_random(int(seed))
            return list(range(int(seed), int(seed) + self.num_envs))
        if not isinstance(seed, (list, tuple, np.ndarray)):
            raise ValueError(
                f"seed is {seed!r}; allowed are a whole number from 0, a list of one for each env, "
                "and None"
            )
        if len(seed) != self.num_envs:
            raise ValueError(
                f"{len(seed)} seeds were given; this environment has {self.num_envs} envs"
            )
        seeds: list[int | None] = []
        for each in seed:
            # Only NumPy's integers are turned; what is no integer at all the core refuses.
            if isinstance(each, np.integer):
                each = int(each)
            seeds.append(each)
        return seeds

    def _reset_mask(self, options: Mapping[str, Any] | None) -> np.ndarray:
        """The envs (B,) bool to reset: those of `reset_mask`, or all.

        Raises:
            ValueError: the mask has another shape or type.
        """
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
        """The actions (B, V) allowed next, with Gymnasium's mask of envs; nothing if all are."""
        mask = self.core.action_mask()
        if mask is None:
            return {}
        return {"action_mask": mask, "_action_mask": np.ones(self.num_envs, dtype=bool)}

    def _infos(self, step: Transition, observations: Shown) -> dict[str, Any]:
        """What `step` tells beside its numbers; `observations` are those before any reset."""
        if self.autoreset_mode != AutoresetMode.SAME_STEP:
            return self._of_written(step, step.written) | self._of_ended(step)
        # What is told of an ended episode goes to `final_info`: the env has begun the next.
        infos = self._of_written(step, ~step.terminated)
        if step.any_terminated:
            done = step.terminated  # (B,)
            # An array of objects, as Gymnasium's: an observation where an episode ended, else None.
            final_obs = np.full(self.num_envs, None, dtype=object)
            for i in done.nonzero()[0].tolist():
                final_obs[i] = self._view.row(observations, i)
            final_info = self._of_written(step, done)
            final_info |= self._of_ended(step)
            final_info |= self._final_mask(done)
            infos |= {
                "final_obs": final_obs,
                "_final_obs": done.copy(),
                "final_info": final_info,
                "_final_info": done.copy(),
            }
        return infos

    def _of_written(self, step: Transition, rows: np.ndarray) -> dict[str, Any]:
        """Action values, and tokens written in place of masked ones, of the envs `rows` (B,)."""
        infos: dict[str, Any] = {}
        # Without values of prefixes only finished sequences have one: their score.
        known = rows
        if not self.rewards.needs_prefix_values:
            known = rows & step.terminated
        _add(infos, "action_value", step.values, known)
        if step.replaced is not None:
            # The place (env, position) of the token that each env wrote last.
            last = (np.arange(self.num_envs), step.lengths - 1)
            _add(infos, "written", step.tokens[last].astype(np.int64), rows & step.replaced)
        return infos

    def _of_ended(self, step: Transition) -> dict[str, Any]:
        """What is told of the episodes that `step` has ended; nothing if it ended none."""
        if not step.any_terminated:
            return {}
        done = step.terminated
        infos: dict[str, Any] = {}
        _add(infos, "score", step.values, done)
        if self.episode_statistics:
            episode: dict[str, Any] = {}
            for key, values in (("r", step.returns), ("l", step.lengths)):
                _add(episode, key, values, done)
            infos |= {"episode": episode, "_episode": done.copy()}
        if step.metrics:
            online: dict[str, Any] = {}
            for key, value in step.metrics.items():
                _add(online, key, np.full(self.num_envs, value), done)
            infos |= {"online": online, "_online": done.copy()}
        return infos

    def _final_mask(self, done: np.ndarray) -> dict[str, Any]:
        """The actions (B, V) allowed behind the episodes that ended, `done` (B,)."""
        mask = self.core.action_mask()
        if mask is None:
            return {}
        return {"action_mask": mask * done[:, None].astype(np.int8), "_action_mask": done.copy()}


def _add(infos: dict[str, Any], key: str, values: np.ndarray, which: np.ndarray) -> None:
    """`values` where `which` is true, with Gymnasium's mask beside them."""
    if which.any():
        infos[key] = np.where(which, values, 0).astype(values.dtype)
        infos[f"_{key}"] = which.copy()


def to_autoreset_mode(mode: AutoresetMode | str) -> AutoresetMode:
    """The mode itself, or that of the name "same_step", "next_step" or "disabled"."""
    if isinstance(mode, AutoresetMode):
        return mode
    return AUTORESET_MODES[choose(AUTORESET_MODES, mode, "autoreset_mode")]


def without_wrappers(env: VectorEnv) -> TokenVectorEnv:
    """`env` as it is, for an agent that would go past Gymnasium's wrappers.

    Raises:
        ValueError: it is wrapped, and the agent would leave out what the wrapper does.
        TypeError: it is another environment.
    """
    if isinstance(env, VectorWrapper):
        raise ValueError(
            f"the environment is wrapped in {type(env).__name__}, which this agent would go past; "
            "give it the TokenVectorEnv itself (env.unwrapped). A score source of your own changes "
            "rewards"
        )
    if not isinstance(env, TokenVectorEnv):
        raise TypeError(f"the environment is a {type(env).__name__}; expected a TokenVectorEnv")
    return env
