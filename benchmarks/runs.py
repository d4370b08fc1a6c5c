"""Training runs as processes of their own: what several benchmarks are made of."""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.progress import track

from seqgan_env.training.run_directory import CONFIG, RESULT, read_json


def train(path: Path, arguments: Sequence[str]) -> dict[str, Any]:
    """The result of `seqgan train` with these arguments, on one torch thread; of the finished run
    at `path` if there is one.

    Raises:
        SystemExit: the run fails, or the one at `path` had other arguments.
    """
    command = [
        sys.executable,
        "-m",
        "seqgan_env.cli",
        "train",
        *arguments,
        "--threads",
        "1",
        "--force",
        "--out",
        str(path),
    ]
    if (path / RESULT).exists():
        before = read_json(path / CONFIG)["command"][2:-2]
        if before != command[4:-2]:
            raise SystemExit(
                f"{path} is a run with other arguments ({' '.join(before)}); choose another folder "
                "with --runs"
            )
        return read_json(path / RESULT)
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        raise SystemExit(f"{path.name} failed with code {done.returncode}: {done.stderr.strip()}")
    return read_json(path / RESULT)


def train_all(
    jobs: Mapping[Path, Sequence[str]], workers: int, title: str
) -> dict[Path, dict[str, Any]]:
    """The results of runs by directory, `workers` of them at a time, under a progress bar."""
    with ThreadPoolExecutor(workers) as pool:
        running = {path: pool.submit(train, path, arguments) for path, arguments in jobs.items()}
        return {path: job.result() for path, job in track(running.items(), title)}


def read_rows(path: Path, text: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The rows of a CSV file of a run, numbers but for the columns `text`; what a row lacks is left
    out.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        {key: value if key in text else float(value) for key, value in row.items() if value}
        for row in rows
    ]


def add_arguments(parser: argparse.ArgumentParser, runs: str) -> None:
    """The options that every benchmark of several runs has; `runs` says where the runs go by
    default.
    """
    parser.add_argument(
        "--workers", type=int, default=2, metavar="N", help="processes at a time (default: 2)"
    )
    parser.add_argument(
        "--runs",
        type=Path,
        metavar="DIR",
        help=f"run directories, finished ones are kept (default: {runs})",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write everything as JSON")
