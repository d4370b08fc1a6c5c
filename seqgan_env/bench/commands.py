"""The commands `seqgan bench`, `seqgan report` and `seqgan evaluate --samples`."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from seqgan_env.bench.flags import given_for_samples
from seqgan_env.bench.jobs import (
    BEST_KNOB,
    REFERENCE,
    Job,
    Suite,
    code_in_options,
    grid,
    plug_ins,
    read_suite,
)
from seqgan_env.bench.live_view import LiveView
from seqgan_env.bench.local import LocalPool
from seqgan_env.bench.places import check_given
from seqgan_env.bench.ray_pool import RayPool
from seqgan_env.bench.results import check_label, path_of, results_in
from seqgan_env.bench.runner import SUPERSEDED, Pool, Progress, opened, run_jobs
from seqgan_env.bench.samples import result_of_samples
from seqgan_env.cli.arguments import (
    given_settings,
    trust_of,
)
from seqgan_env.cli.output import metrics_table, of_which_parts, told_if_slow
from seqgan_env.metrics.catalogue import MORE, metric_named, more_of
from seqgan_env.screen import plain_console
from seqgan_env.tasks import check_settings, infer_task, make_task
from seqgan_env.training import run_directory
from seqgan_env.training.settings import settings_of_task
from seqgan_env.types import MeasuresReal

if TYPE_CHECKING:  # loads scipy
    from seqgan_env.bench.leaderboard import Entry, Standings

BENCHMARK = "benchmark.json"  # title and command of a folder

_OF_A_GRID = ("agents", "tasks", "rewards", "sources")
_DEFAULT_SEEDS = 5

# What the leaderboard on a terminal says of an outcome that is not plain by itself.
_OUTCOMES = {
    "better": "nearer to the truth",
    "worse": "further from the truth",
    "same": "no difference shown",
    "one run": "no verdict from one run",
}


def bench(arguments: argparse.Namespace) -> int:
    """`seqgan bench`: runs what has no result yet and writes the report."""
    suite, console = _suite(arguments), plain_console()
    # Every machine takes every `parts`-th job: rows and tasks are spread evenly.
    part, parts = arguments.shard
    with told_if_slow("reading the data of all jobs ..."):
        jobs = suite.jobs()[part - 1 :: parts]
    name = "bench"
    if arguments.suite:
        name = arguments.suite.stem
    folder: Path = arguments.out or Path("runs") / name
    with opened(folder):
        # Without a suite's file, all settings are the command line's.
        given = _given(arguments) if arguments.suite else None
        check_given(jobs, given, results_in(folder), folder)
        run_directory.write_json(
            folder / BENCHMARK,
            {"title": suite.title, "command": ["seqgan", *arguments.command_line]},
        )
        try:
            with LiveView(console) as view:
                progress = run_jobs(jobs, folder, _pool(arguments, folder, jobs), view)
        except KeyboardInterrupt:
            print("seqgan: interrupted; the same command goes on from here", file=sys.stderr)
            return 130
    _tell(console, progress, folder)
    _report_if_possible(console, folder)
    if progress.failed:
        return 1
    return 0


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings of all jobs that were given on the command line."""
    settings = dict(given_settings(arguments))
    if arguments.preset:
        settings["preset"] = arguments.preset
    return settings


def _suite(arguments: argparse.Namespace) -> Suite:
    """The suite that was asked for, by a file or by the parts of a grid."""
    settings = _given(arguments)
    if arguments.suite is None:
        if not arguments.agents:
            raise ValueError(
                "seqgan bench needs a suite or --agents, like `seqgan bench --agents reinforce ppo`"
            )
        return grid(
            arguments.agents,
            arguments.tasks or [],
            arguments.rewards or [],
            arguments.sources or [],
            arguments.seeds or _DEFAULT_SEEDS,
            settings,
        )
    given = [f"--{name}" for name in _OF_A_GRID if getattr(arguments, name)]
    if given:
        raise ValueError(
            f"{' and '.join(given)} cannot be given with a suite, {arguments.suite}, which says "
            "that itself"
        )
    suite = read_suite(arguments.suite, trust_of(arguments))

    return replace(suite.under(settings), seeds=arguments.seeds or suite.seeds)


def _pool(arguments: argparse.Namespace, folder: Path, jobs: Sequence[Job]) -> Pool:
    """Where the jobs are to run: on a Ray cluster or on this machine."""
    if arguments.ray:
        # Machines of a cluster may lack the user's own plug-ins, which are sent to them.
        names = set()
        for job in jobs:
            names |= {name for _, name in plug_ins(job.settings)}
            names.update(code_in_options(job.settings))
        return RayPool(folder, arguments.ray, arguments.workers, names)
    return LocalPool(folder, arguments.workers or 1)


def _tell(console: Console, progress: Progress, folder: Path) -> None:
    """Prints what became of the jobs."""
    for job, path in progress.failed:
        last = path.read_text(encoding="utf-8").strip().splitlines()
        console.print(
            f"failed: {job.name}: {_reason(last)}\n  {path}",
            highlight=False,
            soft_wrap=True,
            markup=False,
        )
    if progress.num_superseded:
        console.print(
            f"{progress.num_superseded} results of other settings, code or data were moved to "
            f"{folder / SUPERSEDED}",
            highlight=False,
            soft_wrap=True,
        )
    if progress.num_of_other_code:
        console.print(
            f"{progress.num_of_other_code} results of other seeds stay that other code, data or "
            "versions made; run these seeds too to have one of all",
            highlight=False,
            soft_wrap=True,
        )
    counts = (
        f"{len(progress.done)} done, {len(progress.failed)} failed, {len(progress.kept)} kept from "
        "before"
    )
    console.print(f"{progress.total} jobs: {counts}", highlight=False)


def _reason(lines: Sequence[str]) -> str:
    """The line of a traceback that says what was wrong."""
    # Source lines are indented, and the last line only has the code that the process ended with.
    told = [line for line in lines if line and not line.startswith((" ", "ended with code"))]
    return told[-1]


def _report_if_possible(console: Console, folder: Path) -> None:
    """Writes the report of a finished benchmark, or prints why there is none.

    Having no report is no failure: a benchmark may lack the reference until its last shard is done.
    """
    try:
        with told_if_slow("writing the report ..."):
            _write_report([folder], folder, None, console)
    except ValueError as problem:
        print(f"seqgan: no report page: {problem}", file=sys.stderr)


def report(arguments: argparse.Namespace) -> int:
    """`seqgan report`: writes one report on the results of all folders."""
    _write_report(
        arguments.folders, arguments.out or arguments.folders[0], arguments.title, plain_console()
    )
    return 0


def _write_report(folders: Sequence[Path], out: Path, title: str | None, console: Console) -> None:
    """Writes the report into `out` and prints the leaderboards."""
    from seqgan_env.bench.leaderboard import KINDS
    from seqgan_env.bench.report import PAGE, TABLES, write_report  # its libraries are an extra
    from seqgan_env.bench.story import left_out

    # The first folder that knows them says title and command.
    about: dict[str, Any] = {}
    for folder in folders:
        if (folder / BENCHMARK).exists():
            about = run_directory.read_json(folder / BENCHMARK)
            break

    def tell(standings: Standings) -> None:
        for kind in standings.kinds:
            entries, unit = standings.entries(kind), KINDS[kind].score.unit
            console.print(_leaderboard(entries, f"Leaderboard, {kind}", unit))
        for sentence in left_out(standings):
            console.print(sentence, highlight=False, soft_wrap=True, markup=False)
        console.print(f"tables: {out / TABLES}", highlight=False, soft_wrap=True)

    title = title or about.get("title", "Benchmark")
    write_report(folders, out, title, about.get("command", []), tell)
    console.print(f"report: {out / PAGE}", highlight=False, soft_wrap=True)


def _leaderboard(entries: Sequence[Entry], title: str, unit: str) -> Table:
    """The rows with scores, outcomes and the user's own metrics for a terminal, the best first."""
    table = Table("", f"score, {unit}", "runs", "against the best knob", title=title)
    own = _own_metrics(entries)
    for task, metric in own:
        table.add_column(f"{metric.removeprefix(MORE)}\n{task}", justify="right")
    for entry in entries:
        label = entry.label
        if entry.role in ("control", "ceiling"):
            label = f"{label} ({entry.role})"
        outcome = _OUTCOMES.get(entry.outcome, entry.outcome)
        cells = []
        for task, metric in own:
            value = entry.mean(metric, task)
            cells.append("" if math.isnan(value) else f"{value:.3f}")
        table.add_row(label, _score(entry), str(len(entry.all_runs)), outcome, *cells)
    return table


def _own_metrics(entries: Sequence[Entry]) -> list[tuple[str, str]]:
    """Task and name of every metric of the user's own that some row has."""
    found: set[tuple[str, str]] = set()
    for entry in entries:
        for task, runs in entry.runs.items():
            for metric in more_of([run.metrics for run in runs]):
                found.add((task, metric))
    return sorted(found)


def _score(entry: Entry) -> str:
    """A score with its interval, where it has one."""
    if entry.score is None:
        return ""
    if math.isnan(entry.score.low):
        return f"{entry.score.value:+.4f}"
    return f"{entry.score.value:+.4f} ({entry.score.low:+.4f} to {entry.score.high:+.4f})"


def evaluate_samples(arguments: argparse.Namespace) -> int:
    """Measures samples, prints the metrics, and writes the row if a benchmark is given."""
    given, path = given_for_samples(arguments), arguments.samples
    settings = settings_of_task(given)
    task = given.get("task") or infer_task(settings)
    label, untold = arguments.label or path.stem, list[str]()
    check_label(label, "the label")  # before data are read
    if arguments.out and label in (BEST_KNOB, REFERENCE):
        raise ValueError(
            f"the label is {label!r}, a row that every benchmark has; give another one, such as "
            '--label "their GAN"'
        )
    check_label(arguments.task_label or task, "the column")
    made = make_task(task, **settings)
    result = result_of_samples(
        path,
        task,
        made,
        label,
        arguments.task_label,
        arguments.seed,
        arguments.nll_gen,
        untold.append,
    )
    real = dict(made.measure_real()) if isinstance(made, MeasuresReal) else {}
    labels, values = {}, {}
    for name, value in result.metrics.items():
        labels[name] = name if arguments.keys else metric_named(name).row.strip()
        values[name] = f"{value:.4f}"
    title = f"{result.label} on {result.task}"
    plain_console().print(metrics_table(title, {"value": values}, labels, real))
    said = result.origin["samples"]
    measured_by = getattr(check_settings(task, settings), "num_eval", None)
    if measured_by is not None:
        said += f"; runs are measured by {measured_by}, and some metrics depend on the number"
    print(said)
    if real:
        print(of_which_parts(real))
    for sentence in untold:
        print(sentence)
    if arguments.out:
        with opened(arguments.out):
            result.write(path_of(arguments.out, result.key))
        print(f"row: {path_of(arguments.out, result.key)}")
    return 0
