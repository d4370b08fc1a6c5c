r"""Does a learned signal beat every knob? The tables and the picture of the suite `learned-signal`,
with the cheats of `learned-signal-cheats`, the settings of `learned-signal-settings` and the
variants of `learned-signal-variants` beside it.

    # for SUITE in all four; that of cheats asks for --trust
    seqgan bench benchmarks/suites/SUITE.toml --out benchmarks/results/SUITE
    python -m benchmarks.learned_signal benchmarks/results/learned-signal \
        --cheats benchmarks/results/learned-signal-cheats \
        --settings benchmarks/results/learned-signal-settings \
        --variants benchmarks/results/learned-signal-variants \
        --page docs/learned-signal.md --evidence docs/learned-signal-evidence.md \
        --plot docs/images/learned-signal.png --curves docs/images/learned-signal-steps.png

With `--check` in place of the pictures nothing changes, and it fails if a page says something else.

The tables of the signal go to `--page`, the others to `--evidence`. Tables whose page is not named
are printed. Every task is judged by itself. All tests of a benchmark are corrected together (Holm).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.leaderboard import update_section
from seqgan_env.bench.jobs import BEST_KNOB, REFERENCE
from seqgan_env.bench.leaderboard import Run, Standings
from seqgan_env.bench.results import read_all
from seqgan_env.bench.statistics import ALPHA, Decision, Paired, holm, paired
from seqgan_env.metrics.score import RANKING

MARKERS = ("<!-- learned-signal:begin -->", "<!-- learned-signal:end -->")
BESIDE = ("<!-- learned-signal-beside:begin -->", "<!-- learned-signal-beside:end -->")
SIGNAL = "ratio"  # the row whose claim this is
RIVALS = ("distillation", "teacher", "mle, 400 epochs")  # of the same information, or more time
DIVERGENCES = {"kl_mean": "mean of both KLs", "kl_reverse": "KL(G‖O)", "kl_forward": "KL(O‖G)"}
ROLES = {
    SIGNAL: "",
    "distillation": "the same signal, supervised",
    "teacher": "the signal's own model",
    "optimal": "sees the truth",
    "constant reward": "says nothing",
}
OF_SIGNAL, OF_RIVAL, OF_OTHERS = "#c44e52", "#4c72b0", "#777777"  # colours of rows
CURVES = {  # rows that have curves, and how these are drawn
    SIGNAL: ("o-", OF_SIGNAL),
    "distillation": ("o--", OF_RIVAL),
    "optimal": ("o:", OF_OTHERS),
    "learned D": ("o-", "#55a868"),
}
LEFT_OUT_BELOW = -0.12  # nats; the picture marks what is further away at its edge


@dataclass(frozen=True)
class Test:
    """One comparison on one task, positive where the first is nearer to the truth.

    Attributes:
        task: of the comparison.
        row: that is compared.
        rival: with what.
        measure: name of a divergence.
        difference: the rival's divergence less the row's, over seeds.
        decision: whether it differs from 0, corrected for all tests of the page.
    """

    task: str
    row: str
    rival: str
    measure: str
    difference: Paired
    decision: Decision

    @property
    def interval(self) -> str:
        """Mean and interval at the level of the test."""
        low, high = self.difference.interval(self.decision.level)
        return f"{self.difference.mean:+.4f} ({low:+.4f} to {high:+.4f})"

    @property
    def verdict(self) -> str:
        """The decision in a word."""
        if self.decision.adjusted > ALPHA:
            return "no difference shown"
        if self.difference.mean > 0:
            return "nearer to the truth"
        return "further from the truth"


class Evidence:
    """All tests of the benchmark."""

    def __init__(self, standings: Standings) -> None:
        self.standings = standings
        self.tasks = standings.tasks
        planned = list(self.planned())
        differences = [self._difference(*test) for test in planned]
        decisions = holm([difference.p_value for difference in differences])
        self.tests = [
            Test(*test, difference, decision)
            for test, difference, decision in zip(planned, differences, decisions, strict=True)
        ]

    def planned(self) -> Iterator[tuple[str, str, str, str]]:
        """What is compared: task, row, rival and measure."""
        for task in self.tasks:
            rows = self.rows(task)
            for row in rows:
                yield task, row, BEST_KNOB, RANKING.divergence
            if SIGNAL not in rows:
                continue
            for measure in ("kl_reverse", "kl_forward"):
                yield task, SIGNAL, REFERENCE, measure
            for rival in RIVALS:
                yield task, SIGNAL, rival, RANKING.divergence

    def _difference(self, task: str, row: str, rival: str, measure: str) -> Paired:
        own, other = self.values(task, row, measure), self.values(task, rival, measure)
        return paired(other, own)

    def rows(self, task: str) -> list[str]:
        """Rows that were run on a task, the best first."""
        labels = [label for label, of in self.standings.runs if of == task and label != BEST_KNOB]
        return sorted(labels, key=lambda row: self.values(task, row, RANKING.divergence).mean())

    def runs(self, task: str, row: str) -> list[Run]:
        """The runs of a row, by seed in order."""
        return self.standings.runs[row, task]

    def values(self, task: str, row: str, metric: str) -> np.ndarray:
        """A metric of every run of a row, by seed in order."""
        return np.array([run.metrics[metric] for run in self.runs(task, row)])

    def scores(self, task: str, row: str) -> np.ndarray:
        """By seed, how much nearer to the truth a row is than the best knob."""
        best = self.values(task, BEST_KNOB, RANKING.divergence)
        found: np.ndarray = best - self.values(task, row, RANKING.divergence)
        return found

    def curves(self, task: str, row: str) -> tuple[np.ndarray, list[list[dict[str, float]]]]:
        """By evaluation the mean score over seeds, and what every seed's rounds have measured."""
        best = self.values(task, BEST_KNOB, RANKING.divergence)
        curves = [run.result.curve for run in self.runs(task, row)]
        column = f"task/{RANKING.divergence}"
        divergences = np.array([[point[column] for point in curve] for curve in curves])
        return (best[:, None] - divergences).mean(0), curves

    def env_steps_of_a_round(self, task: str) -> float:
        """Tokens that the signal's policy writes in a round."""
        result = self.runs(task, SIGNAL)[0].result
        rounds: int = result.settings["rounds"]
        return result.budget["env_steps"] / rounds

    def against_knob(self, task: str, row: str) -> Test:
        """The test of a row's score."""
        return next(self._found(task, lambda t: (t.row, t.rival) == (row, BEST_KNOB)))

    def of_signal(self, task: str) -> list[Test]:
        """The tests of the signal against anything but the best knob."""
        return list(self._found(task, lambda t: t.rival != BEST_KNOB))

    def _found(self, task: str, wanted: Callable[[Test], bool]) -> Iterator[Test]:
        return (test for test in self.tests if test.task == task and wanted(test))


def section(evidence: Evidence) -> str:
    """The tables of the signal in Markdown."""
    parts = [*_by_task(evidence), "**The ratio against its rivals**\n", _rivals(evidence)]
    return "\n".join(parts)


def section_beside(beside: Mapping[str, Evidence]) -> str:
    """The tables of other benchmarks in Markdown.

    Args:
        beside: the benchmarks, by what their titles begin with.
    """
    parts: list[str] = []
    for what, evidence in beside.items():
        parts += _by_task(evidence, f"{what} on ")
    return "\n".join(parts)


def _by_task(evidence: Evidence, what: str = "") -> Iterator[str]:
    """A title and a table of scores for every task."""
    for task in evidence.tasks:
        yield f"**{what}{task}**, {_num_seeds(evidence, task)} oracles\n"
        yield _scores(evidence, task)


def _num_seeds(evidence: Evidence, task: str) -> int:
    return len(evidence.runs(task, BEST_KNOB))


def _scores(evidence: Evidence, task: str) -> str:
    lines = [
        "| row | score against the best knob (interval) | mean of both KLs | KL(G‖O) | KL(O‖G) |"
        " seeds above 0 | CPU seconds | verdict |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows = evidence.rows(task)
    num_better = sum(evidence.scores(task, row).mean() > 0 for row in rows)
    rows.insert(num_better, BEST_KNOB)
    for row in rows:
        means = [f"{evidence.values(task, row, name).mean():.4f}" for name in DIVERGENCES]
        cells = [_label(row), "0", *means, "–", "–", "the zero of the score"]
        if row != BEST_KNOB:
            test = evidence.against_knob(task, row)
            scores = evidence.scores(task, row)
            seconds = [run.result.costs["cpu_seconds"] for run in evidence.runs(task, row)]
            cells[1] = test.interval
            cells[5:] = [f"{(scores > 0).sum()} of {len(scores)}", f"{np.mean(seconds):.0f}"]
            cells.append(test.verdict)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _label(row: str) -> str:
    role = ROLES.get(row)
    name = row
    if row == SIGNAL:
        name = f"**{row}**"
    if role:
        return f"{name} ({role})"
    return name


def _rivals(evidence: Evidence) -> str:
    lines = [
        "| task | rival | in | gain of the ratio (interval) | verdict |",
        "|---|---|---|---|---|",
    ]
    for task in evidence.tasks:
        for test in evidence.of_signal(task):
            measure = DIVERGENCES[test.measure]
            cells = (task, test.rival, measure, test.interval, test.verdict)
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def plot(evidence: Evidence) -> Figure:
    """Scores by row: a dot for every oracle, a diamond and a bar for mean and interval."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    panels = figure.subplots(1, len(evidence.tasks), squeeze=False)[0]
    for axes, task in zip(panels, evidence.tasks, strict=True):
        _draw(axes, evidence, task)
    figure.suptitle("How much nearer to the truth than the best knob of maximum likelihood?")
    return figure


def _draw(axes: Axes, evidence: Evidence, task: str) -> None:
    rows = evidence.rows(task)[::-1]
    for place, row in enumerate(rows):
        scores = evidence.scores(task, row)
        colour = _colour(row)
        if scores.mean() > LEFT_OUT_BELOW:
            seen = scores[scores >= LEFT_OUT_BELOW]
            num_left_out = len(scores) - len(seen)
            if num_left_out:  # the mean counts them, or it would seem to lie beside its dots
                note = f"◀ {num_left_out} further left"
                at = (LEFT_OUT_BELOW, place + 0.28)
                axes.text(*at, note, va="center", color=colour, fontsize=7)
            test = evidence.against_knob(task, row)
            interval = test.difference.interval(test.decision.level)
            draw_scores(axes, place, seen, float(scores.mean()), interval, colour)
        else:
            note = f"◀ {scores.mean():+.2f}"
            axes.text(LEFT_OUT_BELOW, place, note, va="center", color=colour)
    axes.axvline(0, color="black", linewidth=1)
    axes.set_xlim(LEFT_OUT_BELOW, None)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_title(f"{task}, {_num_seeds(evidence, task)} oracles")
    axes.set_xlabel("score, nats per token")
    axes.grid(axis="x", alpha=0.3)


def draw_scores(
    axes: Axes,
    place: int,
    scores: np.ndarray,
    mean: float,
    interval: tuple[float, float],
    colour: str,
) -> None:
    """A row of scores at the height `place`: their dots, the interval as a bar, the mean as a
    diamond.
    """
    axes.plot(scores, np.full(len(scores), place), "o", color=colour, alpha=0.35)
    axes.plot(interval, [place, place], "-", color=colour, linewidth=2.5)
    axes.plot([mean], [place], "D", color=colour, markersize=7)


def plot_curves(evidence: Evidence) -> Figure:
    """Scores by environment steps and by seconds, means over oracles, a row of panels a task."""
    figure = Figure(figsize=(10, 3.4 * len(evidence.tasks) + 0.6), layout="constrained")
    panels = figure.subplots(len(evidence.tasks), 2, sharey="row", squeeze=False)
    for (left, right), task in zip(panels, evidence.tasks, strict=True):
        for row, (style, colour) in CURVES.items():
            draw_curve(left, right, evidence, task, row, style, colour)
        left.set_ylabel("score, nats per token")
        left.set_title(f"{task}, {_num_seeds(evidence, task)} oracles", loc="left")
        left.set_ylim(LEFT_OUT_BELOW, None)
        finish_curves(left, right)
    lines = panels[0][0].get_legend_handles_labels()
    figure.legend(*lines, loc="outside lower center", ncols=len(CURVES), frameon=False)
    return figure


def draw_curve(
    left: Axes,
    right: Axes,
    evidence: Evidence,
    task: str,
    row: str,
    style: str,
    colour: str,
    label: str = "",
) -> None:
    """The mean score of a row by environment steps (left) and by seconds of wall clock (right).

    A row that writes nothing in the environment, such as `distillation`, stands where the signal
    has learned from as many tokens.
    """
    scores, curves = evidence.curves(task, row)
    steps = [point["round"] * evidence.env_steps_of_a_round(task) / 1e6 for point in curves[0]]
    # The median, for a busy machine makes some seeds slow.
    seconds = np.median([[point["seconds"] for point in curve] for curve in curves], axis=0)
    for axes, at in ((left, steps), (right, seconds)):
        axes.plot(at, scores, style, color=colour, label=label or row, markersize=3)


def finish_curves(left: Axes, right: Axes) -> None:
    """Labels, a grid and the line of the best knob."""
    for axes in (left, right):
        axes.axhline(0, color="black", linewidth=1)
        axes.grid(alpha=0.3)
    left.set_xlabel("environment steps (tokens learned from), millions")
    right.set_xlabel("seconds of wall clock, training before the rounds counted")


def _colour(row: str) -> str:
    if row == SIGNAL:
        return OF_SIGNAL
    if row in RIVALS:
        return OF_RIVAL
    return OF_OTHERS


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the tables, or puts them into pages; 1 where a checked page is stale."""
    chosen = _chosen(arguments)
    try:
        evidence = Evidence(Standings(read_all([chosen.folder])))
        beside = {}
        for what, folder in _folders_beside(chosen).items():
            beside[what] = Evidence(Standings(read_all([folder])))
    except ValueError as problem:
        print(problem, file=sys.stderr)
        return 2
    if chosen.plot:
        plot(evidence).savefig(chosen.plot, dpi=110)
    if chosen.curves:
        plot_curves(evidence).savefig(chosen.curves, dpi=110)
    updates = [(chosen.page, section(evidence), MARKERS)]
    if beside:
        updates.append((chosen.evidence, section_beside(beside), BESIDE))
    statuses = [update_section(*update, chosen.check, "learned_signal") for update in updates]
    return max(statuses)


def _chosen(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What the command line asks for; a flag that would be ignored is refused."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of the benchmark")
    parser.add_argument("--cheats", type=Path, metavar="FOLDER", help="of the benchmark of cheats")
    parser.add_argument("--settings", type=Path, metavar="FOLDER", help="of that of settings")
    parser.add_argument("--variants", type=Path, metavar="FOLDER", help="of that of variants")
    parser.add_argument("--page", type=Path, metavar="FILE", help="whose tables are made anew")
    parser.add_argument(
        "--evidence",
        type=Path,
        metavar="FILE",
        help="whose tables of the benchmarks beside it are made anew",
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="the picture, a PNG")
    parser.add_argument("--curves", type=Path, metavar="FILE", help="the curves, a PNG")
    parser.add_argument("--check", action="store_true", help="change nothing")
    chosen = parser.parse_args(arguments)
    if chosen.evidence and not _folders_beside(chosen):
        parser.error("--evidence has no tables to show; give --cheats, --settings or --variants")
    if chosen.check and not (chosen.page or chosen.evidence):
        parser.error("--check has no page to check; give --page, --evidence or both")
    if chosen.check and (chosen.plot or chosen.curves):
        parser.error(
            "--check changes nothing, so that a picture would be ignored: give no --plot "
            "and no --curves"
        )
    return chosen


def _folders_beside(chosen: argparse.Namespace) -> dict[str, Path]:
    """The folders of the benchmarks beside the signal's, by what their titles begin with."""
    folders = {"cheats": chosen.cheats, "settings": chosen.settings, "variants": chosen.variants}
    return {what: folder for what, folder in folders.items() if folder}


if __name__ == "__main__":
    sys.exit(main())
