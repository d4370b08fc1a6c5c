"""`seqgan explain`: what a run or a benchmark says, in plain words."""

from __future__ import annotations

import argparse
from pathlib import Path

from seqgan_env.cli.output import console
from seqgan_env.training import run_directory
from seqgan_env.training.interpreter import explain, read_evidence


def explain_path(arguments: argparse.Namespace) -> int:
    """`seqgan explain`."""
    path: Path = arguments.path
    screen = console()
    for line in _of_run(path) if is_run(path) else _of_benchmark(path):
        screen.print(line, highlight=False, markup=False)
    return 0


def is_run(path: Path) -> bool:
    """Whether a path is a run directory rather than the folder of a benchmark."""
    return (path / run_directory.CONFIG).is_file()


def _of_run(path: Path) -> list[str]:
    return explain(read_evidence(path)).sentences


def _of_benchmark(path: Path) -> list[str]:
    """Three sentences for each kind of task, and which tasks cannot be ranked."""
    from seqgan_env.bench.leaderboard import Standings  # loads scipy
    from seqgan_env.bench.results import read_all
    from seqgan_env.bench.story import in_short, left_out
    from seqgan_env.files import naming

    results = read_all([path])
    with naming(path):
        standings = Standings(results)
        found = [sentence for kind in standings.kinds for sentence in in_short(standings, kind)]
        return [*found, *left_out(standings)]
