"""Batch-first dynamics of writing tokens, under both Gymnasium faces. Knows no torch model.

State: the prefixes. Transition: append, deterministic. An episode is terminated, never truncated,
by the end token or by token T.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from gymnasium import error
from gymnasium.utils import seeding

from seqgan_env.checks import check_count
from seqgan_env.streams import fold_keys, seed_key
from seqgan_env.types import RewardFn, TokenSpec


class StepValues(Protocol):
    """Where the core gets the values of prefixes from."""

    @property
    def reward_fn(self) -> RewardFn:
        """What a step pays."""
        ...

    @property
    def needs_prefix_values(self) -> bool:
        """Whether unfinished prefixes have values too."""
        ...

    def step_values(self, tokens: np.ndarray, lengths: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Values (B,) float64 of prefixes (B, T) of `lengths` (B,); `keys` (B,) uint64 name the
        episodes' random streams.
        """
        ...

    def seed(self, keys: np.ndarray) -> None:
        """Told of the streams (num_envs,) uint64 of an environment that was just seeded."""
        ...

    def observe(self, episodes: np.ndarray) -> dict[str, float]:
        """Told of sequences (M, T) int32 that just ended; metrics if it learned from them now."""
        ...


class Transition(NamedTuple):
    """What one step did, before any reset. No array is written to afterwards.

    Attributes:
        tokens: (B, T) int32 after the action.
        rewards: (B,) float64.
        terminated: (B,) bool.
        values: (B,) float64, the action values; not a number where the reward form does not need
            them.
        returns: (B,) float64, undiscounted sums of rewards of the episodes so far.
        lengths: (B,) int64, tokens written.
        metrics: of what the rewards learned from the episodes that ended, if they did now; for the
            steps to come.
        any_terminated: whether an episode ended.
        written: (B,) bool, whether the env wrote its token; false where it began a new episode
            instead.
        replaced: (B,) bool, whether the token is another than the action, which was masked; None
            where no action was.
    """

    tokens: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    values: np.ndarray
    returns: np.ndarray
    lengths: np.ndarray
    metrics: dict[str, float]
    any_terminated: bool
    written: np.ndarray
    replaced: np.ndarray | None


class SequenceCore:
    """The dynamics of `num_envs` episodes side by side.

    Episode k of the env seeded s has a random stream that depends on s and k alone. A step hands
    its arrays out without a copy, so that none is changed in place afterwards but `tokens`, of
    which a copy is handed out, and `episodes`.
    """

    def __init__(
        self, spec: TokenSpec, rewards: StepValues, num_envs: int, online: bool = True
    ) -> None:
        """
        Args:
            spec: of the sequences.
            rewards: what is paid.
            num_envs: episodes side by side.
            online: whether `rewards` are told of finished episodes, from which they may learn.
        """
        check_count("num_envs", num_envs)
        self.spec, self.rewards, self.num_envs, self.online = spec, rewards, num_envs, online
        self.seed_keys = np.zeros(num_envs, dtype=np.uint64)
        self.episodes = np.zeros(num_envs, dtype=np.int64)  # episodes begun since seeding
        self.tokens = np.full((num_envs, spec.seq_len), spec.pad_token, dtype=np.int32)
        self.lengths = np.zeros(num_envs, dtype=np.int64)
        # Nothing may be written before the first reset.
        self.finished = np.ones(num_envs, dtype=bool)
        self._rows = np.arange(num_envs)
        self._all = np.ones(num_envs, dtype=bool)  # not written to
        self._values = np.zeros(num_envs)
        self._returns = np.zeros(num_envs)

    def seed(self, seeds: Sequence[int | None]) -> None:
        """Gives env i the stream of `seeds[i]`.

        None leaves a stream as it is, or seeds it from the system if it was never seeded.
        """
        changed = False
        for i, seed in enumerate(seeds):
            # A key of 0 is that of an env which was never seeded.
            if seed is not None or self.seed_keys[i] == 0:
                self.seed_keys[i] = seed_key(seeding.np_random(seed)[1])
                self.episodes[i] = 0
                changed = True
        if changed and self.online:
            self.rewards.seed(self.seed_keys)

    def reset(self, rows: np.ndarray) -> None:
        """Begins a new episode in `rows` (B,) bool."""
        self.tokens[rows] = self.spec.pad_token
        self.episodes[rows] += 1
        # New arrays, for the present ones were handed out with the last step.
        self.lengths = np.where(rows, 0, self.lengths)
        self.finished = self.finished & ~rows
        self._values = np.where(rows, 0.0, self._values)
        self._returns = np.where(rows, 0.0, self._returns)

    def step(self, actions: np.ndarray, restart: bool = False) -> Transition:
        """Appends `actions` (B,), checked, to the episodes.

        Args:
            actions: one token for each env.
            restart: an env whose episode is over begins the next one, pays 0 and ignores its
                action, which is otherwise an error.
        """
        # Write the tokens; where an episode is over, begin the next instead.
        over = None
        if restart:
            over = self._over()
        actions, replaced = self._allow(self._check_actions(actions, over), over)
        if over is None:
            written = self._all
            self.tokens[self._rows, self.lengths] = actions
            self.lengths = self.lengths + 1
        else:
            written = ~over
            self.reset(over)
            rows = self._rows[written]
            self.tokens[rows, self.lengths[rows]] = actions[rows]
            self.lengths = self.lengths + written

        # Episodes end by the last place or by the end token. An env that has begun an episode has
        # written nothing, whatever its action was.
        finished = self.lengths == self.spec.seq_len  # (B,)
        if self.spec.eos_token is not None:
            finished |= written & (actions == self.spec.eos_token)
        self.finished, any_finished = finished, _any(finished)

        # Pay by the values before the tokens and behind them.
        valued = finished
        if self.rewards.needs_prefix_values:
            valued = written
        values, known = self._new_values(valued)
        rewards = self.rewards.reward_fn(self._values, known)
        self._values = known  # may alias `rewards`, so neither is modified in place
        self._returns = self._returns + rewards

        # Only then may the rewards learn from what ended: this step is paid by what they knew.
        metrics: dict[str, float] = {}
        if any_finished:
            metrics = self.observe(self.tokens[finished])
        lasting = (self._returns, self.lengths, metrics, any_finished, written, replaced)
        return Transition(self.tokens.copy(), rewards, finished, values, *lasting)

    def observe(self, episodes: np.ndarray) -> dict[str, float]:
        """Tells the rewards of sequences (M, T) that just ended; metrics if they learned now."""
        if self.online and len(episodes):
            return self.rewards.observe(episodes)
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Episodes, their streams and what they were paid so far."""
        arrays: dict[str, np.ndarray] = {
            "seed_keys": self.seed_keys.view(np.int64),
            "episodes": self.episodes,
            "tokens": self.tokens,
            "lengths": self.lengths,
            "finished": self.finished,
            "values": self._values,
            "returns": self._returns,
        }
        # Lists, for a checkpoint is read back without NumPy arrays.
        state = {}
        for name, array in arrays.items():
            state[name] = array.tolist()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state of `state_dict`.

        Raises:
            ValueError: it is of other sequences, of another vocabulary, or of another number of
                envs; then nothing has changed.
        """
        shape = np.shape(state["tokens"])
        if shape != self.tokens.shape:
            raise ValueError(
                f"the state has episodes of shape {shape}; this environment's are "
                f"{self.tokens.shape}, num_envs x seq_len"
            )
        self._check_vocabulary(np.array(state["tokens"]), np.array(state["lengths"]))
        self.seed_keys = np.array(state["seed_keys"], dtype=np.int64).view(np.uint64)
        self.episodes = np.array(state["episodes"], dtype=np.int64)
        self.tokens = np.array(state["tokens"], dtype=np.int32)
        self.lengths = np.array(state["lengths"], dtype=np.int64)
        self.finished = np.array(state["finished"], dtype=bool)
        self._values = np.array(state["values"], dtype=np.float64)
        self._returns = np.array(state["returns"], dtype=np.float64)

    def _check_vocabulary(self, tokens: np.ndarray, lengths: np.ndarray) -> None:
        """Raises a ValueError unless `tokens` (B, T) of a state are of the vocabulary in the first
        `lengths` (B,) places, and padding behind them.
        """
        size, pad = self.spec.vocab_size, self.spec.pad_token
        written = np.arange(self.spec.seq_len) < lengths[:, None]  # (B, T)
        known = (tokens >= 0) & (tokens < size)
        wrong = np.where(written, ~known, tokens != pad)
        if _any(wrong):
            i, t = np.argwhere(wrong)[0]
            raise ValueError(
                f"the state has token {tokens[i, t]} at place {t} of env {i}, which has written "
                f"{lengths[i]}; this environment's tokens are 0..{size - 1}, and {pad} where none "
                "is written yet. The state is of another vocabulary"
            )

    def action_mask(self) -> np.ndarray | None:
        """Allowed actions (B, V) as int8, a new array; None where every token is allowed always."""
        if not self.spec.min_length:
            return None
        mask = np.ones((self.num_envs, self.spec.vocab_size), dtype=np.int8)  # (B, V)
        mask[self.lengths < self.spec.min_length, self.spec.eos_token] = 0
        return mask

    def episode_keys(self) -> np.ndarray:
        """The random streams of the present episodes, (B,) uint64."""
        return fold_keys(self.seed_keys, self.episodes)

    def check_begun(self) -> None:
        """Raises a `gymnasium.error.ResetNeeded` if an env has no episode to write in."""
        if _any(self.finished):
            raise error.ResetNeeded(
                f"env {int(self.finished.argmax())} has no episode to write in; call reset() first"
            )

    def _new_values(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values (B,) of the present prefixes, computed in `rows` (B,) bool alone.

        Returns:
            The values with NaN in the other rows, which is what a step tells, and with 0 there,
            which is what reward forms reckon with. One array where there are no other rows.
        """
        num_rows = np.count_nonzero(rows)
        if num_rows == self.num_envs:
            values = self.rewards.step_values(self.tokens, self.lengths, self.episode_keys())
            return values, values
        values, known = np.full(self.num_envs, np.nan), np.zeros(self.num_envs)
        if num_rows:
            values[rows] = known[rows] = self.rewards.step_values(
                self.tokens[rows], self.lengths[rows], self.episode_keys()[rows]
            )
        return values, known

    def _over(self) -> np.ndarray | None:
        """Envs (B,) bool whose episode is over; None if there are none, as before the first
        reset.
        """
        # Before the first reset every env is finished, but none has written anything.
        if _any(self.finished) and _any(self.lengths):
            return self.finished
        return None

    def _check_actions(self, actions: np.ndarray, ignored: np.ndarray | None) -> np.ndarray:
        """`actions` as an array, if they may be written where they are not `ignored` (B,) bool."""
        actions = np.asarray(actions)
        if actions.shape != (self.num_envs,):
            raise error.InvalidAction(
                f"actions have shape {actions.shape}; expected ({self.num_envs},), one token for "
                "each env"
            )
        if actions.dtype.kind not in "iu":
            raise error.InvalidAction(
                f"actions have dtype {actions.dtype}; expected integers, tokens "
                f"0..{self.spec.vocab_size - 1}"
            )
        if ignored is None:
            self.check_begun()
        outside = (actions < 0) | (actions >= self.spec.vocab_size)  # (B,)
        if ignored is not None:
            outside &= ~ignored
        if _any(outside):
            i = int(outside.argmax())
            raise error.InvalidAction(
                f"env {i} was given token {actions[i]}; the vocabulary is "
                f"0..{self.spec.vocab_size - 1} and this env has written {self.lengths[i]} of "
                f"{self.spec.seq_len}"
            )
        return actions

    def _allow(
        self, actions: np.ndarray, ignored: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Replaces every end token that is masked by the next token of the vocabulary.

        Returns:
            The actions (B,) to write, and where they were replaced, (B,) bool; None if nowhere.

        An action of the space is never refused, as in Gymnasium's own environments. Theirs let a
        masked one change nothing. Here an episode could then go on for ever, for it has no time
        limit, and where scores are negative that would pay better than writing.
        """
        spec = self.spec
        if not spec.min_length or spec.eos_token is None:
            return actions, None
        early = (actions == spec.eos_token) & (self.lengths < spec.min_length)  # (B,)
        if ignored is not None:
            early &= ~ignored
        if not _any(early):
            return actions, None
        return np.where(early, (spec.eos_token + 1) % spec.vocab_size, actions), early


def _any(flags: np.ndarray) -> bool:
    """`flags.any()`, at a fifth of its time for few flags."""
    return bool(np.count_nonzero(flags))
