"""Kills runs at random moments, goes on with them, and compares with runs that were left alone.

    python -m benchmarks.kill_and_resume --kills 20 --out benchmarks/results/kill-and-resume.json

Every run is `seqgan train` in a process of its own, killed by SIGKILL at a random moment and
resumed, several times over, until it comes to its end. Then everything that it leaves is compared
with what the same run left undisturbed: weights, samples and knobs byte by byte; the result and the
metrics without their seconds. A run that ends before it was killed as often as it should be is
followed by another one, so that all kills are made.
"""

from __future__ import annotations

import argparse
import csv
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from seqgan_env.training.checkpoint import read_checkpoint
from seqgan_env.training.run_directory import (
    CONFIG,
    METRICS,
    RESULT,
    is_finished,
    read_json,
    versions,
    write_json,
)

SMALL = [
    *("--mle-epochs", "4", "--rounds", "12", "--eval-every", "4", "--num-negatives", "200"),
    *("--batch-size", "16", "--num-rollouts", "2", "--threads", "1", "--num-eval", "1000"),
]
# Knobs take most of such a run; without them more kills come while the agent learns.
LEARNING = ["--rounds", "30", "--no-knobs"]
RUNS: dict[str, list[str]] = {
    "reinforce": ["--agent", "reinforce"],
    "ppo": ["--agent", "ppo", *LEARNING],
    "dqn": ["--agent", "dqn", *LEARNING],
    "reinforce, density ratio": [
        *("--agent", "reinforce", "--discriminator", "ratio", *LEARNING),
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


def run_killed(
    options: list[str], out: Path, seconds: float, kills: int, draw: random.Random
) -> list[str]:
    """The same run, killed up to `kills` times at moments drawn uniformly from what is left of it.

    Returns:
        The phase of the checkpoint that each kill left; "before the first" where there was none.
    """
    phases: list[str] = []
    while not is_finished(out):
        resumes = (out / CONFIG).exists()
        arguments = ["--resume", str(out)] if resumes else [*SMALL, *options, "--out", str(out)]
        process = subprocess.Popen(command(*arguments), stdout=subprocess.DEVNULL)
        try:
            limit = draw.uniform(0.1, 1.0) * seconds if len(phases) < kills else None
            if process.wait(timeout=limit) != 0:
                raise RuntimeError(f"{' '.join(arguments)} ended with code {process.returncode}")
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            state = read_checkpoint(out)
            phases.append("before the first" if state is None else state["phase"])
    return phases


def kill_until(
    options: list[str], folder: Path, seconds: float, kills: int, draw: random.Random
) -> tuple[list[str], list[str]]:
    """As many killed runs as `kills` kills need, each compared with the one in `folder / "whole"`.

    Returns:
        The phases in which they were killed, and what came out otherwise in any of them.
    """
    phases: list[str] = []
    different: list[str] = []
    while len(phases) < kills:
        out = folder / "killed"
        phases += run_killed(options, out, seconds, kills - len(phases), draw)
        different += differences(folder / "whole", out)
        shutil.rmtree(out)
    return phases, different


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
    for number, (name, options) in enumerate(RUNS.items()):
        with tempfile.TemporaryDirectory() as folder:
            seconds = run_whole(options, Path(folder) / "whole")
            draw = random.Random(arguments.seed + number)
            phases, different = kill_until(options, Path(folder), seconds, per_run, draw)
        rows.append(
            {
                "run": name,
                "kills": len(phases),
                "in_phase": Counter(phases),
                "seconds": round(seconds, 1),
                "different": different,
            }
        )
        verdict = "bit-equal" if not different else f"differs in {', '.join(different)}"
        print(f"{name}: {len(phases)} kills, {verdict}; {dict(Counter(phases))}", flush=True)
    if arguments.out:
        write_json(arguments.out, {"runs": rows, "versions": versions()})
    return int(any(row["different"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
