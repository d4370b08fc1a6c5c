"""The command `seqgan sweep`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from seqgan_env.bench.jobs import read_suite
from seqgan_env.cli.arguments import trust_of
from seqgan_env.files import naming
from seqgan_env.screen import plain_console
from seqgan_env.sweep.plan import Plan, plan_of
from seqgan_env.sweep.report import BEST, PAGE, TRIALS, table, write_results
from seqgan_env.sweep.study import FAILED, RowStudy, Searched
from seqgan_env.training import run_directory
from seqgan_env.training.interrupts import interruptible, uninterruptible

DATABASE = "sweep.db"


def sweep(arguments: argparse.Namespace) -> int:
    """`seqgan sweep`: runs the trials that are missing, and writes what was found."""
    suite = read_suite(arguments.suite, trust_of(arguments))
    with naming(f"suite {arguments.suite}"):
        plan = plan_of(suite)
    folder: Path = arguments.out or Path("runs") / f"{arguments.suite.stem}-sweep"
    console = plain_console()

    def tell(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    with run_directory.locked(folder, "`seqgan sweep`"), interruptible():
        storage = arguments.storage or f"sqlite:///{folder / DATABASE}"
        studies = []
        for row in plan.spaces:
            studies.append(RowStudy(plan, row, storage, folder, arguments.workers, tell))
        interrupted = False
        try:
            for study in studies:
                study.run(arguments.trials or plan.settings.trials)
        except KeyboardInterrupt:
            interrupted = True
        with uninterruptible():
            found = [study.found() for study in studies]
            write_results(plan, found, folder)
    for each in found:
        console.print(table(each))
    _conclude(plan, found, folder, tell_of=console)
    if interrupted:
        print("seqgan: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    has_failed = any(trial.outcome == FAILED for each in found for trial in each.trials)
    return 1 if has_failed else 0


def _conclude(plan: Plan, found: list[Searched], folder: Path, tell_of: Console) -> None:
    for each in found:
        failed = sum(trial.outcome == FAILED for trial in each.trials)
        if failed:
            tell_of.print(
                f"{each.row}: {failed} trials failed; why stands in {folder / 'failures'}",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
    tell_of.print(
        f"all trials: {folder / PAGE} and {folder / TRIALS}\n"
        f"seqgan bench {folder / BEST} reports the chosen settings, on seeds from "
        f"{plan.seeds.stop}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
