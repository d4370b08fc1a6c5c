"""The flags of `seqgan bench`, `seqgan report` and `seqgan evaluate --samples`."""

from __future__ import annotations

import argparse
import math
from dataclasses import fields
from pathlib import Path
from typing import Any

from seqgan_env.cli.arguments import (
    Parser,
    add_settings,
    add_task_settings,
    add_trust,
    given_settings,
    later,
    positive,
)
from seqgan_env.registry import SOURCES
from seqgan_env.rewards.forms import FORMS
from seqgan_env.tasks import task_names
from seqgan_env.training.settings import DECIDED_BY_THE_HARNESS, PRESETS, TrainSettings

OF_A_GRID = ("agent", "task", "reward", "source")  # of which a benchmark takes several


def add_commands(commands: Any) -> None:
    """Adds `seqgan bench` and `seqgan report` to the command line."""
    _add_bench(commands)
    report = commands.add_parser(
        "report", help="write the page and the tables of benchmarks", allow_abbrev=False
    )
    report.add_argument(
        "folders", type=Path, nargs="+", metavar="DIR", help="folder of a benchmark"
    )
    report.add_argument(
        "--out", type=Path, metavar="DIR", help="where the report goes (default: the first folder)"
    )
    report.add_argument(
        "--title", metavar="TEXT", help="of the page (default: the first benchmark's)"
    )
    report.set_defaults(run=later("seqgan_env.bench.commands:report"))


def _add_bench(commands: Any) -> None:
    """Adds `seqgan bench`, whose settings are those of all jobs."""
    bench: Parser = commands.add_parser(
        "bench",
        help="run a grid of agents, tasks, rewards and seeds, with maximum likelihood beside it",
        description=(
            "Runs every job of a suite, or of the grid of --agents, --tasks, --rewards and "
            "--sources, that has no result in --out yet, and writes the report. Other flags are "
            "settings of all jobs, over those of the suite as a whole."
        ),
        allow_abbrev=False,
    )
    _add_grid(bench)
    _add_running(bench)
    bench.add_argument(
        "--preset", metavar="NAME", help=f"settings to start from: {', '.join(PRESETS)}"
    )
    add_settings(bench, _settings_of_all_runs())
    add_task_settings(bench)
    add_trust(bench)
    bench.refused = _refused()
    bench.set_defaults(run=later("seqgan_env.bench.commands:bench"))


def _add_grid(bench: Parser) -> None:
    """Adds what says which jobs there are: a suite, or the parts of a grid."""
    bench.add_argument(
        "suite", type=Path, nargs="?", metavar="SUITE.toml", help="a suite, in place of --agents"
    )
    bench.add_argument(
        "--agents",
        nargs="+",
        metavar="NAME",
        help="names from `seqgan list agents`, or package.module:Class",
    )
    bench.add_argument(
        "--tasks",
        nargs="+",
        metavar="NAME",
        help="names from `seqgan list tasks`, or package.module:Class (default: what takes the "
        f"settings that are given, {TrainSettings.task} where it does)",
    )
    bench.add_argument(
        "--rewards",
        nargs="+",
        metavar="FORM",
        help=f"of {', '.join(FORMS)} (default: what each agent asks for, or "
        f"{TrainSettings.reward})",
    )
    bench.add_argument(
        "--sources",
        nargs="+",
        metavar="SOURCE",
        help=f"of {', '.join(SOURCES.builtin)}, package.module:Name, or sums of such (default: "
        f"what each agent asks for, or {TrainSettings.source})",
    )
    bench.add_argument(
        "--seeds", type=positive, metavar="N", help="seeds 0..N-1 (default: the suite's, or 5)"
    )


def _add_running(bench: Parser) -> None:
    """Adds where the jobs run, and where their results go."""
    bench.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="what is there is not run again (default: runs/SUITE)",
    )
    bench.add_argument(
        "--workers",
        type=positive,
        metavar="K",
        help="jobs at a time (default: 1; with --ray all CPUs there are)",
    )
    bench.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="run the jobs as Ray tasks: local, auto, or the address of a cluster",
    )
    bench.add_argument(
        "--shard",
        type=_shard,
        default=(1, 1),
        metavar="I/N",
        help="only the I-th of N parts of the jobs",
    )


def _settings_of_all_runs() -> list[str]:
    """The names of the settings that the runs of a grid share and that its user may choose."""
    names = []
    for field in fields(TrainSettings):
        if field.name not in DECIDED_BY_THE_HARNESS and field.name not in OF_A_GRID:
            names.append(field.name)
    return names


def _refused() -> dict[str, str]:
    """Why a benchmark does not take some flags of `seqgan train`, by flag."""
    told = {f"--{name}": f"A benchmark takes --{name}s, one or several" for name in OF_A_GRID}
    told["--seed"] = "A benchmark takes --seeds N, for the seeds 0..N-1"
    told["--threads"] = "A benchmark runs every job on one thread, and several jobs by --workers"
    told["--resume"] = "The same command again goes on where a benchmark was stopped"
    told["--force"] = "A benchmark keeps what has been done; --out names another folder"
    for flag in ("--knobs", "--no-knobs"):
        told[flag] = "A benchmark measures the knobs of the row mle, for every score needs them"
    for flag in ("--control", "--no-control"):
        told[flag] = "In a benchmark a control is a row of its own: --sources constant"
    return told


def _shard(text: str) -> tuple[int, int]:
    """Which part of how many, from I/N; the first part is 1."""
    part, slash, parts = text.partition("/")
    if (
        not slash
        or not part.isdecimal()
        or not parts.isdecimal()
        or not 1 <= int(part) <= int(parts)
    ):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N with I in 1..N, like 2/8")
    return int(part), int(parts)


def _nats(text: str) -> float:
    """A finite number from 0; argparse itself reports what is no number."""
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no number of nats from 0")
    return value


def add_samples_arguments(evaluate: argparse.ArgumentParser) -> None:
    """Adds what `seqgan evaluate --samples` takes."""
    group = evaluate.add_argument_group("samples from elsewhere")
    group.add_argument(
        "--samples",
        type=Path,
        metavar="FILE",
        help="a sequence a line, as `seqgan sample` prints it, UTF-8",
    )
    group.add_argument("--label", metavar="TEXT", help="of the row (default: the file's name)")
    group.add_argument(
        "--task-label", metavar="TEXT", help="what the benchmark calls the task (default: its name)"
    )
    group.add_argument(
        "--nll-gen",
        type=_nats,
        metavar="X",
        help="of held-out sequences, in nats per token, if it is known",
    )
    group.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of a benchmark that gets the row"
    )
    add_settings(group, ["task", "task_options"])
    add_task_settings(evaluate)


def chose_samples(arguments: argparse.Namespace) -> bool:
    """Whether --samples was given in place of a run.

    Raises:
        ValueError: neither or both were given, or samples without a task, or a run with flags that
            belong to samples.
    """
    if (arguments.samples is None) == (arguments.run_path is None):
        raise ValueError("seqgan evaluate takes a run, or --samples FILE --task NAME")
    settings = given_for_samples(arguments)
    if arguments.samples is not None and not settings:
        raise ValueError(f"--samples needs --task; allowed are {', '.join(task_names())}")
    beside = []
    for name in ("label", "task_label", "nll_gen", "out"):
        if getattr(arguments, name) is not None:
            beside.append(name)
    beside += settings
    if arguments.samples is None and beside:
        raise ValueError(
            f"--{beside[0].replace('_', '-')} is for --samples; a run has its own settings"
        )
    return arguments.samples is not None


def given_for_samples(arguments: argparse.Namespace) -> dict[str, Any]:
    """The task and those of its settings that were given."""
    given = dict(given_settings(arguments))
    given.pop("seed", None)  # of `seqgan evaluate` it is the seed of the draws
    return given
