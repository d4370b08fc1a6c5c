r"""What turning a knob makes of trained agents, too: the rival of an agent that beats every knob of
maximum likelihood is another agent, turned.

    python -m benchmarks.turned_agents benchmarks/suites/learned-signal.toml \
        --task "tiny, 1,000 sequences" --rows ratio distillation \
        --out benchmarks/results/turned-agents.json

Trains the rows of a suite anew, with their seeds, and measures every knob of the policy that each
ends with. The best knob is chosen and valued on different draws, as for maximum likelihood. Jobs
that the JSON has are not repeated.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

from seqgan_env.bench.jobs import Job, read_suite
from seqgan_env.generators.knobs import UNTURNED, MeasuresKnobs
from seqgan_env.metrics.score import RANKING, best_knob
from seqgan_env.training.run_directory import read_json, versions, write_json
from seqgan_env.training.trainer import Trainer

MEASURE = RANKING.divergence


def turned(job: Job) -> dict[str, Any]:
    """The divergence of a job's agent as it is and at its best knob.

    Raises:
        ValueError: its task cannot measure knobs, or none has a finite divergence.
    """
    torch.set_num_threads(1)
    trainer = Trainer(job.settings)
    trainer()
    rows, best = measured_knobs(trainer.task, trainer.agent.policy, job.settings.seed + 1)
    return {
        "row": job.label,
        "seed": job.settings.seed,
        "as it is": rows[UNTURNED.name][MEASURE],
        "turned": rows[best][MEASURE],
        "knob": best,
    }


def measured_knobs(task: Any, policy: Any, seed: int) -> tuple[dict[str, dict[str, float]], str]:
    """Every knob of a policy by its name, with its metrics; and the name of the best.

    Raises:
        ValueError: the task cannot measure knobs, or none has a finite divergence.
    """
    if not isinstance(task, MeasuresKnobs):
        raise ValueError(f"a task {type(task).__name__} cannot measure knobs")
    knobs = task.knobs_of(policy, ())
    measured = task.measure_knobs(policy, knobs, seed)
    rows = {knob.name: row for knob, row in zip(knobs, measured, strict=True)}
    best = best_knob(rows, RANKING)
    if best is None:
        raise ValueError("no knob of the policy has a finite divergence")
    return rows, best


def table(runs: Sequence[dict[str, Any]]) -> str:
    """The mean over seeds of every row."""
    lines = [f"| row | seeds | {MEASURE} as it is | at its best knob |", "|---|---|---|---|"]
    for row in sorted({run["row"] for run in runs}):
        of_row = [run for run in runs if run["row"] == row]
        means = [statistics.mean(run[name] for run in of_row) for name in ("as it is", "turned")]
        lines.append(f"| {row} | {len(of_row)} | {means[0]:.4f} | {means[1]:.4f} |")
    return "\n".join(lines)


def main() -> None:
    """Runs what is missing, prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("suite", type=Path, metavar="SUITE")
    parser.add_argument("--task", required=True, metavar="NAME", help="of the suite")
    parser.add_argument("--rows", nargs="+", required=True, metavar="ROW", help="of the suite")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    chosen = parser.parse_args()
    runs: list[dict[str, Any]] = read_json(chosen.out)["runs"] if chosen.out.exists() else []
    done = {(run["row"], run["seed"]) for run in runs}
    jobs = []
    for job in read_suite(chosen.suite).jobs():
        wanted = job.task == chosen.task and job.label in chosen.rows
        if wanted and (job.label, job.settings.seed) not in done:
            jobs.append(job)
    if not jobs and not runs:
        parser.error(f"{chosen.suite} has no row of {chosen.rows} on a task {chosen.task!r}")
    for job in track(jobs, "training"):
        runs.append(turned(job))
        write_json(chosen.out, {"task": chosen.task, "runs": runs, "versions": versions()})
    print(table(runs))


if __name__ == "__main__":
    main()
