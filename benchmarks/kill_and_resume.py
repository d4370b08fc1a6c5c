"""Kills runs at random moments, goes on with them, and compares with runs that were left alone.

    python -m benchmarks.kill_and_resume --kills 20 --out benchmarks/results/kill-and-resume.json

Every run is `seqgan train` in a process of its own, killed by SIGKILL at a random moment and
resumed, several times over, until it comes to its end. Then everything that it leaves is compared
with what the same run left undisturbed: weights, samples and knobs byte by byte; the result and the
metrics without their seconds.
"""

from __future__ import annotations

import argparse
import csv
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from seqgan_env.training.run_directory import (
    METRICS,
    RESULT,
    is_finished,
    read_json,
    versions,
    write_json,
)

SMALL = [
    *("--mle-epochs", "4", "--rounds", "12", "--eval-every", "4", "--num-negatives", "200"),
    *("--batch-size", "16", "--num-rollouts", "2", "--threads", "1"),
]
RUNS: dict[str, list[str]] = {
    "reinforce": ["--agent", "reinforce"],
    "ppo": ["--agent", "ppo"],
    "dqn": ["--agent", "dqn"],
    "reinforce, density ratio": [
        *("--agent", "reinforce", "--discriminator", "ratio"),
        *("--set-discriminator", "learns_by=both", "--set-discriminator", "mle_epochs=2"),
    ],
}
SAME = ("samples.txt", "knobs.csv")


def command(*arguments: str) -> list[str]:
    """`seqgan train` with these arguments."""
    return [sys.executable, "-m", "seqgan_env.cli", "train", *arguments]


def run_whole(options: list[str], out: Path) -> float:
    """A run that nobody disturbs; its seconds."""
    started = time.perf_counter()
    subprocess.run(
        command(*SMALL, *options, "--out", str(out)), check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - started


def run_killed(options: list[str], out: Path, seconds: float, kills: int, seed: int) -> int:
    """The same run, killed up to `kills` times at moments drawn uniformly; how often it was."""
    draw = random.Random(seed)
    killed = 0
    while not ((out / RESULT).exists() and is_finished(out)):
        resumes = (out / "config.json").exists()
        arguments = ["--resume", str(out)] if resumes else [*SMALL, *options, "--out", str(out)]
        process = subprocess.Popen(command(*arguments), stdout=subprocess.DEVNULL)
        try:
            limit = draw.uniform(0.3, 1.0) * seconds if killed < kills else None
            if process.wait(timeout=limit) != 0:
                raise RuntimeError(f"{' '.join(arguments)} ended with code {process.returncode}")
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
    return killed


def differences(a: Path, b: Path) -> list[str]:
    """The names of what two runs left that is not the same."""
    names = {path.name for run in (a, b) for path in run.glob("*.safetensors")} | set(SAME)
    found = [name for name in sorted(names) if _bytes(a / name) != _bytes(b / name)]
    if _result(a) != _result(b):
        found.append(RESULT)
    if _metrics(a) != _metrics(b):
        found.append(METRICS)
    return found


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _result(run: Path) -> dict[str, Any]:
    return {key: value for key, value in read_json(run / RESULT).items() if key != "seconds"}


def _metrics(run: Path) -> list[dict[str, str]]:
    with (run / METRICS).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in rows]


def main() -> int:
    """Prints a line a run and writes the JSON; 1 if any run came out otherwise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=20, help="of all runs together (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write everything as JSON")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    per_run = -(-arguments.kills // len(RUNS))
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, options) in enumerate(RUNS.items()):
            whole, killed = (Path(folder) / f"{number}-{kind}" for kind in ("whole", "killed"))
            seconds = run_whole(options, whole)
            seed = arguments.seed + number
            kills = run_killed(options, killed, seconds, per_run, seed)
            different = differences(whole, killed)
            rows.append({"run": name, "kills": kills, "seconds": seconds, "different": different})
            verdict = "bit-equal" if not different else f"differs in {', '.join(different)}"
            print(f"{name}: {kills} kills, {verdict}", flush=True)
    if arguments.out:
        write_json(arguments.out, {"runs": rows, "versions": versions()})
    return int(any(row["different"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
