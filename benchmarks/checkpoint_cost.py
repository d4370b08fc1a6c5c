"""The share of a run's time that saving its checkpoints takes, measured within that run.

    python -m benchmarks.checkpoint_cost --out benchmarks/results/checkpoint-cost.json

A run counts the seconds that it spends on its state, on serialising it and until the disk has it.
Two runs side by side would tell less: they differ by more than that.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from seqgan_env.training.checkpoint import LAST
from seqgan_env.training.run_directory import versions, write_json
from seqgan_env.training.settings import settings_from
from seqgan_env.training.trainer import Trainer

SMALL = {"rounds": 40, "batch_size": 16, "num_rollouts": 2, "num_negatives": 200}
RUNS: dict[str, dict[str, Any]] = {
    "oracle-tiny, as by default": {},
    "text, as by default": {"task": "text"},
    "ppo, 40 small rounds": {"agent": "ppo"} | SMALL,
    "dqn, 40 small rounds": {"agent": "dqn"} | SMALL,
}
ALLOWED = 0.02  # of a run's time


class Counting(Trainer):
    """Counts its checkpoints."""

    num_saved = 0

    def _save(self) -> None:
        self.num_saved += 1
        super()._save()


def measured(options: dict[str, Any]) -> dict[str, float]:
    """Trains as `seqgan train` does by default; what saving took of it."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        trainer = Counting(settings_from("tiny", options), checkpoints=Path(folder))
        run = trainer()
        seconds = time.perf_counter() - started
        size = (Path(folder) / LAST).stat().st_size
    saving = run.seconds["checkpoints"]
    return {
        "seconds": round(seconds, 1),
        "checkpoints": trainer.num_saved,
        "saving": round(saving, 3),
        "share": round(saving / seconds, 5),
        "megabytes": round(size / 1e6, 2),
    }


def main() -> int:
    """Prints a line a run and writes the JSON; 1 if any run's share is too large."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", choices=list(RUNS), nargs="+", help="runs (default: all)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write everything as JSON")
    arguments = parser.parse_args()
    found = {}
    for name in arguments.only or RUNS:
        found[name] = measured(RUNS[name])
        print(f"{name}: {found[name]}", flush=True)
    if arguments.out:
        write_json(arguments.out, {"runs": found, "versions": versions()})
    return int(any(row["share"] > ALLOWED for row in found.values()))


if __name__ == "__main__":
    sys.exit(main())
