r"""Does a learned signal teach on real data? The tables and the picture of the suites
`text-signal`, `captions-signal`, `poems-signal` and `music-signal`, judged by the referee.

    python -m benchmarks.signal_on_data \
        benchmarks/results/english-signal benchmarks/results/captions-signal \
        benchmarks/results/poems-signal benchmarks/results/jigs-signal \
        --page docs/learned-signal-evidence.md --plot docs/images/learned-signal-real.png [--check]

Every folder is a corpus of its own, whose tests are corrected together (Holm).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.leaderboard import section, update_section
from benchmarks.learned_signal import OF_OTHERS, OF_RIVAL, OF_SIGNAL, draw_scores
from seqgan_env.bench.leaderboard import REAL, Entry, Standings
from seqgan_env.bench.results import read_all

MARKERS = ("<!-- real-data:begin -->", "<!-- real-data:end -->")
COLOURS = {"ratio": OF_SIGNAL, "ratio and likelihood": OF_SIGNAL, "distillation": OF_RIVAL}


def plot(folders: Sequence[Path]) -> Figure:
    """Scores by row, a panel for each corpus: a dot for every seed, a diamond and a bar for mean
    and interval.
    """
    figure = Figure(figsize=(4 * len(folders) + 1, 3.2), layout="constrained")
    panels = figure.subplots(1, len(folders), squeeze=False)[0]
    for axes, folder in zip(panels, folders, strict=True):
        entries = Standings(read_all([folder])).entries(REAL)
        _draw(axes, entries[::-1])
        axes.set_title(folder.resolve().name.removesuffix("-signal"))
    figure.suptitle("How much nearer to real data than the best knob of maximum likelihood?")
    return figure


def _draw(axes: Axes, entries: Sequence[Entry]) -> None:
    for place, entry in enumerate(entries):
        score, scores = entry.score, entry.scores
        if score is None or scores is None:
            continue
        colour = COLOURS.get(entry.label, OF_OTHERS)
        interval = (score.low, score.high)
        draw_scores(axes, place, scores.ravel(), score.value, interval, colour)
    axes.axvline(0, color="black", linewidth=1)
    axes.set_yticks(range(len(entries)), [entry.label for entry in entries])
    axes.set_xlabel("score, share of ln 2")
    axes.grid(axis="x", alpha=0.3)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the tables, or puts them into a page; 1 where a checked page is stale."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="of a benchmark")
    parser.add_argument("--page", type=Path, metavar="FILE", help="whose tables are made anew")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="the picture, a PNG")
    parser.add_argument("--check", action="store_true", help="change nothing")
    chosen = parser.parse_args(arguments)
    try:
        tables = section(chosen.folders)
    except ValueError as problem:
        print(problem, file=sys.stderr)
        return 2
    if chosen.plot and not chosen.check:
        plot(chosen.folders).savefig(chosen.plot, dpi=110)
    return update_section(chosen.page, tables, MARKERS, chosen.check, "signal_on_data")


if __name__ == "__main__":
    sys.exit(main())
