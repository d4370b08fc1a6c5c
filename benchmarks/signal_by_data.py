r"""How does the gain of the learned signal depend on the number of real sequences?

    seqgan bench benchmarks/suites/learned-signal-data.toml \
        --out benchmarks/results/learned-signal-data
    seqgan bench benchmarks/suites/learned-signal-stopped.toml \
        --out benchmarks/results/learned-signal-stopped
    python -m benchmarks.signal_by_data benchmarks/results/learned-signal-data \
        --stopped benchmarks/results/learned-signal-stopped \
        --beside benchmarks/results/learned-signal \
        --page docs/learned-signal-evidence.md --plot docs/images/learned-signal-data.png \
        --curves docs/images/learned-signal-curves.png
    # fails if the page says something else
    python -m benchmarks.signal_by_data benchmarks/results/learned-signal-data \
        --stopped benchmarks/results/learned-signal-stopped \
        --page docs/learned-signal-evidence.md --check

Two tests a task, corrected together (Holm): the ratio against the best knob, and against
distillation, which has the same information and no reward.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.leaderboard import update_section
from benchmarks.learned_signal import (
    DIVERGENCES,
    SIGNAL,
    Evidence,
    Test,
    draw_curve,
    finish_curves,
)
from seqgan_env.bench.jobs import BEST_KNOB, REFERENCE
from seqgan_env.bench.leaderboard import Standings
from seqgan_env.bench.results import read_all
from seqgan_env.metrics.score import RANKING

BEGIN, END = "<!-- learned-signal-data:begin -->", "<!-- learned-signal-data:end -->"
RIVAL = "distillation"
ROWS = {SIGNAL: "#c44e52", RIVAL: "#4c72b0", REFERENCE: "#777777"}  # and their colours
CURVES = {SIGNAL: "o-", RIVAL: "o--"}  # and how their curves are drawn
TASK = "oracle-tiny"  # on which the number of real sequences is changed


class ByData(Evidence):
    """The two tests of every task, the task with the fewest real sequences first."""

    def __init__(self, standings: Standings) -> None:
        super().__init__(standings)
        self.tasks = sorted(self.tasks, key=self.num_real)

    def planned(self) -> Iterator[tuple[str, str, str, str]]:
        """What is compared: task, row, rival and measure."""
        for task in self.tasks:
            for rival in (BEST_KNOB, RIVAL):
                yield task, SIGNAL, rival, RANKING.divergence

    def num_real(self, task: str) -> int:
        """Real sequences of a task."""
        number: int = self._settings(task)["task_options"]["num_real"]
        return number

    def has_default_policy(self, task: str) -> bool:
        """Whether the policy of a task has as many units as the default one."""
        return "hidden_dim" not in self._settings(task)["agent_options"]

    def is_of(self, task: str, name: str) -> bool:
        """Whether a task of the benchmark is the task `name` with settings."""
        return bool(self._settings(task)["task"] == name)

    def test(self, task: str, rival: str) -> Test:
        """The test of the signal against a rival."""
        return next(test for test in self.tests if (test.task, test.rival) == (task, rival))

    def _settings(self, task: str) -> Mapping[str, Any]:
        return self.runs(task, SIGNAL)[0].result.settings


def section(evidence: ByData, stopped: ByData | None = None) -> str:
    """The tables in Markdown: what each row reached, the tests, and early stopping beside them."""
    parts = [_rows(evidence), _tests(evidence)]
    if stopped:
        parts.append(_stopped(evidence, stopped))
    return "\n".join(parts)


def _stopped(evidence: ByData, stopped: ByData) -> str:
    """Scores of the last round and of the round that is best on validation data."""
    lines = [
        "| task | row | score, last round | score, best round on validation |"
        " by oracle, last | by oracle, best |",
        "|---|---|---|---|---|---|",
    ]
    for task in stopped.tasks:
        for row in (SIGNAL, RIVAL):
            scores = [which.scores(task, row) for which in (evidence, stopped)]
            means = [f"{found.mean():+.4f}" for found in scores]
            each = [", ".join(f"{score:+.3f}" for score in found) for found in scores]
            lines.append(f"| {' | '.join([task, row, *means, *each])} |")
    return "\n".join(lines) + "\n"


def _rows(evidence: ByData) -> str:
    lines = [
        "| task | row | score against the best knob | mean of both KLs | KL(G‖O) | KL(O‖G) |"
        " oracles above 0 | CPU seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for task in evidence.tasks:
        for row in [*ROWS, BEST_KNOB]:
            means = [f"{evidence.values(task, row, name).mean():.4f}" for name in DIVERGENCES]
            scores, seconds = ["0", *means, "–"], "–"
            if row != BEST_KNOB:
                found = evidence.scores(task, row)
                above = f"{(found > 0).sum()} of {len(found)}"
                scores = [f"{found.mean():+.4f}", *means, above]
                costs = [run.result.costs["cpu_seconds"] for run in evidence.runs(task, row)]
                seconds = f"{np.mean(costs):.0f}"
            lines.append(f"| {' | '.join([task, row, *scores, seconds])} |")
    return "\n".join(lines) + "\n"


def _tests(evidence: ByData) -> str:
    lines = ["| task | the ratio against | gain (interval) | verdict |", "|---|---|---|---|"]
    for task in evidence.tasks:
        for rival in (BEST_KNOB, RIVAL):
            test = evidence.test(task, rival)
            lines.append(f"| {task} | {rival} | {test.interval} | {test.verdict} |")
    return "\n".join(lines) + "\n"


def plot(evidence: ByData) -> Figure:
    """Scores by the number of real sequences: a dot for every oracle, a line through the means."""
    figure = Figure(figsize=(7.5, 4.4), layout="constrained")
    axes = figure.subplots()
    tasks = []
    for task in evidence.tasks:
        if evidence.is_of(task, TASK) and evidence.has_default_policy(task):
            tasks.append(task)
    for row, colour in ROWS.items():
        _curve(axes, evidence, tasks, row, colour)
    axes.axhline(0, color="black", linewidth=1)
    numbers = [evidence.num_real(task) for task in tasks]
    axes.set_xscale("log")
    axes.set_xticks(numbers, [f"{number:,}" for number in numbers])
    axes.minorticks_off()
    axes.set_xlabel("real sequences")
    axes.set_ylabel("score, nats per token")
    axes.set_title("How much nearer to the truth than the best knob?")
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    return figure


def _curve(axes: Axes, evidence: ByData, tasks: list[str], row: str, colour: str) -> None:
    numbers, means = [], []
    for task in tasks:
        scores = evidence.scores(task, row)
        number = evidence.num_real(task)
        axes.plot(np.full(len(scores), number), scores, "o", color=colour, alpha=0.3, markersize=4)
        numbers.append(number)
        means.append(scores.mean())
    axes.plot(numbers, means, "D-", color=colour, label=row)


def plot_curves(evidence: ByData) -> Figure:
    """Scores by environment steps and by seconds of wall clock, a colour for every task."""
    figure = Figure(figsize=(10, 5.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for number, task in enumerate(evidence.tasks):
        for row, style in CURVES.items():
            label = f"{task}, {row}"
            draw_curve(left, right, evidence, task, row, style, f"C{number}", label)
    finish_curves(left, right)
    right.set_xscale("log")
    left.set_ylabel("score against the best knob, nats per token")
    lines = left.get_legend_handles_labels()  # the same on the right
    figure.legend(*lines, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the tables, or puts them into a page; 1 where a checked page is stale."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of the benchmark")
    parser.add_argument(
        "--beside", type=Path, metavar="FOLDER", help="another one, whose points are drawn too"
    )
    parser.add_argument(
        "--stopped", type=Path, metavar="FOLDER", help="the same tasks, their best rounds kept"
    )
    parser.add_argument("--page", type=Path, metavar="FILE", help="whose tables are made anew")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="the picture, a PNG")
    parser.add_argument("--curves", type=Path, metavar="FILE", help="the curves, a PNG")
    parser.add_argument("--check", action="store_true", help="change nothing")
    chosen = parser.parse_args(arguments)
    try:
        evidence = ByData(Standings(read_all([chosen.folder])))
        stopped = None
        if chosen.stopped:
            stopped = ByData(Standings(read_all([chosen.stopped])))
        if chosen.curves and not chosen.check:
            plot_curves(evidence).savefig(chosen.curves, dpi=110)
        if chosen.plot and not chosen.check:
            folders = [chosen.folder]
            if chosen.beside:
                folders.append(chosen.beside)
            plot(ByData(Standings(read_all(folders)))).savefig(chosen.plot, dpi=110)
    except ValueError as problem:
        print(problem, file=sys.stderr)
        return 2
    made = section(evidence, stopped)
    return update_section(chosen.page, made, (BEGIN, END), chosen.check, "signal_by_data")


if __name__ == "__main__":
    sys.exit(main())
