"""Algorithm 1 of SeqGAN: pre-training, then rounds of g-steps and d-steps, as an iterator of one
dict per round.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from seqgan_env.best_weights import BestWeights
from seqgan_env.discriminators.trainer import DiscriminatorTrainer, discriminator_accuracy
from seqgan_env.generators.maximum_likelihood import EPOCH_TOKENS, sequences_of_epoch
from seqgan_env.metrics.likelihood import nll_per_token, sample_sequences
from seqgan_env.rewards.model import RewardModel
from seqgan_env.types import GeneratorAgent, HasLogProb, RolloutPolicy, Task

Progress = Callable[[str, int, int, dict[str, float]], None]
Measure = Callable[[RolloutPolicy], dict[str, float]]


@dataclass(frozen=True)
class Schedule:
    """The counts of Algorithm 1.

    Attributes:
        mle_epochs: epochs of maximum-likelihood pre-training.
        keep_best: keep the epoch with the best validation likelihood; else the last one (the
            paper's).
        d_pretrain_steps: d-steps of pre-training.
        d_pretrain_epochs: epochs in each of them.
        rounds: outer passes.
        g_steps: agent updates in a round.
        d_steps: d-steps in a round.
        d_epochs: epochs in each d-step.
        num_negatives: fresh negatives of a d-step, and as many real sequences.
        eval_every: rounds between evaluations on the task.
        num_heldout: held-out real and generated sequences on which the discriminator is measured.
        epoch_tokens: most tokens of an epoch of maximum likelihood, padding counted; 0 takes all.
    """

    mle_epochs: int = 10
    keep_best: bool = True
    d_pretrain_steps: int = 1
    d_pretrain_epochs: int = 6
    rounds: int = 160
    g_steps: int = 1
    d_steps: int = 1
    d_epochs: int = 1
    num_negatives: int = 2_000
    eval_every: int = 10
    num_heldout: int = 2_000
    epoch_tokens: int = EPOCH_TOKENS


def silent(phase: str, done: int, total: int, metrics: dict[str, float]) -> None:
    """Reports nothing."""


def pretrain_policy(
    agent: GeneratorAgent, task: Task, num_epochs: int, keep_best: bool, progress: Progress = silent
) -> list[dict[str, float]]:
    """Maximum likelihood by the agent, epoch by epoch; at the end the policy is that of the best
    epoch, if `keep_best`.

    Selection is on `task.validation`, never on the held-out data that is reported. A policy without
    likelihoods or without parameters that can be copied keeps its last epoch.

    Returns:
        One dict an epoch, with `epoch`, `nll_validation` (nats per token) and what the agent says.
    """
    return Pretraining(agent, task, num_epochs, keep_best).run(progress)


class Pretraining:
    """`pretrain_policy` as an object whose state can be saved after every epoch.

    Attributes:
        rows: what `pretrain_policy` returns, so far.
    """

    def __init__(
        self,
        agent: GeneratorAgent,
        task: Task,
        num_epochs: int,
        keep_best: bool = True,
        epoch_tokens: int = EPOCH_TOKENS,
    ) -> None:
        """Args: as those of `pretrain_policy`, and `epoch_tokens` as of `Schedule`."""
        self.agent, self.task = agent, task
        self.num_epochs, self.keep_best = num_epochs, keep_best
        self.epoch_tokens = epoch_tokens
        self.rows: list[dict[str, float]] = []
        self._best = BestWeights()

    def run(
        self, progress: Progress = silent, after_epoch: Callable[[], None] = lambda: None
    ) -> list[dict[str, float]]:
        """The epochs that are left, then the best one's policy; all rows."""
        if len(self.rows) < self.num_epochs:
            progress("pre-train policy", len(self.rows), self.num_epochs, {})
        while len(self.rows) < self.num_epochs:
            self._run_epoch()
            progress("pre-train policy", len(self.rows), self.num_epochs, self.rows[-1])
            after_epoch()
        if isinstance(self.agent.policy, nn.Module):
            self._best.restore(self.agent.policy)
        return self.rows

    def _run_epoch(self) -> None:
        task = self.task
        sequences = sequences_of_epoch(task.real_sequences, self.epoch_tokens, len(self.rows))
        row = {"epoch": len(self.rows) + 1.0} | self.agent.pretrain(sequences, 1)
        policy = self.agent.policy  # some agents make it anew
        if isinstance(policy, HasLogProb):
            row["nll_validation"] = nll_per_token(policy, task.spec, task.validation)
            if self.keep_best and isinstance(policy, nn.Module):
                self._best.see(row["nll_validation"], policy)
        self.rows.append(row)

    def state_dict(self) -> dict[str, Any]:
        """The rows and the best epoch so far; not the agent."""
        return {"rows": copy.deepcopy(self.rows), "best": self._best.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state of `state_dict`."""
        self.rows = copy.deepcopy(state["rows"])
        self._best.load_state_dict(state["best"])


class DiscriminatorStep:
    """One d-step: fresh negatives from the live policy, real sequences from the task, `d_epochs`
    over both.
    """

    def __init__(
        self,
        task: Task,
        rewards: RewardModel,
        trainer: DiscriminatorTrainer,
        num_negatives: int,
        rng: torch.Generator,
    ) -> None:
        self.task, self.rewards, self.trainer, self.num_negatives, self.rng = (
            task,
            rewards,
            trainer,
            num_negatives,
            rng,
        )

    def __call__(self, num_epochs: int) -> dict[str, float]:
        negatives = sample_sequences(
            self.rewards.policy, self.task.spec, self.num_negatives, self.rng
        )
        real = self.task.draw_real(self.num_negatives, self.rng)
        return self.trainer.fit(real, negatives, num_epochs, self.rng)


def discriminator_metrics(
    rewards: RewardModel, task: Task, num: int, rng: torch.Generator
) -> dict[str, float]:
    """Held-out accuracies, and on oracle tasks the correlation of the logit with the true log-ratio
    on generated sequences.
    """
    if rewards.discriminator is None:
        return {}
    generated = sample_sequences(rewards.policy, task.spec, num, rng)
    metrics = discriminator_accuracy(rewards.discriminator, task.held_out[:num], generated)
    oracle, policy = getattr(task, "oracle", None), rewards.policy
    if isinstance(oracle, HasLogProb) and isinstance(policy, HasLogProb):
        log_ratio = oracle.log_prob(generated) - policy.log_prob(generated)
        metrics["log_ratio_correlation"] = _correlation(
            rewards.discriminator.logits(generated), log_ratio
        )
    return metrics


def train_adversarial(
    agent: GeneratorAgent,
    rewards: RewardModel,
    schedule: Schedule = Schedule(),
    seed: int = 0,
    progress: Progress = silent,
) -> Iterator[dict[str, float]]:
    """Algorithm 1 after the policy's pre-training: pre-trains D (round 0), then yields one dict of
    metrics a round.

    Every round: `g_steps` agent updates on the environment; the rollout policy follows; `d_steps`
    times fresh negatives and `d_epochs` over them. Without a discriminator that learns from
    negatives there are no d-steps.

    Examples:
        >>> from seqgan_env.agents import Reinforce
        >>> from seqgan_env import RewardSettings, TokenVectorEnv, build_rewards, make_task
        >>> task = make_task("oracle-tiny", num_real=200, num_held_out=200, num_eval=200)
        >>> rewards = build_rewards(task, RewardSettings(num_rollouts=1))
        >>> agent = Reinforce(TokenVectorEnv(8, rewards))
        >>> schedule = Schedule(rounds=2, d_pretrain_epochs=1, num_negatives=50, num_heldout=50)
        >>> [int(row["round"]) for row in train_adversarial(agent, rewards, schedule)]
        [0, 1, 2]

    Args:
        agent: trained in place; its environment must pay by `rewards`.
        rewards: bound to the agent's policy here.
        schedule: counts.
        seed: of negatives, the order of training and evaluation.
        progress: called with phase, done, total and metrics.

    Yields:
        `round`, `agent/...`, `discriminator/...`, `task/...` (where evaluated), `budget/...` (spent
        so far) and `time/...` (seconds of the phases).
    """
    yield from AdversarialTraining(agent, rewards, schedule, seed).run(progress)


class AdversarialTraining:
    """`train_adversarial` as an object whose state can be saved between rounds.

    Attributes:
        round: the last one that is finished; -1 before round 0.
    """

    def __init__(
        self,
        agent: GeneratorAgent,
        rewards: RewardModel,
        schedule: Schedule = Schedule(),
        seed: int = 0,
        measure: Measure | None = None,
    ) -> None:
        """
        Args:
            agent: as of `train_adversarial`, like the next three.
            rewards: as there.
            schedule: as there.
            seed: as there.
            measure: what is measured of the policy in place of `evaluate`: at round 0, every
                `eval_every` rounds and at the end. It must draw from streams of its own.
        """
        self.agent, self.rewards, self.schedule, self.seed = agent, rewards, schedule, seed
        self._measure = measure or self._evaluate
        rewards.bind(agent.policy)
        self.rng = torch.Generator(device=rewards.device).manual_seed(seed)
        self.round = -1
        self._d_step = _d_step(rewards, schedule, self.rng)
        # Round 0 is long where the discriminator is pre-trained for long, so it is saved within.
        self._learned: dict[str, float] | None = None
        self._pretrain_steps = 0

    def run(
        self, progress: Progress = silent, after_step: Callable[[], None] = lambda: None
    ) -> Iterator[dict[str, float]]:
        """The rounds that are left.

        Args:
            progress: called with phase, done, total and metrics.
            after_step: called where a state can be saved within round 0; between rounds it can be
                saved after every row.
        """
        if self.round < 0:
            row = self._round_zero(progress, after_step)
            self.round = 0
            yield row
        if self.round < self.schedule.rounds:
            progress("adversarial", self.round, self.schedule.rounds, {})
        while self.round < self.schedule.rounds:
            row = self._one_round()
            self.round += 1
            progress("adversarial", self.round, self.schedule.rounds, row)
            yield row

    def state_dict(self) -> dict[str, Any]:
        """Rounds, random stream, optimizer of the discriminator; not the agent and the rewards."""
        trainer = None
        if self._d_step is not None:
            trainer = self._d_step.trainer.state_dict()
        return {
            "round": self.round,
            "rng": self.rng.get_state(),
            "trainer": trainer,
            "learned": copy.deepcopy(self._learned),
            "pretrain_steps": self._pretrain_steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state of `state_dict`."""
        self.round = state["round"]
        self.rng.set_state(state["rng"])
        self._learned = copy.deepcopy(state["learned"])
        self._pretrain_steps = state["pretrain_steps"]
        if self._d_step is not None:
            self._d_step.trainer.load_state_dict(state["trainer"])

    def _round_zero(self, progress: Progress, after_step: Callable[[], None]) -> dict[str, float]:
        """The discriminator's pre-training, then the first evaluation."""
        started = time.perf_counter()
        rewards, schedule = self.rewards, self.schedule
        if self._learned is None:
            self._learned = {}
            if rewards.discriminator is not None:
                task = rewards.task
                tell = partial(progress, "fit discriminator to real data")
                self._learned = rewards.discriminator.pretrain(
                    task.real_sequences, task.validation, self.rng, tell
                )
            after_step()
        if self._d_step is not None:
            phase, total = "pre-train discriminator", schedule.d_pretrain_steps
            if self._pretrain_steps < total:
                progress(phase, self._pretrain_steps, total, {})
            while self._pretrain_steps < total:
                self._learned |= self._d_step(schedule.d_pretrain_epochs)
                self._pretrain_steps += 1
                progress(phase, self._pretrain_steps, total, self._learned)
                after_step()
        # What pre-training left stands in the row of round 0.
        row = {"round": 0.0} | _under("discriminator", self._learned) | rewards.budget.metrics()
        row["time/d_pretrain"] = time.perf_counter() - started
        return row | self._measure(self.agent.policy)

    def _evaluate(self, policy: RolloutPolicy) -> dict[str, float]:
        return evaluate(policy, self.rewards, self.schedule.num_heldout, self.seed)

    def _one_round(self) -> dict[str, float]:
        """One pass of Algorithm 1's outer loop."""
        schedule, rewards, number = self.schedule, self.rewards, self.round + 1
        started = time.perf_counter()

        # g-steps: the policy learns while the discriminator stands still.
        learned: dict[str, Any] = {}
        for _ in range(schedule.g_steps):
            learned = dict(self.agent.update())
        metrics = _under("agent", learned)
        rewards.sync()
        after_g = time.perf_counter()

        # d-steps: the discriminator learns while the policy stands still.
        if self._d_step is not None:
            learned = {}
            for _ in range(schedule.d_steps):
                learned = self._d_step(schedule.d_epochs)
            metrics |= _under("discriminator", learned)

        # What it took, and from time to time what it was worth.
        metrics |= rewards.budget.metrics()
        metrics["round"] = float(number)
        metrics["time/g_steps"] = after_g - started
        metrics["time/d_steps"] = time.perf_counter() - after_g
        if number % schedule.eval_every == 0 or number == schedule.rounds:
            metrics |= self._measure(self.agent.policy)
        return metrics


def evaluate_task(
    policy: RolloutPolicy, task: Task, seed: int, device: torch.device | str
) -> dict[str, float]:
    """The task's metrics of a policy, with random streams of their own, so that evaluating changes
    no training.
    """
    return dict(task.evaluate(policy, torch.Generator(device=device).manual_seed(seed + 1)))


def evaluate(
    policy: RolloutPolicy, rewards: RewardModel, num_heldout: int, seed: int
) -> dict[str, float]:
    """Task and discriminator metrics under their prefixes."""
    of_task = evaluate_task(policy, rewards.task, seed, rewards.device)
    of_d = discriminator_metrics(
        rewards,
        rewards.task,
        num_heldout,
        torch.Generator(device=rewards.device).manual_seed(seed + 2),
    )
    return _under("task", of_task) | _under("discriminator", of_d)


def _d_step(
    rewards: RewardModel, schedule: Schedule, rng: torch.Generator
) -> DiscriminatorStep | None:
    """What trains the discriminator; None where there is none that learns from negatives."""
    if rewards.discriminator is None or not rewards.discriminator.learns_from_negatives:
        return None
    trainer = DiscriminatorTrainer(rewards.discriminator, rewards.budget)
    return DiscriminatorStep(rewards.task, rewards, trainer, schedule.num_negatives, rng)


def _under(prefix: str, metrics: Mapping[str, Any]) -> dict[str, float]:
    """Metrics under the name of whose they are, `prefix/name`."""
    return {f"{prefix}/{name}": value for name, value in metrics.items()}


def _correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.double(), b.double()]))[0, 1])
