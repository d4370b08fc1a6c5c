"""Algorithm 1 of SeqGAN: pre-training, then rounds of g-steps and d-steps, as an iterator of one
dict per round.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seqgan_env.discriminators.trainer import DiscriminatorTrainer, discriminator_accuracy
from seqgan_env.metrics.likelihood import nll_per_token, sample_sequences
from seqgan_env.rewards.model import RewardModel
from seqgan_env.types import GeneratorAgent, HasLogProb, RolloutPolicy, Task

Progress = Callable[[str, int, int, dict[str, float]], None]


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
    policy = agent.policy
    best, best_state, rows = float("inf"), None, []
    for epoch in range(1, num_epochs + 1):
        row = {"epoch": float(epoch)} | agent.pretrain(task.real_sequences, 1)
        if isinstance(policy, HasLogProb):
            row["nll_validation"] = nll_per_token(policy, task.spec, task.validation)
            if keep_best and isinstance(policy, nn.Module) and row["nll_validation"] < best:
                best, best_state = row["nll_validation"], copy.deepcopy(policy.state_dict())
        rows.append(row)
        progress("pre-train policy", epoch, num_epochs, row)
    if best_state is not None and isinstance(policy, nn.Module):
        policy.load_state_dict(best_state)
    return rows


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
    rewards.bind(agent.policy)
    device = rewards.device
    rng = torch.Generator(device=device).manual_seed(seed)
    d_step = _d_step(rewards, schedule, rng)
    yield _round_zero(agent, rewards, schedule, d_step, rng, seed, progress)
    for round_ in range(1, schedule.rounds + 1):
        started = time.perf_counter()
        metrics = _last([agent.update() for _ in range(schedule.g_steps)], "agent")
        rewards.sync()
        after_g = time.perf_counter()
        if d_step is not None:
            metrics |= _last(
                [d_step(schedule.d_epochs) for _ in range(schedule.d_steps)], "discriminator"
            )
        after_d = time.perf_counter()
        metrics |= rewards.budget.metrics() | {
            "round": float(round_),
            "time/g_steps": after_g - started,
            "time/d_steps": after_d - after_g,
        }
        if round_ % schedule.eval_every == 0 or round_ == schedule.rounds:
            metrics |= evaluate(agent.policy, rewards, schedule.num_heldout, seed)
        progress("adversarial", round_, schedule.rounds, metrics)
        yield metrics


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
    return {f"task/{k}": v for k, v in of_task.items()} | {
        f"discriminator/{k}": v for k, v in of_d.items()
    }


def _d_step(
    rewards: RewardModel, schedule: Schedule, rng: torch.Generator
) -> DiscriminatorStep | None:
    """What trains the discriminator; None where there is none that learns from negatives."""
    if rewards.discriminator is None or not rewards.discriminator.learns_from_negatives:
        return None
    trainer = DiscriminatorTrainer(rewards.discriminator, rewards.budget)
    return DiscriminatorStep(rewards.task, rewards, trainer, schedule.num_negatives, rng)


def _round_zero(
    agent: GeneratorAgent,
    rewards: RewardModel,
    schedule: Schedule,
    d_step: DiscriminatorStep | None,
    rng: torch.Generator,
    seed: int,
    progress: Progress,
) -> dict[str, float]:
    started = time.perf_counter()
    metrics: dict[str, float] = {"round": 0.0}
    if rewards.discriminator is not None:
        task = rewards.task
        learned = rewards.discriminator.pretrain(task.real_sequences, task.validation, rng)
        metrics |= {f"discriminator/{k}": v for k, v in learned.items()}
    if d_step is not None:
        for step in range(1, schedule.d_pretrain_steps + 1):
            metrics |= {
                f"discriminator/{k}": v for k, v in d_step(schedule.d_pretrain_epochs).items()
            }
            progress("pre-train discriminator", step, schedule.d_pretrain_steps, metrics)
    metrics |= rewards.budget.metrics() | {"time/d_pretrain": time.perf_counter() - started}
    return metrics | evaluate(agent.policy, rewards, schedule.num_heldout, seed)


def _last(results: list[dict[str, Any]], prefix: str) -> dict[str, float]:
    return {f"{prefix}/{key}": value for key, value in results[-1].items()} if results else {}


def _correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.double(), b.double()]))[0, 1])
