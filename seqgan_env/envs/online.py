"""Online training: a reward model that learns from the episodes written under it.

It is for loops that know only `reset` and `step`. It trains the discriminator, on the episodes
against real sequences, and fits a language model to the episodes, which is rolled out in place of a
policy that nobody handed over. Algorithm 1 needs neither: it drives the discriminator itself.
"""

from __future__ import annotations

import copy
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seqgan_env.checks import check_above, check_count, check_fields, check_least
from seqgan_env.discriminators.base import Discriminator
from seqgan_env.discriminators.trainer import DiscriminatorTrainer, discriminator_accuracy
from seqgan_env.generators.language_model import LanguageModel
from seqgan_env.metrics.likelihood import nll_per_token
from seqgan_env.optimizers import load_optimizer
from seqgan_env.rewards.model import RewardModel, RewardSettings
from seqgan_env.streams import streams_from_keys
from seqgan_env.types import (
    HasLogProb,
    PrefixValue,
    RolloutPolicy,
    SequenceScorer,
    Task,
    ToldOfPolicy,
)


@dataclass(frozen=True)
class OnlineSettings:
    """When and how an online environment learns.

    An update takes all episodes that ended since the update before.

    Attributes:
        d_interval: episodes from one update to the next; more where one step ends more.
        d_epochs: passes of the discriminator over the sequences of an update.
        d_memory: past episodes that are kept. An update draws as many of them as there are new
            ones, and as many real sequences as both. With none the discriminator forgets what the
            policy used to write, and the two chase each other in circles.
        warm_up: episodes before the first update. Until then the discriminator is as it was
            initialised, and pays noise.
        warm_up_epochs: `d_epochs` of the first update.
        clone_memory: updates whose episodes the clone is fitted to. Each weighs half as much as the
            one after it: the policy has moved on since, but more episodes make a better fit.
        clone_epochs: passes of the clone over these.
        clone_learning_rate: learning rate of the clone's Adam.
    """

    d_interval: int = 500
    d_epochs: int = 2
    d_memory: int = 20_000
    warm_up: int = 1_000
    warm_up_epochs: int = 6
    clone_memory: int = 4
    clone_epochs: int = 1
    clone_learning_rate: float = 1e-2

    def __post_init__(self) -> None:
        for name in (
            "d_interval",
            "d_epochs",
            "warm_up",
            "warm_up_epochs",
            "clone_memory",
            "clone_epochs",
        ):
            check_count(name, getattr(self, name))
        check_fields(self)
        check_least(self, 0, "d_memory")
        check_above(self, 0, "clone_learning_rate")


class PolicyClone:
    """Fits a language model to what an unseen policy writes, by maximum likelihood.

    Recent episodes weigh more than older ones.

    Attributes:
        model: the language model that is fitted.
        recent: the episodes (M, T) of recent updates, oldest first.
    """

    def __init__(
        self,
        model: LanguageModel,
        settings: OnlineSettings,
        batch_size: int = 128,
        max_grad_norm: float = 5.0,
    ) -> None:
        """
        Args:
            model: trained in place, by handle. A freshly initialised one is as good as uniform,
                which is how most policies begin.
            settings: of the fit.
            batch_size: sequences per step.
            max_grad_norm: gradients are scaled down to this norm.
        """
        self.model = model
        self.num_epochs = settings.clone_epochs
        self.batch_size = batch_size
        self.max_grad_norm = max_grad_norm
        # The oldest episodes fall out of the deque by themselves.
        self.recent: deque[Tensor] = deque(maxlen=settings.clone_memory)
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(self.parameters, lr=settings.clone_learning_rate)

    def fit(self, episodes: Tensor, rng: torch.Generator) -> dict[str, float]:
        """Takes in new `episodes` (M, T) and fits the model to all that are kept.

        Returns:
            `nll`, of the new episodes before they were fitted, in nats per token.
        """
        # Measured first: afterwards it would be a likelihood of what was fitted.
        nll = nll_per_token(self.model, self.model.spec, episodes)
        self.recent.append(episodes)
        tokens = torch.cat(list(self.recent))  # (K, T), oldest first

        # The newest update has age 0 and weight 1; each older one weighs half as much.
        of_updates = []
        for i, update in enumerate(self.recent):
            age = len(self.recent) - 1 - i
            of_updates.append(torch.full((len(update),), 0.5**age, dtype=torch.float32))
        weights = torch.cat(of_updates).to(tokens.device)  # (K,)

        for _ in range(self.num_epochs):
            order = torch.randperm(len(tokens), generator=rng, device=rng.device)
            for rows in order.split(self.batch_size):
                self._step(tokens[rows], weights[rows])
        return {"nll": nll}

    def state_dict(self) -> dict[str, Any]:
        """The model, its optimizer and the episodes that it is fitted to."""
        return copy.deepcopy(
            {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "recent": list(self.recent),
            }
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state of `state_dict`."""
        self.model.load_state_dict(state["model"])
        load_optimizer(self.optimizer, state["optimizer"])
        self.recent.clear()
        self.recent.extend(state["recent"])

    def _step(self, tokens: Tensor, weights: Tensor) -> None:
        """One step of Adam on sequences (B, T) of weights (B,)."""
        # Padding weighs nothing, a token as much as its sequence.
        written = (tokens != self.model.spec.pad_token) * weights.unsqueeze(1)  # (B, T)
        loss = self.model.weighted_nll(tokens, written) / written.sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm)
        self.optimizer.step()


class OnlineRewardModel(RewardModel):
    """A reward model that learns from every episode it is told of, on its own schedule.

    Seeding an environment seeds the draws and the order of training data too, and nothing else:
    what has been learned stays learned, as an agent's weights would. So a new environment, the same
    seed and the same loop give the same rewards bit by bit, and between two updates the rewards of
    an episode depend on its seed alone. Copies of an environment share the model.

    Attributes:
        online: the schedule.
        learning: whether episodes still teach it; no longer once a policy has been bound from
            outside, as Algorithm 1 does.
        num_episodes: a running total of episodes seen.
        num_updates: a running total of updates.
    """

    def __init__(
        self,
        task: Task,
        settings: RewardSettings,
        policy: RolloutPolicy,
        discriminator: Discriminator | None = None,
        online: OnlineSettings = OnlineSettings(),
        fit_policy: bool = True,
    ) -> None:
        """
        Args:
            task: what is written.
            settings: source and form.
            policy: rolled out; a `LanguageModel` if it is to be fitted.
            discriminator: trained, for source "discriminator".
            online: the schedule.
            fit_policy: fit `policy` to the episodes, if the source or the form uses it; otherwise
                whoever gave it trains it.
        """
        super().__init__(task, settings, policy, discriminator)
        self.learning = True
        self.online, self.num_episodes, self.num_updates = online, 0, 0
        self._trainer: DiscriminatorTrainer | None = None
        if discriminator is not None and discriminator.learns_from_negatives:
            self._trainer = DiscriminatorTrainer(discriminator, self.budget)
        # A policy that nothing rolls out or looks at need not be fitted.
        self._clone: PolicyClone | None = None
        if fit_policy and (self.needs_prefix_values or self._tells_of_policy()):
            self._clone = PolicyClone(_language_model(policy), online)
        # Draws of training, apart from those of rollouts; `seed` sets it anew.
        self._rng = torch.Generator(device=self.device).manual_seed(0)
        # Episodes (M, T) since the last update, and those of earlier updates, oldest first.
        self._waiting: list[np.ndarray] = []
        self._past = torch.empty(0, self.spec.seq_len, dtype=torch.int64, device=self.device)
        self._metrics: dict[str, float] = {}

    def bind(self, policy: RolloutPolicy) -> None:
        """Makes `policy` the live policy and ends the learning here: whoever binds, drives."""
        super().bind(policy)
        self.learning = False

    def seed(self, keys: np.ndarray) -> None:
        """Seeds the draws and the order of training data from the keys (B,) of the rows."""
        # On the CPU whatever the device, so that both are seeded alike.
        self._rng.manual_seed(streams_from_keys(keys, torch.device("cpu")).initial_seed())

    def observe(self, episodes: np.ndarray) -> dict[str, float]:
        """Takes in finished episodes (M, T), and updates once enough are waiting.

        Returns:
            The metrics of the update; nothing where there was none.
        """
        if not self.learning:
            return {}
        self._waiting.append(episodes)
        self.num_episodes += len(episodes)
        needed = self.online.d_interval
        if self.num_updates == 0:
            needed = self.online.warm_up
        if sum(map(len, self._waiting)) < needed:
            return {}
        self._metrics = self._update()
        return self.online_metrics()

    def online_metrics(self) -> dict[str, float]:
        """Metrics of the last update, empty before the first.

        Their names are in docs/custom_policy.md.
        """
        return dict(self._metrics)

    def state_dict(self) -> dict[str, Any]:
        """Everything that it has learned and is about to learn from.

        That is D, the clone, both optimizers, the episodes that are kept and the random stream; but
        not a policy that was given, which somebody else trains.
        """
        trainer: dict[str, Any] | None = None
        clone: dict[str, Any] | None = None
        if self._trainer is not None:
            trainer = self._trainer.state_dict()
        if self._clone is not None:
            clone = self._clone.state_dict()
        learning = {
            "learning": self.learning,
            "num_episodes": self.num_episodes,
            "num_updates": self.num_updates,
            "metrics": self._metrics,
            "rng": self._rng.get_state(),
            # Tensors, for a file of weights alone may hold no NumPy arrays.
            "waiting": list(map(torch.from_numpy, self._waiting)),
            "past": self._past,
            "trainer": trainer,
            "clone": clone,
        }
        # A copy, since the next update changes the tensors in place.
        return super().state_dict() | {"online": copy.deepcopy(learning)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state of `state_dict`, of a model with the same settings.

        Raises:
            ValueError: the state is of other rewards.
        """
        super().load_state_dict(state)
        learning = copy.deepcopy(state["online"])
        self.learning = learning["learning"]
        self.num_episodes, self.num_updates = learning["num_episodes"], learning["num_updates"]
        self._metrics = learning["metrics"]
        self._rng.set_state(learning["rng"])
        self._waiting = [episodes.numpy() for episodes in learning["waiting"]]
        self._past = learning["past"]
        for part, saved in ((self._trainer, learning["trainer"]), (self._clone, learning["clone"])):
            if part is not None:
                part.load_state_dict(saved)

    def _parts_of_state(self) -> set[str]:
        return super()._parts_of_state() | {"online"}

    def _tells_of_policy(self) -> bool:
        """True if one of the sources scores by the policy that it is told of."""
        return any(_looks_at_policy(source) for _, source in self.sources)

    # A loop may step inside torch.no_grad() or inference_mode(); learning needs gradients.
    @torch.inference_mode(mode=False)
    @torch.enable_grad()
    def _update(self) -> dict[str, float]:
        """Learns from the episodes that are waiting; metrics of what was learned."""
        episodes = torch.from_numpy(np.concatenate(self._waiting)).to(self.device, torch.int64)
        self._waiting = []
        metrics = self._train_discriminator(episodes) | self._fit_clone(episodes)
        # Whatever the policy has become by now is what rollouts follow, or move towards.
        self.sync()
        # A task with an oracle knows the true likelihood of what was written.
        oracle = getattr(self.task, "oracle", None)
        if isinstance(oracle, HasLogProb):
            metrics["task/nll_oracle"] = nll_per_token(oracle, self.spec, episodes)
        self.num_updates += 1
        return metrics | {
            "online/updates": float(self.num_updates),
            "online/episodes": float(self.num_episodes),
        }

    def _train_discriminator(self, episodes: Tensor) -> dict[str, float]:
        """Measures the discriminator on episodes (M, T), then trains it on them."""
        if self.discriminator is None:
            return {}
        task = self.task
        metrics: dict[str, float] = {}
        if self.num_updates == 0:
            metrics |= self.discriminator.pretrain(task.real_sequences, task.validation, self._rng)
        # Accuracies come before the d-step: it has not been trained on these episodes yet.
        real_heldout = task.held_out[: len(episodes)]
        metrics |= discriminator_accuracy(self.discriminator, real_heldout, episodes)
        if self._trainer is not None:
            metrics |= self._d_step(self._trainer, episodes)
        return _prefixed("discriminator/", metrics)

    def _d_step(self, trainer: DiscriminatorTrainer, episodes: Tensor) -> dict[str, float]:
        """Trains on episodes and remembered ones against as many real sequences."""
        negatives = torch.cat([episodes, self._remembered(len(episodes))])  # (K, T)
        real = self.task.draw_real(len(negatives), self._rng)  # (K, T)
        num_epochs = self.online.d_epochs
        if self.num_updates == 0:
            num_epochs = self.online.warm_up_epochs
        metrics = trainer.fit(real, negatives, num_epochs, self._rng)
        # Only now are these episodes past ones; the oldest are forgotten.
        past = torch.cat([self._past, episodes])
        self._past = past[max(0, len(past) - self.online.d_memory) :]
        return metrics

    def _remembered(self, num: int) -> Tensor:
        """At most `num` past episodes (M, T), drawn without repeats."""
        order = torch.randperm(len(self._past), generator=self._rng, device=self._rng.device)
        return self._past[order[:num]]

    def _fit_clone(self, episodes: Tensor) -> dict[str, float]:
        """Fits the clone to episodes (M, T)."""
        if self._clone is None:
            return {}
        return _prefixed("clone/", self._clone.fit(episodes, self._rng))


def _prefixed(prefix: str, metrics: dict[str, float]) -> dict[str, float]:
    """The metrics under their names with `prefix` before them."""
    found = {}
    for name, value in metrics.items():
        found[prefix + name] = value
    return found


def _looks_at_policy(source: SequenceScorer | PrefixValue) -> bool:
    """True if a source scores by the policy that it was told of."""
    if isinstance(source, Discriminator):
        return source.needs_policy
    return isinstance(source, ToldOfPolicy)


def _language_model(policy: RolloutPolicy) -> LanguageModel:
    if not isinstance(policy, LanguageModel):
        raise ValueError(
            f"rollout_policy 'clone' fits a LanguageModel to the episodes; {type(policy).__name__} "
            "is none"
        )
    return policy
