"""What `seqgan train` and `seqgan sample` do."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from seqgan_env.cli.arguments import (
    given_settings,
    trust_of,
)
from seqgan_env.cli.evaluation import real_column
from seqgan_env.cli.output import (
    RunProgress,
    console,
    of_which_parts,
    tell_of_no_data,
    told_if_slow,
    warn,
)
from seqgan_env.extras import is_installed, remedy
from seqgan_env.files import naming
from seqgan_env.metrics.catalogue import METRICS, TABLE, Metric, described, load_metrics
from seqgan_env.metrics.divergence import SATURATED
from seqgan_env.metrics.likelihood import sample_sequences
from seqgan_env.metrics.score import RANKING, REFEREED
from seqgan_env.tasks.reading import Report, reported
from seqgan_env.tasks.text.kept import kept_in
from seqgan_env.tracking.base import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    Tracker,
    Tracking,
    make_trackers,
    names_or_default,
)
from seqgan_env.training import run_directory
from seqgan_env.training.checkpoint import read_checkpoint, remove_checkpoints
from seqgan_env.training.health import DivergenceError
from seqgan_env.training.hyperparameters import settings_with_file
from seqgan_env.training.interpreter import Evidence, explain
from seqgan_env.training.interrupts import interruptible, uninterruptible
from seqgan_env.training.portable import write_task
from seqgan_env.training.settings import TrainSettings, settings_from
from seqgan_env.training.trainer import (
    CURVES,
    Run,
    Trainer,
    at_temperature,
    check_files,
    check_unchanged,
    load_run,
    read_config,
    samples_text,
    write_config,
    write_run,
)
from seqgan_env.trust import Trust, check_names
from seqgan_env.types import (
    HasWords,
    Task,
    TokenSpec,
    WritesFiles,
)

ROWS = {
    "mle": "MLE",
    "best_knob": "best knob",
    "constant": "constant\nreward",
    "agent": "agent",
}

_LARGE_FILE = 5_000_000  # bytes


def train(arguments: argparse.Namespace) -> int:
    """`seqgan train`: a new run, or the rest of one."""
    if arguments.resume is not None:
        return _resume(arguments)
    settings = _settings(arguments)
    path = arguments.out or Path(
        "runs"
    ) / f"{settings.task}-{settings.agent}-{settings.seed}".replace(":", ".")
    run_directory.check_available(path, arguments.force)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    trackers = make_trackers(names_or_default(arguments.track), path)
    screen = console()
    with interruptible(), RunProgress(screen) as progress:
        with reported(_of_large_files(progress)):
            trainer = Trainer(settings, progress, checkpoints=path)
        with run_directory.created(path, arguments.force):
            progress.log_to(path / run_directory.LOG)
            config = write_config(settings, path, trainer.task, arguments.track)
            what = f"task {settings.task}: {_shape(trainer.task.spec)}"
            data = getattr(trainer.task, "summary", what)
            screen.print(str(data), highlight=False, markup=False, soft_wrap=True)
            if not trainer.is_resumable:
                screen.print(
                    f"agent {settings.agent} has no state that can be saved; this run cannot be "
                    "resumed",
                    highlight=False,
                )
            for note in _left_out(arguments.track):
                screen.print(note, markup=False, highlight=False)
            run = _run_to_the_end(trainer, path, trackers, config)
    return _conclude(screen, run, path)


def _settings(arguments: argparse.Namespace) -> TrainSettings:
    """The settings of a new run."""
    given = given_settings(arguments)
    if arguments.hyperparameters is None:
        return settings_from(arguments.preset, given)
    file: Path = arguments.hyperparameters
    return settings_with_file(arguments.preset, given, file, trust_of(arguments))


def _shape(spec: TokenSpec) -> str:
    """How long the sequences of a task are, and of how many tokens, in words."""
    if spec.eos_token is None:
        return f"sequences of {spec.seq_len} tokens from a vocabulary of {spec.vocab_size}"
    return (
        f"sequences of {spec.min_length + 1} to {spec.seq_len} tokens, the end counted, from a "
        f"vocabulary of {spec.vocab_size}"
    )


def _of_large_files(progress: RunProgress) -> Report:
    """Progress of reading files that take some seconds."""

    def report(source: str, done: int, total: int) -> None:
        if total >= _LARGE_FILE:
            progress(f"read {source}, kB", done // 1_000, total // 1_000, {})

    return report


def _left_out(trackers: Sequence[str] | None) -> list[str]:
    """What a run will not write because a library is missing, and what installs it."""
    notes = []
    if not is_installed("matplotlib"):
        why = f"matplotlib is missing {remedy('matplotlib')}"
        notes.append(f"{CURVES} will not be written: {why}")
    if trackers is None and not is_installed("tensorboard"):
        notes.append(f"for curves in TensorBoard install it {remedy('tensorboard')}")
    return notes


def _check_nothing_given(arguments: argparse.Namespace) -> None:
    """Raises a ValueError for what would change a run that goes on."""
    given = []
    for name in ("out", "force", "track", "hyperparameters"):
        if getattr(arguments, name):
            given.append(name)
    given += given_settings(arguments)
    if given:
        raise ValueError(
            f"{', '.join(given)} cannot be given with --resume: a run goes on with the settings "
            f"that stand in {arguments.resume / run_directory.CONFIG}"
        )


def _resume(arguments: argparse.Namespace) -> int:
    path: Path = arguments.resume
    _check_nothing_given(arguments)
    settings = read_config(path, trust_of(arguments))
    config = run_directory.read_json(path / run_directory.CONFIG)
    trackers = make_trackers(_trackers_in(config, path, trust_of(arguments)), path)
    screen = console()
    with interruptible(), RunProgress(screen) as progress, run_directory.locked(path, "run"):
        if run_directory.is_finished(path):
            raise ValueError(f"the run {path} is finished; there is nothing to resume")
        state = read_checkpoint(path)  # None: it was killed before the first one
        progress.log_to(path / run_directory.LOG)

        # As many threads as before: sums depend on them in their last bits.
        threads = settings.threads
        if state is not None:
            threads = state["threads"]
        if threads:
            torch.set_num_threads(threads)

        # The files must be what they were, for the rest would be of another run.
        check_files(settings, config, path)
        with reported(_of_large_files(progress)), kept_in(path):
            trainer = Trainer(settings, progress, checkpoints=path)
        check_unchanged(trainer.task, config, path)
        if state is not None:
            with naming(f"the checkpoint of {path}"):
                trainer.load_state_dict(state)
        write_task(trainer.task, path)  # a run may have been killed before it was written
        run = _run_to_the_end(trainer, path, trackers, config)
    return _conclude(screen, run, path)


def _trackers_in(config: Mapping[str, Any], path: Path, trust: Trust) -> list[str]:
    """The trackers of the run `path`, by its configuration.

    Raises:
        ValueError: they are no list of names, or name code that is not trusted.
    """
    file = path / run_directory.CONFIG
    names = config.get("trackers")
    if names is None:
        return names_or_default(None)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{file}: trackers is {names!r}; expected a list of names")
    check_names(names, file, trust)
    return names


def _run_to_the_end(
    trainer: Trainer,
    path: Path,
    trackers: Mapping[str, Tracker],
    config: Mapping[str, Any],
) -> Run:
    """Runs what is left, tells the trackers of it, and writes everything.

    A run that diverges leaves a file that says why it broke off.
    """
    (path / run_directory.DIVERGED).unlink(missing_ok=True)
    tracking = Tracking(trackers, warn)
    tracking.begin(dict(config))
    trainer.on_row = tracking.log_row
    status = FAILED
    try:
        run = trainer()
        with uninterruptible():
            if not run.interrupted:
                with run.timed("real"):
                    run.real = real_column(trainer.settings, trainer.task)
            write_run(run, path)
        tracking.show(run.metrics, samples_text(run.samples), _pictures(run, path))
        status = INTERRUPTED if run.interrupted else FINISHED
    except DivergenceError as problem:
        run_directory.write_text(path / run_directory.DIVERGED, f"{problem}\n")
        raise
    finally:
        tracking.end(status)
    if not run.interrupted:
        remove_checkpoints(path)
    return run


def _pictures(run: Run, path: Path) -> list[Path]:
    """The pictures that a run has written; without matplotlib there are none."""
    written = []
    for name in (CURVES, *run.pictures):
        if (path / name).exists():
            written.append(path / name)
    return written


def _conclude(screen: Console, run: Run, path: Path) -> int:
    """Shows what a run has found; its exit code."""
    _print_table(screen, run, path)
    written = "samples, metrics and weights" if run.weights else "samples and metrics"
    screen.print(f"{written}: {path}", highlight=False)
    return 130 if run.interrupted else 0


def _print_table(console: Console, run: Run, path: Path) -> None:
    settings = run.settings
    who = [name for name in ROWS if name in run.metrics]
    table = Table(
        title=f"{settings.task}, {settings.agent}, source {settings.source}, seed {settings.seed}"
    )
    table.add_column("", no_wrap=True)
    for name in who:
        heading, style = ROWS[name], ""
        if name == "best_knob":
            heading += f"\n{run.best_knob}"
        elif name == "agent":
            style = "bold"
        table.add_column(heading, justify="right", style=style)
    if run.real:
        table.add_column("real\ndata", justify="right")
    for metric in [*TABLE, *map(described, load_metrics(settings.more_metrics))]:
        cells = [_cell(run.metrics[policy], metric) for policy in who]
        if any(cells):  # most metrics belong to some tasks only
            if run.real:
                cells.append(_cell(run.real, metric))
            table.add_row(metric.row, *cells)
    notes = [_kept_round(run), _errors(run), of_which_parts(run.real)]
    table.caption = "\n".join(filter(None, notes))
    console.print(table)
    for sentence in explain(_evidence(run, path)).sentences:
        console.print(sentence, highlight=False, markup=False)


def _cell(metrics: Mapping[str, float], metric: Metric) -> str:
    """A metric as it stands in the table; a divergence at its maximum is marked saturated."""
    if metric.name not in metrics:
        return ""
    value = metrics[metric.name]
    saturated = metric.name in ("js", "tv") and value > SATURATED
    return f"{value:.{metric.digits}f}" + " saturated" * saturated


def _kept_round(run: Run) -> str:
    """Which round's policy the agent's is, where it is not the last one's by setting."""
    if run.kept_round is None:
        return ""
    return f"agent: round {run.kept_round} of {run.settings.rounds}, the best on validation data"


def _errors(run: Run) -> str:
    """The standard errors of what ranks, the largest of all policies."""
    told = []
    for score in (RANKING, REFEREED):
        largest = -math.inf
        for metrics in run.metrics.values():
            error = metrics.get(f"{score.divergence}_error", math.nan)
            if math.isfinite(error):
                largest = max(largest, error)
        if math.isfinite(largest):
            told.append(f"standard error of {METRICS[score.divergence].label}: {largest:.4f}")
    return "; ".join(told)


def _evidence(run: Run, path: Path) -> Evidence:
    """The numbers of a run, as `result.json` and `metrics.csv` have them."""
    return Evidence(
        metrics=run.metrics,
        rows=run.history,
        best_knob=run.best_knob,
        score_error=run.score_error,
        settings=asdict(run.settings),
        path=str(path),
        interrupted=run.interrupted,
        num_knobs=len(run.knobs),
        seconds=run.seconds,
        kept_round=run.kept_round,
        has_checkpoint=(path / run_directory.CHECKPOINT).exists(),
    )


def sample(arguments: argparse.Namespace) -> int:
    """`seqgan sample`."""
    path: Path = arguments.run_path
    with told_if_slow(f"reading the data of {path} ..."):
        settings, task, agent = load_run(path, trust_of(arguments), needs_data=False)
    tell_of_no_data(task, "written with the vocabulary that the run carries")
    policy = at_temperature(agent.policy, arguments.temperature)
    rng = torch.Generator(device=settings.device).manual_seed(arguments.seed)
    samples = sample_sequences(policy, task.spec, arguments.num, rng)
    if isinstance(task, WritesFiles):
        folder = arguments.out or path / "samples"
        with told_if_slow("drawing the samples ..."):
            task.write_samples(samples, folder)
        print(f"files: {folder}", file=sys.stderr)
    elif arguments.out:
        raise ValueError(
            f"--out {arguments.out} was given; task {task.name} writes lines, not files"
        )
    for tokens in samples:
        print(_written(task, tokens, arguments.words))
    sys.stdout.flush()
    return 0


def _written(task: Task, tokens: Tensor, as_words: bool) -> str:
    """A sequence (T,) as a line."""
    if not as_words:
        return task.decode(tokens)
    if not isinstance(task, HasWords):
        raise ValueError(f"--words was given; the lines of task {task.name} are exact without it")
    return json.dumps(task.words(tokens), ensure_ascii=False)
