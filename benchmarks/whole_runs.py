r"""Whole runs of `seqgan train` before and now, in turns: what did all that was made faster bring?

    python -m benchmarks.whole_runs --before CHECKOUT [--corpus FILE] [--music FOLDER]
        [--only NAME ...] [--repeats N] [--out FILE.json]

CHECKOUT is a folder with an earlier commit, its kernels built. Every workload runs there, here, and
here without kernels ("torch"), on one thread, with settings that all three know. A run has phases,
which it times itself; the table has those that all three have. Knobs are measured and the referee
judges outside of them. The limit is the time that the machine's measured rate of matrix products
needs for the products of these phases (`benchmarks/costs.py`); it is known for the oracle task.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.costs import Cost, Costs
from benchmarks.measuring import Limits, machine, torch_threads
from seqgan_env import native
from seqgan_env.discriminators.cnn import SMALL_CNN
from seqgan_env.tasks.oracle.settings import OracleSettings
from seqgan_env.training.run_directory import read_json, write_json

HERE = Path(__file__).resolve().parent.parent
PHASES = {"pretrain": "MLE", "adversarial": "rounds", "constant": "constant reward"}
MLE_EPOCHS, ROUNDS, BATCH, NUM_ROLLOUTS, NUM_NEGATIVES, D_PRETRAIN_EPOCHS = 20, 160, 256, 4, 2000, 6
ROUTES = ("before", "torch", "now")


@dataclass(frozen=True)
class Workload:
    """A command line of `seqgan train`, by the name that the table has."""

    name: str
    arguments: tuple[str, ...]


def workloads(corpus: Path | None, music: Path | None) -> list[Workload]:
    """The runs that are compared; text and music are the built-in ones where no file is given."""
    text = ("--corpus", str(corpus.resolve())) if corpus else ()
    tunes = ("--corpus", str(music.resolve())) if music else ()
    oracle = ("--mle-epochs", str(MLE_EPOCHS), "--rounds", str(ROUNDS))
    # Defaults of these tasks have changed meanwhile.
    sizes = ("--batch-size", "64", "--num-rollouts", "4", "--num-negatives", "1000")
    short = ("--rounds", "20", "--eval-every", "20", "--no-control", *sizes)
    of_text = ("--max-length", "20", "--mle-epochs", "3", *short)
    return [
        Workload("oracle-tiny", oracle),
        Workload("oracle-tiny, ppo", (*oracle, "--agent", "ppo", "--no-control")),
        Workload("text", ("--task", "text", *text, *of_text)),
        Workload("music", ("--task", "music", *tunes, "--mle-epochs", "6", *short)),
    ]


def seconds_of(route: str, checkout: Path, workload: Workload) -> dict[str, float]:
    """Seconds of the phases of a run, and the agent's `nll_gen`.

    Raises:
        RuntimeError: the run failed.
    """
    knobs = "--no-frontier" if route == "before" else "--no-knobs"  # it had another name
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [sys.executable, "-m", "seqgan_env.cli", "train", *workload.arguments]
        command += [knobs, "--threads", "1", "--seed", "0", "--out", str(run)]
        environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
        if route == "torch":
            environment[native.SETTING] = "torch"
        done = subprocess.run(
            command, cwd=checkout, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{workload.name}, {route}: {done.stderr[-2000:]}")
        result = read_json(run / "result.json")
    found = {name: seconds for name, seconds in result["seconds"].items() if name in PHASES}
    return found | {"nll_gen": result["agent"]["nll_gen"]}


def cost_of_the_oracle_run() -> Cost:
    """The products of the phases of the first workload, the constant reward's rounds without D."""
    settings = OracleSettings()
    costs = Costs(settings.vocab_size, settings.seq_len, SMALL_CNN)
    negatives = costs.writing(NUM_NEGATIVES * settings.seq_len)
    d_step = negatives + costs.discriminator_epoch(2 * NUM_NEGATIVES)
    tokens = BATCH * settings.seq_len
    return (
        costs.likelihood_epoch(settings.num_real, 64) * MLE_EPOCHS
        + negatives
        + costs.discriminator_epoch(2 * NUM_NEGATIVES) * D_PRETRAIN_EPOCHS
        + (costs.g_step(BATCH, NUM_ROLLOUTS) + d_step) * ROUNDS
        + costs.writing(tokens) * 4 * ROUNDS
    )


def measured(work: Sequence[Workload], before: Path, repeats: int) -> Iterator[dict[str, Any]]:
    """A row for every run, the routes of a workload one behind the other in every turn."""
    runs = list(product(range(repeats), work, ROUTES))
    for number, (turn, workload, route) in enumerate(runs, start=1):
        print(f"run {number} of {len(runs)}: {workload.name}, {route}", file=sys.stderr, flush=True)
        checkout = before if route == "before" else HERE
        found = seconds_of(route, checkout, workload)
        yield {"workload": workload.name, "turn": turn, "route": route} | found


def total(
    rows: Sequence[dict[str, Any]], workload: str, route: str, phases: Iterable[str] = PHASES
) -> list[float]:
    """Seconds of the phases together, by turn."""
    own = [row for row in rows if (row["workload"], row["route"]) == (workload, route)]
    return [sum(row.get(phase, 0.0) for phase in phases) for row in own]


def show(rows: Sequence[dict[str, Any]], limit: float) -> Table:
    """Medians over turns; ratios are medians of the ratios of a turn."""
    table = Table(title=f"seconds; the machine's products need {limit:.1f} s for oracle-tiny")
    for name in ("run", *ROUTES, "before / now", "torch / now", "nll_gen before, torch, now"):
        table.add_column(name, justify="left" if name == "run" else "right")
    for workload in dict.fromkeys(row["workload"] for row in rows):
        of_routes = {route: total(rows, workload, route) for route in ROUTES}
        cells = [f"{statistics.median(seconds):.1f}" for seconds in of_routes.values()]
        for route in ("before", "torch"):
            pairs = zip(of_routes[route], of_routes["now"], strict=True)
            cells.append(f"{statistics.median(a / b for a, b in pairs):.2f}")
        first = [row for row in rows if row["workload"] == workload and row["turn"] == 0]
        cells.append(", ".join(f"{row['nll_gen']:.3f}" for row in first))
        table.add_row(workload, *cells)
    return table


def main() -> int:
    """Runs everything, prints the table, writes the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--before", type=Path, required=True, metavar="CHECKOUT")
    parser.add_argument("--corpus", type=Path, metavar="FILE", help="of the text task")
    parser.add_argument("--music", type=Path, metavar="FOLDER", help="of MIDI files")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="workloads; else all of them")
    parser.add_argument("--repeats", type=int, default=2, metavar="N", help="turns")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where the seconds go")
    chosen = parser.parse_args()
    if not (chosen.before / "seqgan_env").is_dir():
        parser.error(f"--before {chosen.before} is no checkout of this project")
    work = workloads(chosen.corpus, chosen.music)
    if chosen.only:
        names = [workload.name for workload in work]
        unknown = set(chosen.only) - set(names)
        if unknown:
            parser.error(f"--only {', '.join(unknown)}: the workloads are {', '.join(names)}")
        work = [workload for workload in work if workload.name in chosen.only]
    torch_threads(1)
    limits = Limits.measured()
    rows = []
    for row in measured(work, chosen.before, chosen.repeats):
        rows.append(row)
        save(chosen.out, limits, rows)  # what is measured is not lost if the rest is never run
    limits = limits.best_with(Limits.measured())
    save(chosen.out, limits, rows)
    Console(width=150).print(show(rows, limit_of_the_oracle_run(limits)))
    return 0


def save(path: Path | None, limits: Limits, rows: Sequence[dict[str, Any]]) -> None:
    """Writes what was measured, where a file is wanted."""
    if path:
        document = {
            "machine": machine(),
            "gemm": limits.gemm,
            "limit": limit_of_the_oracle_run(limits),
            "rows": rows,
        }
        write_json(path, document)


def limit_of_the_oracle_run(limits: Limits) -> float:
    """Seconds that the machine needs for the products of the first workload."""
    limit, _ = cost_of_the_oracle_run().floor(limits)
    return limit


if __name__ == "__main__":
    sys.exit(main())
