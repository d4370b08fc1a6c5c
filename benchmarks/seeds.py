r"""The same `seqgan train` over several seeds: means with standard errors, and paired differences
with 95 % intervals.

    python -m benchmarks.seeds --seeds 5 --out benchmarks/results/seeds-avx512.json \
        [-- arguments of seqgan train]

Of a task with real data it also tells how sure the metrics of the first seed are (95 % bootstrap
intervals over sentences) and shows ten samples. Every seed is a process of its own with one torch
thread. A finished seed is kept in --runs and not repeated. A failed run fails.
"""

from __future__ import annotations

import argparse
import math
import shlex
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from scipy import stats

from benchmarks.runs import add_arguments, train_all
from seqgan_env.metrics.catalogue import TABLE
from seqgan_env.metrics.score import RANKING, REFEREED
from seqgan_env.training.run_directory import read_weights, versions, write_json
from seqgan_env.training.trainer import load_run
from seqgan_env.types import Estimate, HasEstimates

POLICIES = {
    "mle": "MLE (best validation)",
    "best_knob": "best knob of MLE",
    "constant": "constant reward",
    "agent": "agent",
}
NUM_SAMPLES = 10
_IN_TABLE = [metric.name for metric in TABLE]

Cell = tuple[float, float]


def summarise(results: Sequence[dict[str, Any]]) -> dict[str, dict[str, Cell]]:
    """By policy and metric the mean and its standard error over seeds."""
    metrics = [name for name in _IN_TABLE if all(name in result["agent"] for result in results)]
    policies = [name for name in POLICIES if all(name in result for result in results)]
    return {
        p: {name: mean_and_error([r[p][name] for r in results]) for name in metrics}
        for p in policies
    }


def paired(results: Sequence[dict[str, Any]], other: str, metric: str) -> dict[str, float]:
    """The agent minus another policy of the same seed: mean, standard error and the 95 %
    t-interval.
    """
    mean, error = mean_and_error([r["agent"][metric] - r[other][metric] for r in results])
    half = float(stats.t.ppf(0.975, len(results) - 1)) * error
    return {"mean": mean, "standard_error": error, "low": mean - half, "high": mean + half}


def mean_and_error(values: Sequence[float]) -> Cell:
    """The mean and its standard error over seeds."""
    return statistics.mean(values), statistics.stdev(values) / math.sqrt(len(values))


def estimates_of(run: Path) -> dict[str, dict[str, Estimate]]:
    """By policy the metrics of a run with bootstrap intervals; empty where the task gives none."""
    settings, task, agent = load_run(run)
    if not isinstance(task, HasEstimates):
        return {}
    found = {}
    for name, file in (("mle", "mle"), ("agent", "policy")):
        agent.policy.load_state_dict(read_weights(run / f"{file}.safetensors"))  # type: ignore[attr-defined]
        rng = torch.Generator(device=settings.device).manual_seed(settings.seed + 1)
        found[name] = dict(task.estimates(agent.policy, rng))
    return found


def samples_of(run: Path) -> dict[str, list[str]]:
    """By policy the first samples of a run."""
    found: dict[str, list[str]] = {}
    for line in (run / "samples.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            lines: list[str] = []
            found[line[3:]] = lines
        elif line and len(lines) < NUM_SAMPLES:
            lines.append(line)
    return found


def markdown(table: dict[str, dict[str, Cell]]) -> str:
    """The table, one row a metric."""
    lines = [
        "| | " + " | ".join(POLICIES[policy] for policy in table) + " |",
        "|---" * (len(table) + 1) + "|",
    ]
    for name in next(iter(table.values())):
        cells = [
            f"{mean:.4f} ± {error:.4f}" for mean, error in (table[policy][name] for policy in table)
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def markdown_of_estimates(estimates: dict[str, dict[str, Estimate]]) -> str:
    """The metrics of one seed with their intervals, one row a metric."""
    lines = ["| one seed, 95 % interval over sentences | MLE | agent |", "|---|---|---|"]
    for name in _IN_TABLE:
        if name in estimates["agent"]:
            cells = [
                f"{e.value:.3f} ({e.low:.3f} to {e.high:.3f})"
                for e in (estimates[p][name] for p in ("mle", "agent"))
            ]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def markdown_of_samples(samples: dict[str, list[str]]) -> str:
    """The samples of MLE and of the agent, as lists."""
    parts = [
        f"{POLICIES[policy]}:\n\n" + "\n".join(f"- {line}" for line in samples[policy])
        for policy in ("mle", "agent")
    ]
    return "\n\n".join(parts)


def main() -> None:
    """Runs the seeds, prints the tables and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--seeds", type=int, default=5, metavar="N", help="seeds 0..N-1, 2 or more (default: 5)"
    )
    add_arguments(parser, "runs/seeds")
    parser.add_argument("train", nargs="*", help="arguments of seqgan train, after --")
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error(f"--seeds is {arguments.seeds}; a standard error needs 2 or more")
    runs = arguments.runs or Path("runs/seeds")
    jobs = {
        runs / f"seed-{seed}": [*arguments.train, "--seed", str(seed)]
        for seed in range(arguments.seeds)
    }
    results = list(train_all(jobs, arguments.workers, "seeds").values())
    table = summarise(results)
    print(markdown(table))
    divergence = RANKING.divergence
    if divergence not in table["agent"]:  # real data: the referee judges
        divergence = REFEREED.divergence
    differences = {
        f"{m}, agent - {other}": paired(results, other, m)
        for m in (divergence, "nll_gen")
        for other in ("mle", "best_knob", "constant")
        if other in table
    }
    for name, d in differences.items():
        print(
            f"{name}: {d['mean']:+.4f} (SE {d['standard_error']:.4f}, 95 % [{d['low']:+.4f}, "
            f"{d['high']:+.4f}])"
        )
    seconds = [sum(r["seconds"].values()) for r in results]
    print(
        f"seconds a seed on one thread: {statistics.median(seconds):.0f} (range "
        f"{min(seconds):.0f}..{max(seconds):.0f})"
    )
    estimates, samples = estimates_of(runs / "seed-0"), samples_of(runs / "seed-0")
    if estimates:
        print(f"\n{markdown_of_estimates(estimates)}\n\n{markdown_of_samples(samples)}")
    if arguments.out:
        command = f"python -m benchmarks.seeds --seeds {arguments.seeds}" + (
            f" -- {shlex.join(arguments.train)}" if arguments.train else ""
        )
        content = {
            "command": command,
            "versions": versions(),
            "table": table,
            "differences": differences,
            "results": results,
        }
        content["estimates"] = {
            p: {name: asdict(e) for name, e in found.items()} for p, found in estimates.items()
        }
        content["samples"] = samples
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(arguments.out, content)


if __name__ == "__main__":
    main()
