"""The leaderboards of the README and of docs/results.md, from the results of benchmarks.

    python -m benchmarks.leaderboard benchmarks/results/controls --short
    # fails if the README says something else
    python -m benchmarks.leaderboard benchmarks/results/controls --short --check

What stands between the two markers of the README is replaced; the rest of it stays. Every folder
has a table of its own, since what cost differently is not to be ranked together.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from seqgan_env.bench.leaderboard import JUDGED, KINDS, ORACLE, Entry, Standings
from seqgan_env.bench.results import read_all
from seqgan_env.bench.tables import Column, Table
from seqgan_env.files import MIB, read_text
from seqgan_env.training.run_directory import write_text

BEGIN, END = "<!-- leaderboard:begin -->", "<!-- leaderboard:end -->"


def section(folders: Sequence[Path], short: bool = False) -> str:
    """A table for every folder and kind of task, with what the score is; `short` has fewer columns
    and verdicts in few words.

    The referee's board of an oracle task is left out where the exact divergences rank every row.

    Raises:
        ValueError: a folder has no results, or one is damaged.
    """
    boards = [(folder, Standings(read_all([folder]))) for folder in folders]
    parts = []
    for folder, standings in boards:
        for kind in standings.kinds:
            if kind != JUDGED or _is_needed(standings):
                board = _short_board if short else _board
                parts.append(board(folder.resolve().name, standings, kind))
    return "\n".join(parts)


def _is_needed(standings: Standings) -> bool:
    """Whether the referee's board has a row that the exact divergences cannot rank."""
    ranked = {entry.label for entry in standings.entries(ORACLE) if entry.score is not None}
    return any(entry.label not in ranked for entry in standings.entries(JUDGED))


def replaced(text: str, section: str, begin: str = BEGIN, end: str = END) -> str:
    """The text with `section` between two markers.

    Raises:
        ValueError: it does not have each marker once, the first one first.
    """
    before, has_begin, rest = text.partition(begin)
    between, has_end, after = rest.partition(end)
    if not has_begin or not has_end or begin in between + after or end in before + after:
        raise ValueError(f"expected one {begin} and after it one {end}")
    return f"{before}{begin}\n{section}{end}{after}"


def rewrite(page: Path, old: str, new: str, check: bool, program: str) -> int:
    """Makes a page that says `old` say `new`, or only checks that they are the same.

    Returns:
        the exit status, 1 where a check finds the page stale.
    """
    if new == old:
        return 0
    if check:
        print(f"{page} is stale; python -m benchmarks.{program} makes it anew", file=sys.stderr)
        return 1
    write_text(page, new)
    return 0


def update_section(
    page: Path | None, section: str, markers: tuple[str, str], check: bool, program: str
) -> int:
    """Puts a section between two markers of a page, or only checks that it stands there; prints it
    where there is no page.

    Returns:
        the exit status, 1 where a check finds the page stale, 2 where the page cannot be used.
    """
    if page is None:
        print(section)
        return 0
    try:
        old = read_text(page, f"the page {page}", MIB)
        new = replaced(old, section, *markers)
    except ValueError as problem:
        print(problem, file=sys.stderr)
        return 2
    return rewrite(page, old, new, check, program)


def _board(title: str, standings: Standings, kind: str) -> str:
    of, tasks, entries = KINDS[kind], standings.tasks_of(kind), standings.entries(kind)
    shown = [metric for metric in of.beside if metric not in _LEFT_OUT.get(kind, _WIDTH)]
    metrics = [(task, metric) for task in tasks for metric in shown]
    columns = [
        Column("row"),
        Column("score (interval)", "+.4f"),
        *(Column(_title(metric, task, tasks)) for task, metric in metrics),
    ]
    rows = [
        [e.label, e.score, *(e.mean(metric, task) for task, metric in metrics), e.verdict]
        for e in entries
    ]
    table = Table(
        "", "", "", [*columns, Column("verdict")], rows, [entry.mark for entry in entries]
    )
    return (
        f"**{title}**, {', '.join(tasks)}: the {of.score.divergence} of the best knob of maximum "
        "likelihood less that of the "
        f"row, in {of.score.unit}, the mean over {_seeds(entries)} seeds; positive is nearer to "
        "the truth. An interval has the "
        "level of its verdict (Holm's correction, 5 % for the whole "
        f"benchmark).{_NOTES.get(kind, '')}\n\n{table.markdown()}"
    )


def _short_board(_: str, standings: Standings, kind: str) -> str:
    of, tasks, entries = KINDS[kind], standings.tasks_of(kind), standings.entries(kind)
    distances = [(task, of.score.divergence) for task in tasks]
    columns = [
        Column("row"),
        Column("score (interval)", "+.4f"),
        *(Column(_title(metric, task, tasks)) for task, metric in distances),
        Column("against the best knob"),
    ]
    rows = [
        [
            entry.label,
            entry.score,
            *(entry.mean(metric, task) for task, metric in distances),
            _IN_FEW_WORDS.get(entry.outcome, entry.outcome),
        ]
        for entry in entries
    ]
    table = Table("", "", "", columns, rows, [entry.mark for entry in entries])
    return (
        f"How much nearer to the truth than the best knob of maximum likelihood each row is on "
        f"{', '.join(tasks)}, in {of.score.unit}, over {_seeds(entries)} seeds. "
        f"{of.score.divergence} is its distance from the truth. Several rows are judged at once, "
        f"so the intervals are wider than single ones.\n\n{table.markdown()}"
    )


_IN_FEW_WORDS = {
    "reference": "is the best knob",
    "better": "nearer to the truth",
    "worse": "further from the truth",
    "same": "no difference shown",
    "one run": "one run shows nothing",
    "infinite": "infinitely far",
}


# Of what stands beside the score in a report, what a narrow table has no room for.
_WIDTH = ("effective_vocabulary",)
_LEFT_OUT = {JUDGED: (*_WIDTH, "nll_oracle")}


_NOTES = {
    JUDGED: (
        " The referee judges by samples alone: some of these rows have no likelihoods, and no "
        "other score."
    )
}


def _title(metric: str, task: str, tasks: Sequence[str]) -> str:
    return f"{metric}, {task}" if len(tasks) > 1 else metric


def _seeds(entries: Sequence[Entry]) -> int:
    return max(len(runs) for entry in entries for runs in entry.runs.values())


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrites or checks the README; 0 if it is as the results have it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folders",
        nargs="+",
        type=Path,
        metavar="FOLDER",
        help="of a benchmark, with results/*.json",
    )
    parser.add_argument("--readme", type=Path, default=Path("README.md"), metavar="FILE")
    parser.add_argument(
        "--check",
        action="store_true",
        help="change nothing; exit with 1 if the leaderboard is stale",
    )
    parser.add_argument(
        "--short", action="store_true", help="fewer columns, and verdicts in few words"
    )
    chosen = parser.parse_args(arguments)
    try:
        old = chosen.readme.read_text(encoding="utf-8")
        new = replaced(old, section(chosen.folders, chosen.short))
    except (OSError, ValueError) as problem:
        print(f"{chosen.readme}: {problem}", file=sys.stderr)
        return 2
    return rewrite(chosen.readme, old, new, chosen.check, "leaderboard")


if __name__ == "__main__":
    sys.exit(main())
