"""What a step pays: a score source times a form."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqgan_env.budget import Budget
from seqgan_env.checks import check_count, check_type
from seqgan_env.discriminators.base import Discriminator
from seqgan_env.names import choose
from seqgan_env.rewards.forms import FORMS
from seqgan_env.rewards.sources import (
    Source,
    check_source,
    has_logit,
    make_source,
    read_source,
    value_of,
)
from seqgan_env.rewards.values import (
    EarnedValue,
    LaggedPolicy,
    RolloutValue,
    action_values,
    additive,
)
from seqgan_env.streams import streams_from_keys
from seqgan_env.types import (
    PrefixValue,
    Remembers,
    RewardFn,
    RolloutPolicy,
    SequenceScorer,
    Task,
    ToldOfPolicy,
)


@dataclass(frozen=True)
class RewardSettings:
    """What an environment pays.

    Attributes:
        reward: form, one of rollout, difference, terminal, token.
        source: what scores: a name from `seqgan list sources`, `package.module:Name`, a sum of
            such as text ("discriminator + 0.5 * bleu"), a `WeightedSum`, what makes a source, or
            any object with `score(tokens)` or the signature of a `PrefixValue`.
        score_as: "probability" or "logit", for the sources discriminator and optimal.
        num_rollouts: N, completions per prefix.
        sync_rate: 1 rolls out the live policy; below 1, a copy that moves by this rate at every
            `sync`.
    """

    reward: str = "rollout"
    source: Source = "discriminator"
    score_as: str = "probability"
    num_rollouts: int = 16
    sync_rate: float = 1.0

    def __post_init__(self) -> None:
        choose(FORMS, self.reward, "reward form")
        choose(("probability", "logit"), self.score_as, "score_as")
        check_source(self.source)
        as_probability = self.score_as == "probability" and has_logit(self.source)
        if FORMS[self.reward].earned and as_probability:
            raise ValueError(
                f"reward form {self.reward!r} pays every token its part of a score that is a sum "
                "over tokens, and a probability is none; set score_as to 'logit'"
            )
        check_count("num_rollouts", self.num_rollouts)
        check_type("sync_rate", self.sync_rate, float)
        if not 0 < self.sync_rate <= 1:
            raise ValueError(f"sync_rate is {self.sync_rate}; allowed is above 0, up to 1")


class RewardModel:
    """The reward of a task under some settings, moving as the discriminator and the policy learn.

    It is asked by four doors, each of which leads to `value`:

    | door | asked by | of |
    | `value` | rollouts, tests | prefixes: torch to torch |
    | `action_values` | whoever wants every Q of a sequence | finished sequences: torch to torch |
    | `rewards` | `TokenVectorEnv.play`, scoring offline | finished sequences: torch to torch |
    | `step_values` | `SequenceCore.step` | prefixes of running episodes: NumPy to NumPy |

    Environments share it by handle: copying an environment, as `gym.make(env.spec)` does with its
    arguments, copies the reference, so that a discriminator trained outside is the one that pays
    inside. So `copy.deepcopy` of a reward model is the model itself, and that of whatever holds one
    (an environment, an agent) holds the same. Pickled it is written out whole, with task, policy
    and discriminator: what is read back, here or in another process, is another model with the same
    numbers, and goes its own way.

    Examples:
        >>> from seqgan_env import build_rewards, make_task
        >>> task = make_task("oracle-tiny", num_real=100)
        >>> rewards = build_rewards(task, RewardSettings(source="constant"))
        >>> prefix = torch.full((1, 10), task.spec.pad_token)
        >>> rewards.value(prefix, torch.tensor([0]), torch.Generator().manual_seed(0))
        tensor([1.])

    Attributes:
        task: what is written.
        settings: source and form.
        sources: weights and what scores, one each for every term of the source.
        discriminator: where it is a term of the source; None otherwise.
        value: of prefixes (B, T) of lengths (B,), by `rng`: (B,) float32. The score itself where a
            prefix is finished.
        policy: the live policy, rolled out, of which the discriminator and the sources are told.
        budget: what it, its environments and the training of its discriminator have spent.
    """

    def __init__(
        self,
        task: Task,
        settings: RewardSettings,
        policy: RolloutPolicy,
        discriminator: Discriminator | None = None,
    ) -> None:
        self.task, self.settings, self.spec = task, settings, task.spec
        self.form = FORMS[settings.reward]
        self.discriminator = discriminator
        self.budget = Budget()
        self.sources = [
            (weight, make_source(source, task, policy, discriminator, settings.score_as))
            for weight, source in read_source(settings.source).terms
        ]
        self.bind(policy)

    def __deepcopy__(self, memo: dict[int, object]) -> RewardModel:
        return self

    @property
    def discount(self) -> float:
        """The discount with which the return is the objective (0 for form "rollout": r_t already is
        the action value).
        """
        return self.form.discount

    @property
    def reward_fn(self) -> RewardFn:
        """What steps pay, from the values before and behind them."""
        return self.form.reward_fn

    @property
    def needs_prefix_values(self) -> bool:
        return self.form.needs_prefix_values

    @property
    def device(self) -> torch.device:
        """Where the policy lives, and so the tokens that are rolled out."""
        return getattr(self.policy, "device", torch.device("cpu"))

    def bind(self, policy: RolloutPolicy) -> None:
        """Makes `policy` the live policy, by handle: what it learns, the rollouts follow (after
        `sync` if `sync_rate` < 1).
        """
        if not isinstance(policy, RolloutPolicy):
            raise TypeError(
                f"{type(policy).__name__} cannot be rolled out; a policy needs complete(tokens, "
                "lengths, rng)"
            )
        self.policy = policy
        if self.discriminator is not None:
            self.discriminator.bind(policy)
        for source in self._other_sources():
            if isinstance(source, ToldOfPolicy):
                source.bind(policy)
        self.rollout_policy = (
            policy
            if self.settings.sync_rate == 1
            else LaggedPolicy(policy, self.settings.sync_rate)
        )
        self.value = self._build_value()

    def sync(self) -> None:
        """Moves a lagged rollout policy towards the live one; nothing to do at `sync_rate` 1."""
        if isinstance(self.rollout_policy, LaggedPolicy):
            self.rollout_policy.sync()

    def state_dict(self) -> dict[str, Any]:
        """What moves with training besides the live policy: D, the lagged policy, the budget, and
        what sources remember.
        """
        state: dict[str, Any] = {"budget": asdict(self.budget)}
        if self.discriminator is not None:
            state["discriminator"] = self.discriminator.state_dict()
        if isinstance(self.rollout_policy, LaggedPolicy):
            state["lagged"] = self.rollout_policy.copy.state_dict()
        remembering = self._remembering_sources()
        if remembering:
            state["sources"] = [source.state_dict() for source in remembering]
        return copy.deepcopy(state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state of `state_dict`.

        Raises:
            ValueError: the state is of other rewards: it has parts that these lack, or lacks some.
        """
        parts = self._parts_of_state()
        if set(state) != parts:
            raise ValueError(
                f"the state has {', '.join(sorted(state))}; that of these rewards has "
                f"{', '.join(sorted(parts))}"
            )
        for name, value in state["budget"].items():
            setattr(self.budget, name, value)
        if self.discriminator is not None:
            self.discriminator.load_state_dict(state["discriminator"])
        if isinstance(self.rollout_policy, LaggedPolicy):
            self.rollout_policy.copy.load_state_dict(state["lagged"])
        remembering = self._remembering_sources()
        for source, remembered in zip(remembering, state.get("sources", []), strict=True):
            source.load_state_dict(remembered)

    def _remembering_sources(self) -> list[Remembers]:
        """The sources, other than the discriminator, whose scores depend on earlier ones."""
        return [source for source in self._other_sources() if isinstance(source, Remembers)]

    def _other_sources(self) -> list[object]:
        """The sources that are not the discriminator which is trained."""
        return [source for _, source in self.sources if source is not self.discriminator]

    def _parts_of_state(self) -> set[str]:
        """The names in `state_dict`."""
        parts = {"budget"}
        if self.discriminator is not None:
            parts.add("discriminator")
        if isinstance(self.rollout_policy, LaggedPolicy):
            parts.add("lagged")
        if self._remembering_sources():
            parts.add("sources")
        return parts

    def step_values(self, tokens: np.ndarray, lengths: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Values (B,) float64 of the prefixes `tokens` (B, T) of `lengths` (B,), in the episodes
        whose random streams `keys` (B,) name.

        The door of `SequenceCore`, which knows no torch: the one place where NumPy becomes torch.
        """
        streams = streams_from_keys(keys, self.device)
        prefixes = torch.from_numpy(tokens).to(self.device, torch.int64)
        values = self.value(prefixes, torch.from_numpy(lengths).to(self.device), streams)
        return values.double().cpu().numpy()

    def seed(self, keys: np.ndarray) -> None:
        """Told of the streams (B,) uint64 of an environment that was just seeded.

        Draws nothing itself, so does nothing.
        """

    def observe(self, episodes: np.ndarray) -> dict[str, float]:
        """Told of sequences (M, T) that just ended; metrics if it learned from them now.

        This one is driven and never does.
        """
        return {}

    def online_metrics(self) -> dict[str, float]:
        """Metrics of what was last learned from observed episodes; empty where nothing was."""
        return {}

    def action_values(self, tokens: Tensor, rng: torch.Generator) -> Tensor:
        """Q of every token of finished sequences (B, T), in one call: (B, T), 0 behind the end.

        Where the value of a prefix is rolled out, this is B x T x N completions.
        """
        return action_values(self.value, self.spec, self.spec.check_sequences(tokens), rng)

    def rewards(self, tokens: Tensor, rng: torch.Generator) -> Tensor:
        """What stepping through finished sequences (B, T) pays: (B, T), 0 behind the end.

        The door of `TokenVectorEnv.play`, and of whoever pays sequences outside an environment.
        """
        if self.needs_prefix_values:
            values = self.action_values(tokens, rng)
        else:
            values = self._scores_at_ends(tokens, rng)
        after = values.double()  # in which the core subtracts, too
        before = torch.zeros_like(after)
        before[:, 1:] = after[:, :-1]
        rewards = self.reward_fn(before, after).to(torch.float32)
        return rewards.masked_fill(tokens == self.spec.pad_token, 0.0)

    def rehearse(self, sequences: Tensor) -> None:
        """Scores finished sequences (B, T), and leaves no trace of it.

        What is wrong with a source of one's own shows here, before a policy is pre-trained for it.

        Raises:
            ValueError: a source returns anything but one finite number a sequence; or whatever a
                source of one's own raises.
        """
        budget = asdict(self.budget)
        remembering = self._remembering_sources()
        remembered = [copy.deepcopy(source.state_dict()) for source in remembering]
        with torch.random.fork_rng(devices=[]):  # a source may draw from torch's own generator
            self._scores_at_ends(sequences, torch.Generator(device=sequences.device).manual_seed(0))
        for source, state in zip(remembering, remembered, strict=True):
            source.load_state_dict(state)
        for name, value in budget.items():
            setattr(self.budget, name, value)

    def _scores_at_ends(self, tokens: Tensor, rng: torch.Generator) -> Tensor:
        """The score of each finished sequence (B, T) at its last token, 0 elsewhere: (B, T)."""
        lengths = self.spec.lengths(self.spec.check_sequences(tokens))
        scores = self.value(tokens, lengths, rng)
        values = torch.zeros(tokens.shape, device=tokens.device, dtype=torch.float32)
        return values.scatter(1, lengths.unsqueeze(1) - 1, scores.unsqueeze(1))

    def _build_value(self) -> PrefixValue:
        def rolled_out(scorer: SequenceScorer) -> RolloutValue:
            return RolloutValue(
                self.spec, self.rollout_policy, scorer, self.settings.num_rollouts, self.budget
            )

        def earned(scorer: SequenceScorer) -> EarnedValue:
            return EarnedValue(scorer, self.budget)

        if not self.form.earned:
            return value_of(self.sources, rolled_out)
        for _, source in self.sources:
            if isinstance(source, SequenceScorer):
                additive(source)
        return value_of(self.sources, earned)
