"""A whole run: pre-training, the temperature frontier, Algorithm 1, the constant-reward control, and what is written of them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from seqgan_env import run_directory
from seqgan_env.adversarial import Progress, evaluate_task, pretrain_policy, silent, train_adversarial
from seqgan_env.metrics.frontier import TEMPERATURES, Frontiers
from seqgan_env.metrics.likelihood import sample_sequences
from seqgan_env.plots import plot_curves
from seqgan_env.plugins import control_options, learns_from_reward, make_agent
from seqgan_env.registration import build_rewards
from seqgan_env.rewards import RewardModel, RewardSettings
from seqgan_env.settings import TrainSettings
from seqgan_env.tasks import make_task
from seqgan_env.types import GeneratorAgent, RolloutPolicy, Task
from seqgan_env.vector_env import TokenVectorEnv

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter  # loaded by whoever writes with it

NUM_SAMPLES = 20

OnRow = Callable[[dict[str, float]], None]


@dataclass
class Run:
    """What a run has found so far.

    Attributes:
        settings: of the run.
        history: one row an MLE epoch (`phase` 0) and a round (`phase` 1).
        frontier_rows: metrics of the pre-trained policy by temperature.
        metrics: by policy (`mle`, `mle_at_temperature`, `agent`, `constant`) the task's metrics.
        seconds: by phase.
        samples: by policy, sequences as a person reads them.
        weights: by file name.
        interrupted: whether it was ended early.
    """

    settings: TrainSettings
    history: list[dict[str, float]] = field(default_factory=list)
    frontier_rows: list[dict[str, float]] = field(default_factory=list)
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    samples: dict[str, list[str]] = field(default_factory=dict)
    weights: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    interrupted: bool = False

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Adds the time inside to the seconds of `phase`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - started


class Trainer:
    """Runs one `TrainSettings` from the beginning to the end."""

    def __init__(self, settings: TrainSettings, progress: Progress = silent, on_row: OnRow = lambda row: None) -> None:
        """Args:
        settings: of the run.
        progress: called with phase, done, total and metrics.
        on_row: called with every row of the history as it comes.
        """
        self.settings, self.progress, self.on_row = settings, progress, on_row
        self.run = Run(settings)
        progress("read data", 0, 1, {})
        with self.run.timed("data"):
            self.task = build_task(settings)
        progress("read data", 1, 1, {})
        self.agent, self.rewards = build_agent(settings, self.task, settings.source)
        self.frontiers = Frontiers([])
        self.learns = learns_from_reward(settings.agent)

    def __call__(self) -> Run:
        """Everything, or what there is when a KeyboardInterrupt comes."""
        try:
            self._pretrain()
            if self.settings.frontier:
                self._trace_frontier()
            if self.learns:
                self._train()
                if self.settings.control:
                    self._control()
        except KeyboardInterrupt:
            self.run.interrupted = True
        self._compare()
        return self.run

    def _pretrain(self) -> None:
        settings = self.settings
        with self.run.timed("pretrain"):
            rows = pretrain_policy(self.agent, self.task, settings.mle_epochs, settings.keep_best, self.progress)
        for row in rows:
            self._log({"phase": 0.0} | row)
        self._record("mle" if self.learns else "agent", self.agent.policy)

    def _trace_frontier(self) -> None:
        policy = self.agent.policy
        if not isinstance(policy, HasTemperature):
            return

        with self.run.timed("frontier"):
            for done, temperature in enumerate(TEMPERATURES, start=1):
                metrics = {"temperature": temperature} | dict(self._evaluate(policy.with_temperature(temperature)))
                self.run.frontier_rows.append(metrics)
                self.progress("temperature frontier", done, len(TEMPERATURES), metrics)
        self.frontiers = Frontiers(self.run.frontier_rows)

    def _train(self) -> None:
        with self.run.timed("adversarial"):
            for row in train_adversarial(self.agent, self.rewards, self.settings.schedule(), self.settings.seed, self.progress):
                self._log({"phase": 1.0} | row | self.frontiers.gains(row, "task/"))
        if self.rewards.discriminator is not None:
            self.run.weights["discriminator.safetensors"] = self.rewards.discriminator.state_dict()

    def _log(self, row: dict[str, float]) -> None:
        self.run.history.append(row)
        self.on_row(row)

    def _control(self) -> None:
        """The same agent from the same pre-trained policy, as many updates, every reward 1."""
        mle = self.run.weights.get("mle.safetensors")
        if mle is None:
            return
        options = self.settings.agent_options | control_options(self.settings.agent)
        settings = replace(self.settings, agent_options=options)
        control, rewards = build_agent(settings, self.task, "constant")
        _load(control.policy, mle)
        schedule = replace(settings.schedule(), eval_every=settings.rounds + 1)

        def progress(phase: str, done: int, total: int, metrics: dict[str, float]) -> None:
            self.progress("constant-reward control", done, total, {})

        with self.run.timed("constant"):
            for _ in train_adversarial(control, rewards, schedule, settings.seed, progress):
                pass
        self._record("constant", control.policy)

    def _compare(self) -> None:
        """The agent's row, the temperature that matches its diversity, and everybody's frontier gain."""
        if "mle" in self.run.metrics:
            self._record("agent", self.agent.policy)
            temperature = self.frontiers.matching_temperature(self.run.metrics["agent"])
            if temperature is not None:
                self._record("mle_at_temperature", self.agent_at_temperature(temperature))
                self.run.metrics["mle_at_temperature"]["temperature"] = temperature
        for metrics in self.run.metrics.values():
            metrics |= self.frontiers.gains(metrics)

    def agent_at_temperature(self, temperature: float) -> RolloutPolicy:
        """The pre-trained policy at another temperature."""
        pretrained = build_agent(self.settings, self.task, "constant")[0].policy
        _load(pretrained, self.run.weights["mle.safetensors"])
        return at_temperature(pretrained, temperature)

    def _record(self, name: str, policy: RolloutPolicy) -> None:
        with self.run.timed("evaluate"):
            self.run.metrics[name] = dict(self._evaluate(policy))
        rng = torch.Generator(device=self.settings.device).manual_seed(self.settings.seed)
        self.run.samples[name] = [self.task.decode(row) for row in sample_sequences(policy, self.task.spec, NUM_SAMPLES, rng)]
        if isinstance(policy, nn.Module) and name in ("mle", "agent", "constant"):
            file = "policy" if name == "agent" else name
            self.run.weights[f"{file}.safetensors"] = {k: v.clone() for k, v in policy.state_dict().items()}

    def _evaluate(self, policy: RolloutPolicy) -> Mapping[str, float]:
        return evaluate_task(policy, self.task, self.settings.seed, self.settings.device)


@runtime_checkable
class HasTemperature(Protocol):
    """A policy whose sampling temperature can be changed."""

    def with_temperature(self, temperature: float) -> RolloutPolicy:
        """A copy whose logits are divided by `temperature`."""
        ...


def at_temperature(policy: RolloutPolicy, temperature: float) -> RolloutPolicy:
    """The policy at another temperature; itself at 1.

    Raises:
        ValueError: it has no temperature.
    """
    if temperature == 1.0:
        return policy
    if not isinstance(policy, HasTemperature):
        raise ValueError(f"temperature {temperature} was asked for; {type(policy).__name__} has no with_temperature")
    return policy.with_temperature(temperature)


def build_task(settings: TrainSettings) -> Task:
    """The task of a run, on its device."""
    task = make_task(settings.task, **settings.task_settings())
    if settings.device != "cpu":
        task.to(settings.device)
    return task


def build_agent(settings: TrainSettings, task: Task, source: str) -> tuple[GeneratorAgent, RewardModel]:
    """A new agent in a new environment of `task` that pays by `source`, and what that environment pays."""
    reward = RewardSettings(settings.reward, source, settings.score_as, settings.num_rollouts, settings.sync_rate)
    size, batch_size = settings.discriminator, settings.d_batch_size
    rewards = build_rewards(task, reward, None, None, size, settings.seed, settings.device, batch_size)
    env = TokenVectorEnv(settings.batch_size, rewards)
    return make_agent(settings.agent, env, settings.seed, settings.agent_options), rewards


def write_run(run: Run, path: Path) -> None:
    """Everything there is of a run, into its directory."""
    run_directory.write_csv(path / run_directory.METRICS, run.history)
    if run.frontier_rows:
        run_directory.write_csv(path / "frontier.csv", run.frontier_rows)
    run_directory.write_text(path / "samples.txt", _samples_text(run.samples))
    for name, state in run.weights.items():
        run_directory.write_weights(path / name, state)
    plot_curves(run.history, run.frontier_rows, run.metrics, path / "curves.png")
    result: dict[str, Any] = dict(run.metrics) | {"seconds": run.seconds, "interrupted": run.interrupted}
    run_directory.write_json(path / run_directory.RESULT, result)


def write_config(settings: TrainSettings, path: Path, task: Task) -> None:
    """Everything needed to repeat a run."""
    config = {"settings": asdict(settings), "versions": run_directory.versions(), "command": ["seqgan", *sys.argv[1:]]}
    fingerprint = getattr(task, "fingerprint", None)
    if fingerprint:
        config["corpus_fingerprint"] = fingerprint
    run_directory.write_json(path / run_directory.CONFIG, config)


def load_run(path: Path) -> tuple[TrainSettings, Task, GeneratorAgent]:
    """The settings, task and trained agent of a run directory.

    Raises:
        ValueError: a file is missing or damaged, or the corpus has changed since.
    """
    config = run_directory.read_json(path / run_directory.CONFIG)
    try:
        settings = TrainSettings(**config["settings"])
    except (KeyError, TypeError) as problem:
        raise ValueError(f"{path / run_directory.CONFIG} is not the configuration of a run: {problem}") from problem
    task = build_task(settings)
    if getattr(task, "fingerprint", None) != config.get("corpus_fingerprint"):
        raise ValueError(f"the corpus of {path} has changed since it was trained; its tokens no longer mean the same words")
    agent, _ = build_agent(settings, task, "constant")
    state = run_directory.read_weights(path / "policy.safetensors")
    try:
        _load(agent.policy, state)
    except RuntimeError as problem:
        raise ValueError(f"{path / 'policy.safetensors'} does not fit the run's policy: {problem}") from problem
    return settings, task, agent


def _load(policy: RolloutPolicy, state: Mapping[str, Tensor]) -> None:
    if not isinstance(policy, nn.Module):
        raise ValueError(f"{type(policy).__name__} is no torch.nn.Module; its weights cannot be loaded")
    policy.load_state_dict(state)


def _samples_text(samples: Mapping[str, list[str]]) -> str:
    return "\n".join(f"## {name}\n" + "\n".join(lines) + "\n" for name, lines in samples.items())


def tensorboard_logger(writer: SummaryWriter) -> OnRow:
    """Writes every row as scalars: of pre-training by epoch under `pretrain/`, of the adversarial phase by round."""

    def log(row: dict[str, float]) -> None:
        step, prefix = (int(row["round"]), "") if row["phase"] else (int(row["epoch"]), "pretrain/")
        for key, value in row.items():
            if key not in ("phase", "round", "epoch"):
                writer.add_scalar(prefix + key, value, step)

    return log
