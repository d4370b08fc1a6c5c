r"""What stands of the learned signal if all its tests have one correction (Holm)?

    python -m benchmarks.one_correction \
        benchmarks/results/learned-signal benchmarks/results/learned-signal-cheats \
        benchmarks/results/learned-signal-settings \
        --by-data benchmarks/results/learned-signal-data \
        --real benchmarks/results/english-signal benchmarks/results/captions-signal \
        benchmarks/results/poems-signal benchmarks/results/jigs-signal \
        --page docs/learned-signal-evidence.md [--check]

Every suite corrects its own tests, and so does every corpus. The table has each test that is shown
by that, with its p-value among the tests of all of them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.leaderboard import update_section
from benchmarks.learned_signal import Evidence
from benchmarks.signal_by_data import ByData
from seqgan_env.bench.leaderboard import REAL, Standings
from seqgan_env.bench.results import read_all
from seqgan_env.bench.statistics import ALPHA, Decision, Paired, holm

MARKERS = ("<!-- one-correction:begin -->", "<!-- one-correction:end -->")


@dataclass(frozen=True)
class Tested:
    """A test of any suite.

    Attributes:
        suite: name of its folder.
        what: the task, what is compared, and in what.
        difference: positive where the first is nearer to the truth.
        decision: of the suite's own correction.
    """

    suite: str
    what: str
    difference: Paired
    decision: Decision


def of_oracles(folder: Path, kind: type[Evidence]) -> Iterator[Tested]:
    """The tests of a suite on oracle tasks."""
    for test in kind(Standings(read_all([folder]))).tests:
        what = f"{test.task}: {test.row} against {test.rival}, {test.measure}"
        yield Tested(folder.name, what, test.difference, test.decision)


def of_corpus(folder: Path) -> Iterator[Tested]:
    """The tests of a corpus."""
    for entry in Standings(read_all([folder])).entries(REAL):
        if entry.decision is not None:
            what = f"{entry.label} against the best knob"
            yield Tested(folder.name, what, entry.against, entry.decision)


def section(tests: Sequence[Tested]) -> str:
    """How many tests there are, and a table of those that their own suites show."""
    lines = [
        f"{len(tests)} tests in all.\n",
        "| suite | test | mean | p, alone | p, in its suite | p, among all |",
        "|---|---|---|---|---|---|",
    ]
    among_all = holm([test.difference.p_value for test in tests])
    shown = []
    for test, decision in zip(tests, among_all, strict=True):
        if test.decision.adjusted <= ALPHA:
            shown.append((decision.adjusted, test))
    for adjusted, test in sorted(shown, key=lambda pair: pair[0]):
        p_values = (test.difference.p_value, test.decision.adjusted, adjusted)
        cells = (test.suite, test.what, f"{test.difference.mean:+.4f}")
        lines.append(f"| {' | '.join([*cells, *map(_p_value, p_values)])} |")
    return "\n".join(lines) + "\n"


def _p_value(value: float) -> str:
    return "< 0.0001" if value < 1e-4 else f"{value:.4f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table, or puts it into a page; 1 where a checked page is stale."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("folders", nargs="+", type=Path, metavar="FOLDER", help="of a suite on oracle tasks")
    add("--by-data", type=Path, metavar="FOLDER", help="of `learned-signal-data`")
    add("--real", nargs="+", type=Path, default=[], metavar="FOLDER", help="of a corpus")
    add("--page", type=Path, metavar="FILE", help="whose table is made anew")
    add("--check", action="store_true", help="change nothing")
    chosen = parser.parse_args(arguments)
    tests: list[Tested] = []
    try:
        for folder in chosen.folders:
            tests += of_oracles(folder, Evidence)
        if chosen.by_data:
            tests += of_oracles(chosen.by_data, ByData)
        for folder in chosen.real:
            tests += of_corpus(folder)
    except ValueError as problem:
        print(problem, file=sys.stderr)
        return 2
    return update_section(chosen.page, section(tests), MARKERS, chosen.check, "one_correction")


if __name__ == "__main__":
    sys.exit(main())
