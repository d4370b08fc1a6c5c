"""The same `seqgan train` over several seeds: means with standard errors, and paired differences with 95 % intervals.

    python -m benchmarks.seeds --seeds 5 --out benchmarks/results/oracle-tiny.json [-- arguments of seqgan train]

Every seed is a process of its own with one torch thread. A finished seed is kept in --runs and not repeated. A failed run fails.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import statistics
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.progress import track

from seqgan_env.run_directory import versions, write_json

POLICIES = {
    "mle": "MLE (best validation)",
    "mle_at_temperature": "MLE at the agent's nll_gen",
    "constant": "constant reward",
    "agent": "agent",
}
METRICS = ("nll_oracle", "nll_gen", "entropy", "kl_reverse", "kl_forward", "effective_vocabulary", "frontier_gain")
T_95 = {
    2: 12.706,
    3: 4.303,
    4: 3.182,
    5: 2.776,
    6: 2.571,
    7: 2.447,
    8: 2.365,
    9: 2.306,
    10: 2.262,
}  # two-sided, by number of seeds


def run_seed(seed: int, runs: Path, arguments: Sequence[str]) -> dict[str, Any]:
    """The result of one seed, from its run directory if it is there already."""
    path = runs / f"seed-{seed}"
    if not (path / "result.json").exists():
        command = [
            sys.executable,
            "-m",
            "seqgan_env.cli",
            "train",
            "--seed",
            str(seed),
            "--threads",
            "1",
            "--force",
            "--out",
            str(path),
        ]
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"seed {seed} failed with code {done.returncode}: {done.stderr.strip()}")
    result: dict[str, Any] = json.loads((path / "result.json").read_text(encoding="utf-8"))
    return result


def summarise(results: Sequence[dict[str, Any]]) -> dict[str, dict[str, tuple[float, float]]]:
    """By policy and metric the mean and its standard error over seeds."""
    table: dict[str, dict[str, tuple[float, float]]] = {}
    for policy in POLICIES:
        table[policy] = {metric: mean_and_error([r[policy][metric] for r in results]) for metric in METRICS}
    return table


def paired(results: Sequence[dict[str, Any]], other: str, metric: str) -> dict[str, float]:
    """The agent minus another policy of the same seed: mean, standard error and the 95 % t-interval."""
    mean, error = mean_and_error([r["agent"][metric] - r[other][metric] for r in results])
    half = T_95[len(results)] * error
    return {"mean": mean, "standard_error": error, "low": mean - half, "high": mean + half}


def markdown(table: dict[str, dict[str, tuple[float, float]]]) -> str:
    """The table, one row a policy."""
    lines = ["| | " + " | ".join(METRICS) + " |", "|---" * (len(METRICS) + 1) + "|"]
    for policy, label in POLICIES.items():
        cells = [f"{mean:.3f} ± {error:.3f}" for mean, error in (table[policy][metric] for metric in METRICS)]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean and its standard error over seeds."""
    return statistics.mean(values), statistics.stdev(values) / math.sqrt(len(values))


def main() -> None:
    """Runs the seeds, prints the tables and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=5, choices=sorted(T_95), metavar="N", help="seeds 0..N-1 (default: 5)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="processes at a time (default: 2)")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs/seeds"), metavar="DIR", help="run directories (default: runs/seeds)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write everything as JSON")
    parser.add_argument("train", nargs="*", help="arguments of seqgan train, after --")
    arguments = parser.parse_args()
    with ThreadPoolExecutor(arguments.workers) as pool:
        jobs = [pool.submit(run_seed, seed, arguments.runs, arguments.train) for seed in range(arguments.seeds)]
        results = [job.result() for job in track(jobs, "seeds")]
    table = summarise(results)
    print(markdown(table))
    differences = {
        f"{m}, agent - {other}": paired(results, other, m) for m in ("nll_oracle", "nll_gen") for other in ("mle", "constant")
    }
    for name, d in differences.items():
        print(f"{name}: {d['mean']:+.3f} (SE {d['standard_error']:.3f}, 95 % [{d['low']:+.3f}, {d['high']:+.3f}])")
    seconds = [sum(r["seconds"].values()) for r in results]
    print(f"seconds a seed on one thread: {statistics.median(seconds):.0f} (range {min(seconds):.0f}..{max(seconds):.0f})")
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        command = f"python -m benchmarks.seeds --seeds {arguments.seeds}" + (
            f" -- {shlex.join(arguments.train)}" if arguments.train else ""
        )
        content = {"command": command, "versions": versions(), "table": table, "differences": differences, "results": results}
        write_json(arguments.out, content)


if __name__ == "__main__":
    main()
