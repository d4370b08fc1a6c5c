"""A whole run: pre-training, its knobs, Algorithm 1, the constant-reward control, and what is
written of them.
"""

from __future__ import annotations

import copy
import math
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seqgan_env.envs.registration import build_rewards
from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.extras import is_installed
from seqgan_env.files import naming
from seqgan_env.generators.knobs import FEW_KNOBS, UNTURNED, Knob, MeasuresKnobs, Temperature
from seqgan_env.generators.policies import make_policy
from seqgan_env.metrics.catalogue import load_metrics, measure_more
from seqgan_env.metrics.likelihood import sample_sequences
from seqgan_env.metrics.score import RANKING, REFEREED, SELECT, best_knob, scores
from seqgan_env.metrics.validation import ValidationDivergence
from seqgan_env.names import choose
from seqgan_env.plugins import control_options, learns_from_reward, load_knobs, make_agent
from seqgan_env.rewards.model import RewardModel, RewardSettings
from seqgan_env.rewards.sources import DISCRIMINATOR, names_in
from seqgan_env.tasks import make_task
from seqgan_env.tasks.real_data import unseen_first
from seqgan_env.tasks.text.kept import kept_in
from seqgan_env.training import run_directory
from seqgan_env.training.adversarial import (
    AdversarialTraining,
    Measure,
    Pretraining,
    Progress,
    evaluate,
    evaluate_task,
    silent,
    train_adversarial,
)
from seqgan_env.training.best_round import BestRound
from seqgan_env.training.checkpoint import write_checkpoint
from seqgan_env.training.health import check_health
from seqgan_env.training.plots import plot_curves
from seqgan_env.training.portable import (
    located,
    missing_files,
    task_without_data,
    working_folder,
    write_task,
)
from seqgan_env.training.settings import TrainSettings
from seqgan_env.trust import Trust, check_names
from seqgan_env.types import (
    DrawsPictures,
    GeneratorAgent,
    HasReferee,
    MeasuresReal,
    Resumable,
    RolloutPolicy,
    Task,
)

CURVES = "curves.png"
NUM_SAMPLES = 20
NUM_DRAWN = 500  # sequences in the pictures of a task that has some
DISCRIMINATOR_WEIGHTS = "discriminator.safetensors"
NUM_MEASURED = 2_000  # sequences that a metric of the user's own gets

_REHEARSED = 4  # real sequences that are scored before anything is trained
_PHASES = ("pretrain", "measure_knobs", "train", "control", "compare")
_SAVED_OF_RUN = (
    *("history", "knobs", "best_knob", "metrics", "seconds", "samples", "weights"),
    "kept_round",
)

OnRow = Callable[[dict[str, float]], None]


@dataclass
class Run:
    """What a run has found so far.

    Attributes:
        settings: of the run.
        history: one row an MLE epoch (`phase` 0) and a round (`phase` 1).
        knobs: by name what each knob of the pre-trained policy reaches; none unless all were
            measured.
        best_knob: the name of the one that is to be beaten; None where none was measured.
        metrics: by policy (`mle`, `best_knob`, `agent`, `constant`) the task's metrics and the
            scores.
        real: what real sequences reach by the same metrics, as far as these need nothing else.
        score_error: standard error of the agent's score over draws, not over seeds; None where it
            has none.
        seconds: by phase.
        samples: by policy, sequences as a person reads them.
        weights: by file name.
        pictures: of what the agent writes, by file name; none of most tasks.
        interrupted: whether it was ended early.
        kept_round: the round whose policy is the agent's; None where it is the last one's.
    """

    settings: TrainSettings
    history: list[dict[str, float]] = field(default_factory=list)
    knobs: dict[str, dict[str, float]] = field(default_factory=dict)
    best_knob: str | None = None
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    real: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    samples: dict[str, list[str]] = field(default_factory=dict)
    weights: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    score_error: float | None = None
    pictures: dict[str, bytes] = field(default_factory=dict)
    interrupted: bool = False
    kept_round: int | None = None

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Adds the time inside to the seconds of `phase`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - started


class Trainer:
    """Runs one `TrainSettings` from the beginning to the end.

    Examples:
        >>> from seqgan_env.training.settings import TrainSettings
        >>> small = {"num_real": 200, "num_held_out": 200, "num_eval": 200}
        >>> settings = TrainSettings(
        ...     rounds=1, mle_epochs=1, batch_size=8, num_negatives=50, knobs=False, control=False,
        ...     task_options=small,
        ... )
        >>> run = Trainer(settings)()
        >>> sorted(run.metrics)
        ['agent', 'mle']
    """

    def __init__(
        self,
        settings: TrainSettings,
        progress: Progress = silent,
        on_row: OnRow = lambda row: None,
        checkpoints: Path | None = None,
        seconds_between_checkpoints: float = 60.0,
        most_saving: float = 0.01,
    ) -> None:
        """
        Args:
            settings: of the run.
            progress: called with phase, done, total and metrics.
            on_row: called with every row of the history as it comes.
            checkpoints: folder in which the state is saved, so that another trainer can go on from
                there (`seqgan_env.training.checkpoint`); None for none. Agents that are not
                `Resumable` have none.
            seconds_between_checkpoints: at least; there is one at the beginning of every phase too.
            most_saving: share of the time between two checkpoints within a phase which saving one
                may take; where it takes longer, they become rarer.
        """
        self.settings, self.on_row = settings, on_row
        load_metrics(settings.more_metrics)  # before hours of training, not behind them
        self.checkpoints, self.seconds_between = checkpoints, seconds_between_checkpoints
        self.most_saving = most_saving
        self._saved_at, self._cost = time.monotonic(), 0.0  # of the last checkpoint
        self._show = progress
        self.run = Run(settings)
        progress("read data", 0, 1, {})
        with self.run.timed("data"):
            self.task = build_task(settings)
        progress("read data", 1, 1, {})
        self.agent, self.rewards = build_agent(settings, self.task, settings.source)
        self._check_more_knobs()
        self.rewards.rehearse(self.task.real_sequences[:_REHEARSED].long())
        self.rival: RolloutPolicy | None = None  # the best knob of the pre-trained policy
        self.learns = learns_from_reward(settings.agent)
        self.phase = _PHASES[0]
        self.pretraining = Pretraining(
            self.agent,
            self.task,
            settings.mle_epochs,
            settings.keep_best,
            settings.epoch_tokens,
        )
        self.adversarial: AdversarialTraining | None = None
        self.best_round: BestRound | None = None
        if settings.keep_best_round:
            self.best_round = BestRound()
            self._module()  # what cannot be kept is said before hours of training

    @property
    def is_resumable(self) -> bool:
        """Whether the run's state can be saved: its agent's can, and its policy is a module."""
        return isinstance(self.agent, Resumable) and isinstance(self.agent.policy, nn.Module)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on.

        Raises:
            TypeError: the agent has no state that can be saved.
        """
        agent = self._resumable_agent()
        found = {name: getattr(self.run, name) for name in _SAVED_OF_RUN}
        return {
            "phase": self.phase,
            "threads": torch.get_num_threads(),
            "run": copy.deepcopy(found),
            "agent": agent.state_dict(),
            "rewards": self.rewards.state_dict(),
            "pretraining": self.pretraining.state_dict(),
            "adversarial": self.adversarial.state_dict() if self.adversarial else None,
            "best_round": self.best_round.state_dict() if self.best_round else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state of `state_dict`, of a trainer with the same settings.

        Raises:
            TypeError: the agent has no state that can be loaded.
        """
        agent = self._resumable_agent()
        self.phase = state["phase"]
        for name, value in copy.deepcopy(state["run"]).items():
            setattr(self.run, name, value)
        agent.load_state_dict(state["agent"])
        self.pretraining.load_state_dict(state["pretraining"])
        if state["adversarial"] is not None:
            self._begin_training().load_state_dict(state["adversarial"])
        if self.best_round is not None:
            self.best_round.load_state_dict(state["best_round"])
        self.rewards.load_state_dict(state["rewards"])
        if self.run.best_knob is not None:
            self.rival = self._turned(self._pretrained_policy(), self.run.best_knob)

    def _resumable_agent(self) -> Resumable:
        if not isinstance(self.agent, Resumable):
            raise TypeError(f"{type(self.agent).__name__} has no state_dict and load_state_dict")
        return self.agent

    def _module(self) -> nn.Module:
        """The agent's policy, whose weights can be kept.

        Raises:
            ValueError: it has none.
        """
        policy = self.agent.policy  # some agents make it anew
        if not isinstance(policy, nn.Module):
            raise ValueError(
                f"keep_best_round is set, but the policy of agent {self.settings.agent} is a "
                f"{type(policy).__name__}; the weights of a round can be kept where the policy is "
                "a torch.nn.Module"
            )
        return policy

    def _pretrained_policy(self) -> RolloutPolicy:
        """A copy of the policy with the weights that it had behind pre-training."""
        policy = copy.deepcopy(self.agent.policy)
        file = "mle" if self.learns else "policy"
        _load(policy, self.run.weights[f"{file}.safetensors"])
        return policy

    def _turned(self, policy: RolloutPolicy, name: str) -> RolloutPolicy:
        """The policy that the knob of this name makes of another."""
        return next(knob for knob in self._knobs_of(policy) if knob.name == name)(policy)

    def _save(self) -> None:
        if self.checkpoints is not None and self.is_resumable:
            started = time.monotonic()
            with self.run.timed("checkpoints"):
                write_checkpoint(self.checkpoints, self.state_dict())
            self._saved_at = time.monotonic()
            self._cost = self._saved_at - started

    def _save_if_due(self) -> None:
        due = max(self.seconds_between, self._cost / self.most_saving)
        if time.monotonic() - self._saved_at >= due:
            self._save()

    def progress(self, phase: str, done: int, total: int, metrics: dict[str, float]) -> None:
        """Stops a run that has diverged, and shows how far it is."""
        discriminator = self.rewards.discriminator
        vocab_size = self.task.spec.vocab_size
        check_health(phase, done, metrics, vocab_size, self.agent.policy, discriminator)
        self._show(phase, done, total, metrics)

    def __call__(self) -> Run:
        """Everything that is left, or what there is when a KeyboardInterrupt comes.

        Raises:
            DivergenceError: a loss, likelihood or weight has run away.
        """
        try:
            for phase in _PHASES[_PHASES.index(self.phase) :]:
                self._enter(phase)
                getattr(self, f"_{phase}")()
        except KeyboardInterrupt:
            self.run.interrupted = True
            self._compare()
        return self.run

    def _enter(self, phase: str) -> None:
        """Begins a phase, unless the run goes on within it."""
        if phase != self.phase:
            self.phase = phase
            self._save()

    def _pretrain(self) -> None:
        with self.run.timed("pretrain"):
            rows = self.pretraining.run(self.progress, self._save_if_due)
        for row in rows:
            self._log({"phase": 0.0} | row)
        self._record(self.pretrained, self.agent.policy)

    def _check_more_knobs(self) -> None:
        """Raises a ValueError where the user's knobs could not be measured, before hours of
        training.
        """
        given = self.settings.more_knobs
        if not self.settings.knobs or given is None:
            return
        policy, task = self.agent.policy, self.task
        if not isinstance(task, MeasuresKnobs):
            raise ValueError(
                f"more_knobs is {given!r}; task {task.name} measures no knobs, for which it needs "
                "knobs_of, measure_knobs and paired_error"
            )
        self._knobs_of(policy)
        if not UNTURNED.fits(policy):
            raise ValueError(
                f"more_knobs is {given!r}; no knob of a {type(policy).__name__} is measured, since "
                "it lacks with_temperature"
            )

    def _measure_knobs(self) -> None:
        """What turning the pre-trained policy reaches, and which knob is to be beaten.

        The run is told when all knobs are measured, and of the referee when it has judged all that
        it is asked for: the best of a part is a weaker rival than the best of all.
        """
        policy, task, run = self.agent.policy, self.task, self.run
        if not self.settings.knobs or not UNTURNED.fits(policy):
            return
        if not isinstance(task, MeasuresKnobs):
            return

        knobs, found = self._knobs_of(policy), dict[str, dict[str, float]]()
        self.progress("knobs of MLE", 0, len(knobs), {})
        with run.timed("knobs"):
            measured = task.measure_knobs(policy, knobs, self.settings.seed + 1)
            for done, (knob, metrics) in enumerate(zip(knobs, measured, strict=True), start=1):
                found[knob.name] = metrics
                self.progress("knobs of MLE", done, len(knobs), metrics)
        best = best_knob(found, RANKING) or best_knob(found, REFEREED)
        if best is None:
            run.knobs = found
            return
        rival = self._turned(policy, best)
        run.knobs, run.best_knob, self.rival = found, best, rival
        run.metrics["best_knob"] = dict(found[best])

        for name, judged in self._judged(policy, knobs).items():
            found[name] |= judged
        found[best] |= more_metrics(self.settings, task, rival, self.settings.seed)
        run.metrics[self.pretrained] |= _of_the_referee(found[UNTURNED.name])
        run.metrics["best_knob"] = dict(found[best])
        self._write("best_knob", rival)

    def _knobs_of(self, policy: RolloutPolicy) -> list[Knob]:
        """Those of the task that fit, and the user's.

        Raises:
            ValueError: the task leaves out one of the user's, or two knobs have one name.
        """
        if not isinstance(self.task, MeasuresKnobs):
            return []
        more = load_knobs(self.settings.more_knobs)
        knobs = self.task.knobs_of(policy, more)
        names = [knob.name for knob in knobs]
        for name in names:
            if names.count(name) > 1:  # one would overwrite the other in the numbers of the run
                raise ValueError(
                    f"task {self.task.name} and more_knobs have two knobs with the name {name!r}; "
                    "give each its own"
                )
        for knob in more:
            if knob.name not in names:
                raise ValueError(
                    f"task {self.task.name} leaves out the knob {knob.name!r} that its knobs_of "
                    "was given; it must measure all of them"
                )
        return knobs

    def _judged(self, policy: RolloutPolicy, knobs: Sequence[Knob]) -> dict[str, dict[str, float]]:
        """The referee's metrics of the best knob and a few others, by name, where the task has not
        asked it already.

        What the referee likes best need not be what the divergences like best.
        """
        found = {}
        for knob in knobs:
            wanted = knob in FEW_KNOBS or knob.name == self.run.best_knob
            judged = {}
            if wanted and self._needs_referee(self.run.knobs[knob.name]):
                judged = self._judge(knob(policy), knob.name)
            if judged:
                selected = judged[f"{REFEREED.divergence}_validation"]
                found[knob.name] = judged | {SELECT + REFEREED.divergence: selected}
        return found

    def _begin_training(self) -> AdversarialTraining:
        settings = self.settings
        self.adversarial = AdversarialTraining(
            self.agent,
            self.rewards,
            settings.schedule(),
            settings.seed,
            self._measure_validation_too() if settings.measures_validation else None,
        )
        return self.adversarial

    def _measure_validation_too(self) -> Measure:
        """What is measured of a policy by round, the divergence on validation data among it."""
        settings, num = self.settings, self.settings.schedule().num_heldout
        on_validation = ValidationDivergence(self.task)

        def measure(policy: RolloutPolicy) -> dict[str, float]:
            reported = evaluate(policy, self.rewards, num, settings.seed)
            return reported | on_validation(policy, settings.seed, settings.device)

        return measure

    def _train(self) -> None:
        if not self.learns:
            return
        training = self.adversarial or self._begin_training()
        with self.run.timed("adversarial"):
            for row in training.run(self.progress, self._save_if_due):
                self._log({"phase": 1.0} | row | scores(self.run.knobs, row, "task/"))
                if self.best_round is not None:
                    self.best_round.see(row, self._module())
                self._save_if_due()
        if self.best_round is not None:
            self.best_round.restore(self._module())
            self.run.kept_round = self.best_round.number
        if self.rewards.discriminator is not None:
            self.run.weights[DISCRIMINATOR_WEIGHTS] = self.rewards.discriminator.state_dict()

    def _log(self, row: dict[str, float]) -> None:
        self.run.history.append(row)
        self.on_row(row)

    def _control(self) -> None:
        """The same agent from the same pre-trained policy, as many updates, every reward 1."""
        mle = self.run.weights.get("mle.safetensors")
        if not self.settings.control or mle is None:
            return
        options = self.settings.agent_options | control_options(self.settings.agent)
        settings = replace(self.settings, agent_options=options)
        control, rewards = build_agent(settings, self.task, "constant")
        _load(control.policy, mle)
        schedule = replace(settings.schedule(), eval_every=settings.rounds + 1)

        def progress(phase: str, done: int, total: int, metrics: dict[str, float]) -> None:
            phase = "constant-reward control"
            check_health(phase, done, metrics, self.task.spec.vocab_size, control.policy)
            self._show(phase, done, total, {})

        with self.run.timed("constant"):
            for _ in train_adversarial(control, rewards, schedule, settings.seed, progress):
                pass
        self._record("constant", control.policy)

    def _compare(self) -> None:
        """The agent's row, and everybody's scores against the best knob.

        A run that was ended in pre-training has no other row.
        """
        if "agent" not in self.run.metrics:
            self._record("agent", self.agent.policy)
        for metrics in self.run.metrics.values():
            metrics |= scores(self.run.knobs, metrics)
        if "agent" in self.run.metrics and self.rival is not None:
            self.run.score_error = self._score_error(self.rival)
        if isinstance(self.task, DrawsPictures) and is_installed("matplotlib"):
            self.run.pictures = dict(self.task.pictures(self._draw(self.agent.policy, NUM_DRAWN)))

    def _score_error(self, rival: RolloutPolicy) -> float | None:
        """The standard error of the agent's score, from draws that it and its rival share where the
        task has them.
        """
        if isinstance(self.task, MeasuresKnobs):
            paired = self.task.paired_error(self.agent.policy, rival, self.settings.seed + 1)
            if paired is not None:
                return paired
        error = f"{REFEREED.divergence}_error"
        agent, best = (self.run.metrics[name].get(error) for name in ("agent", "best_knob"))
        return None if agent is None or best is None else math.hypot(agent, best)

    def _record(self, name: str, policy: RolloutPolicy) -> None:
        with self.run.timed("evaluate"):
            metrics = dict(self._evaluate(policy))
            metrics |= more_metrics(self.settings, self.task, policy, self.settings.seed)
        judged_among_knobs = (
            name == self.pretrained and self.settings.knobs and UNTURNED.fits(policy)
        )
        if self._needs_referee(metrics) and not judged_among_knobs:
            metrics |= self._judge(policy, name)
        self.run.metrics[name] = metrics
        self._write(name, policy)
        if isinstance(policy, nn.Module) and name in ("mle", "agent", "constant"):
            file = "policy" if name == "agent" else name
            weights = {}
            for key, value in policy.state_dict().items():
                weights[key] = value.clone()  # the policy may learn on
            self.run.weights[f"{file}.safetensors"] = weights

    @property
    def pretrained(self) -> str:
        """What the pre-trained policy is called: `agent` where it is all that the agent learns."""
        return "mle" if self.learns else "agent"

    def _needs_referee(self, metrics: Mapping[str, float]) -> bool:
        """Whether the referee is asked for, or is the only judge; and has not judged yet.

        Who ends a run does not want to wait for it.
        """
        wanted = self.settings.referee or RANKING.divergence not in metrics
        return wanted and REFEREED.divergence not in metrics and not self.run.interrupted

    def _judge(self, policy: RolloutPolicy, name: str) -> dict[str, float]:
        """The referee's metrics of a policy, which progress calls `name`; none where the task has
        no referee.
        """
        if not isinstance(self.task, HasReferee) or self.task.referee is None:
            return {}
        phase = f"referee on {name}"
        self.progress(phase, 0, 1, {})
        with self.run.timed("referee"):
            rng = torch.Generator(device=self.settings.device).manual_seed(self.settings.seed + 1)
            found = dict(self.task.referee.of_policy(policy, rng))
        self.progress(phase, 1, 1, {})
        return found

    def _write(self, name: str, policy: RolloutPolicy) -> None:
        """Samples of a policy as a person reads them."""
        samples = self._draw(policy, NUM_SAMPLES)
        self.run.samples[name] = list(map(self.task.decode, samples))

    def _draw(self, policy: RolloutPolicy, num: int) -> Tensor:
        """The first `num` sequences (num, T) that a policy writes under the run's seed."""
        rng = torch.Generator(device=self.settings.device).manual_seed(self.settings.seed)
        return sample_sequences(policy, self.task.spec, num, rng)

    def _evaluate(self, policy: RolloutPolicy) -> Mapping[str, float]:
        return evaluate_task(policy, self.task, self.settings.seed, self.settings.device)


def _of_the_referee(metrics: Mapping[str, float]) -> dict[str, float]:
    """The referee's metrics among others."""
    found = {}
    for name, value in metrics.items():
        if name.startswith(REFEREED.divergence):
            found[name] = value
    return found


def more_metrics(
    settings: TrainSettings, task: Task, policy: RolloutPolicy, seed: int
) -> dict[str, float]:
    """The user's own metrics of a policy, of draws that change no other number."""
    metrics = load_metrics(settings.more_metrics)
    if not metrics:
        return {}
    return measure_more(metrics, samples_for_more(settings, task, policy, seed), task)


def samples_for_more(
    settings: TrainSettings, task: Task, policy: RolloutPolicy, seed: int
) -> Tensor:
    """The draws of a policy that the user's own metrics get, (NUM_MEASURED, T)."""
    rng = torch.Generator(device=settings.device).manual_seed(seed + 1)
    return sample_sequences(policy, task.spec, NUM_MEASURED, rng)


def real_metrics(settings: TrainSettings, task: Task) -> dict[str, float]:
    """What real sequences reach by the metrics that need nothing but sequences, the user's own
    among them: what those of a policy are to be read beside. See `MeasuresReal`.
    """
    found: dict[str, float] = {}
    if isinstance(task, MeasuresReal):
        found |= task.measure_real()
    metrics = load_metrics(settings.more_metrics)
    if metrics:
        chosen, counts = unseen_first(task.validation, task.real_sequences, NUM_MEASURED)
        found = counts | found | measure_more(metrics, chosen, task)
    return found


def at_temperature(policy: RolloutPolicy, temperature: float) -> RolloutPolicy:
    """The policy at another temperature; itself at 1.

    Raises:
        ValueError: it has no temperature.
    """
    return policy if temperature == 1.0 else Temperature(temperature)(policy)


def build_task(settings: TrainSettings) -> Task:
    """The task of a run, on its device."""
    task = make_task(settings.task, **settings.task_options)
    if settings.device != "cpu":
        task.to(settings.device)
    return task


def build_agent(
    settings: TrainSettings, task: Task, source: str
) -> tuple[GeneratorAgent, RewardModel]:
    """A new agent in a new environment of `task` that pays by `source`, and what that environment
    pays.
    """
    reward = RewardSettings(
        settings.reward, source, settings.score_as, settings.num_rollouts, settings.sync_rate
    )
    rewards = build_rewards(
        task,
        reward,
        discriminator=settings.discriminator,
        discriminator_options=settings.discriminator_options,
        model_seed=settings.seed,
        device=settings.device,
        d_batch_size=settings.d_batch_size,
    )
    env = TokenVectorEnv(settings.batch_size, rewards)
    policy = None
    if settings.policy is not None:
        policy = make_policy(
            settings.policy, task.spec, settings.seed, settings.policy_options, task
        )
        policy.to(settings.device)
    agent = make_agent(settings.agent, env, settings.seed, settings.agent_options, policy)
    return agent, rewards


def write_run(run: Run, path: Path) -> None:
    """Everything there is of a run, into its directory: the weights first, the result last.

    So a run that has a result has everything.

    Raises:
        ValueError: a file cannot be written; those before it are whole.
    """
    for name, state in run.weights.items():
        run_directory.write_weights(path / name, state)
    run_directory.write_csv(path / run_directory.METRICS, run.history)
    if run.knobs:
        rows = [{"knob": name} | row for name, row in run.knobs.items()]
        run_directory.write_csv(path / run_directory.KNOBS, rows)
    run_directory.write_text(path / "samples.txt", samples_text(run.samples))
    for name, picture in run.pictures.items():
        run_directory.write_bytes(path / name, picture)
    if is_installed("matplotlib"):
        plot_curves(run.history, run.knobs, run.metrics, path / CURVES)
    result: dict[str, Any] = dict(run.metrics) | {
        "best_knob_name": run.best_knob,
        "score_error": run.score_error,
        "kept_round": run.kept_round,
        "real": run.real,
        "seconds": run.seconds,
        "interrupted": run.interrupted,
    }
    run_directory.write_json(path / run_directory.RESULT, result)


def write_config(
    settings: TrainSettings, path: Path, task: Task, trackers: Sequence[str] | None = None
) -> dict[str, Any]:
    """Writes and returns everything needed to repeat a run, to go on with it, and to write with its
    policy where its data are gone.

    Args:
        settings: of the run.
        path: of the run directory.
        task: of the run.
        trackers: names of those that were asked for; None where nobody asked.
    """
    config = {
        "settings": asdict(settings),
        "folder": str(Path.cwd()),
        "versions": run_directory.versions(),
        "command": ["seqgan", *sys.argv[1:]],
        "run_id": uuid.uuid4().hex,
        "trackers": None if trackers is None else list(trackers),
    }
    fingerprint = getattr(task, "fingerprint", None)
    if fingerprint:
        config["corpus_fingerprint"] = fingerprint
    run_directory.write_json(path / run_directory.CONFIG, config)
    write_task(task, path)
    return config


def read_config(path: Path, trust: Trust = False) -> TrainSettings:
    """The settings of a run directory, with its files as they lie where it was begun.

    Args:
        path: of the run directory.
        trust: whether plug-ins that are not installed may be imported, or the names of those that
            may.

    Raises:
        ValueError: its configuration is missing or damaged, or names code that is not trusted.
    """
    return _settings_in(run_directory.read_json(path / run_directory.CONFIG), path, trust)


def _settings_in(config: Mapping[str, Any], path: Path, trust: Trust) -> TrainSettings:
    """The settings in the configuration of the run `path`."""
    file = path / run_directory.CONFIG
    settings = config.get("settings")
    if not isinstance(settings, Mapping):
        raise ValueError(f"{file} is not the configuration of a run: it has no settings")
    check_names(settings, file, trust)
    for name in settings:
        choose([each.name for each in fields(TrainSettings)], name, f"setting in {file}")
    folder = working_folder(config, file)
    with naming(file):
        return located(TrainSettings(**settings), folder)


def load_run(
    path: Path, trust: Trust = False, needs_data: bool = True
) -> tuple[TrainSettings, Task, GeneratorAgent]:
    """The settings, task and trained agent of a run directory.

    Examples:
        >>> import tempfile
        >>> from seqgan_env.training.settings import TrainSettings
        >>> small = {"num_real": 200, "num_held_out": 200, "num_eval": 200}
        >>> settings = TrainSettings(agent="mle", mle_epochs=1, knobs=False, task_options=small)
        >>> folder = Path(tempfile.mkdtemp())  # as `seqgan train --out` makes one
        >>> trainer = Trainer(settings)
        >>> config = write_config(settings, folder, trainer.task)
        >>> write_run(trainer(), folder)
        >>> settings, task, agent = load_run(folder)
        >>> settings.agent, task.name, type(agent).__name__
        ('mle', 'oracle-tiny', 'MLE')

    Args:
        path: of the run directory.
        trust: as of `read_config`.
        needs_data: whether the real data must be there. If not, and they are gone or have changed,
            the task is the one that the run carries (`seqgan_env.types.Portable`), which says in
            `no_data` why it has none.

    Raises:
        ValueError: a file is missing or damaged, names code that is not trusted, or the corpus has
            changed since.
    """
    settings, task = _read_run(path, trust, needs_data)
    with naming(path / run_directory.CONFIG):
        agent, _ = build_agent(settings, task, "constant")
    _load_file(agent.policy, path / "policy.safetensors", "the run's policy")
    return settings, task, agent


def load_run_with_rewards(
    path: Path, num_rollouts: int, trust: Trust = False
) -> tuple[TrainSettings, Task, GeneratorAgent, RewardModel | None]:
    """The same and what paid the agent in the end, with its discriminator; None in its place where
    there is a discriminator that was never trained. The real data need not be there, unless what
    paid asks for them.

    Args:
        path: of the run directory.
        num_rollouts: N of the values, in place of the run's.
        trust: as of `read_config`.

    Raises:
        ValueError: as `load_run`.
    """
    settings, task = _read_run(path, trust, needs_data=False)
    settings = replace(settings, num_rollouts=num_rollouts)
    file = path / DISCRIMINATOR_WEIGHTS
    is_paid = DISCRIMINATOR not in names_in(settings.source) or file.exists()
    with naming(path / run_directory.CONFIG):
        agent, rewards = build_agent(settings, task, settings.source if is_paid else "constant")
    _load_file(agent.policy, path / "policy.safetensors", "the run's policy")
    if rewards.discriminator is not None:
        _load_file(rewards.discriminator, file, "the run's discriminator")
    rewards.bind(agent.policy)
    return settings, task, agent, rewards if is_paid else None


def _read_run(path: Path, trust: Trust, needs_data: bool) -> tuple[TrainSettings, Task]:
    """The settings and the task of a run directory.

    Raises:
        ValueError: as `load_run`.
    """
    config = run_directory.read_json(path / run_directory.CONFIG)
    settings = _settings_in(config, path, trust)
    try:
        check_files(settings, config, path)
        with naming(path / run_directory.CONFIG), kept_in(path):
            task = build_task(settings)
        check_unchanged(task, config, path)
    except ValueError as problem:
        carried = None
        if not needs_data:
            carried = task_without_data(settings, path, str(problem))
        if carried is None:
            raise
        return settings, carried
    return settings, task


def check_files(settings: TrainSettings, config: Mapping[str, Any], path: Path) -> None:
    """Raises a ValueError unless all files are there that the task of the run `path` reads.

    Args:
        settings: of the run.
        config: what stands in its `config.json`.
        path: of its folder.
    """
    missing = missing_files(settings, working_folder(config, path / run_directory.CONFIG))
    if missing:
        raise ValueError(f"the real data of {path} are not there: {missing}")


def check_unchanged(task: Task, config: Mapping[str, Any], path: Path) -> None:
    """Raises a ValueError unless a task has the real data with which the run `path` was begun.

    Args:
        task: as it is made now.
        config: what stands in the `config.json` of the run.
        path: of its folder.
    """
    if getattr(task, "fingerprint", None) != config.get("corpus_fingerprint"):
        raise ValueError(
            f"the corpus of {path} has changed since it was trained; its tokens no longer mean the "
            "same words"
        )


def _load_file(model: object, file: Path, what: str) -> None:
    """Gives a model the weights in a file; `what` names it in the error of one that does not
    fit.
    """
    state = run_directory.read_weights(file)
    try:
        _load(model, state)
    except (RuntimeError, TypeError) as problem:
        raise ValueError(f"{file} does not fit {what}: {problem}") from problem


def _load(model: object, state: Mapping[str, Tensor]) -> None:
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"{type(model).__name__} is no torch.nn.Module; its weights cannot be loaded"
        )
    model.load_state_dict(state)


def samples_text(samples: Mapping[str, list[str]]) -> str:
    """Samples of every policy, a line each, under headings."""
    return "\n".join(f"## {name}\n" + "\n".join(lines) + "\n" for name, lines in samples.items())
