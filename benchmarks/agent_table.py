"""Every agent on oracle-tiny from the same pre-trained policy, with the exact optimal reward and with the learned one.

    python -m benchmarks.agent_table --seeds 5 --rounds 40 --out benchmarks/results/agents.json

All agents of a seed start from one MLE policy and write the same number of sequences. "optimal" asks whether an algorithm can
exploit a perfect signal, "discriminator" what is left of that when the signal is learned. The constant reward is the control.
A job is one process with one torch thread; what is finished in --runs is not repeated. A failed job fails the whole.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

from benchmarks.seeds import mean_and_error
from seqgan_env.adversarial import evaluate_task, pretrain_policy, train_adversarial
from seqgan_env.metrics.frontier import TEMPERATURES, Frontier
from seqgan_env.plugins import control_options
from seqgan_env.run_directory import read_json, read_weights, versions, write_json, write_weights
from seqgan_env.settings import TrainSettings
from seqgan_env.train import at_temperature, build_agent, build_task

AGENTS = ("reinforce", "ppo", "a2c", "dqn", "trpo", "recurrent_ppo", "maskable_ppo")
OPTIONS = {"reinforce": {"learning_rate": 3e-4}}  # as gentle as the defaults of the others, for the same question
SOURCES = ("optimal", "discriminator")
COLUMNS = ("nll_oracle", "nll_gen", "frontier_gain", "effective_vocabulary", "seconds")


def pretrain(seed: int, runs: Path) -> None:
    """The MLE policy of a seed, its metrics and its temperature frontier."""
    if (runs / f"mle-{seed}.json").exists():
        return
    torch.set_num_threads(1)
    settings = TrainSettings(seed=seed)
    task = build_task(settings)
    agent, _ = build_agent(settings, task, "constant")
    started = time.perf_counter()
    pretrain_policy(agent, task, settings.mle_epochs, keep_best=True)
    seconds = time.perf_counter() - started
    metrics = evaluate_task(agent.policy, task, seed, "cpu")
    curve = [{"temperature": t} | evaluate_task(at_temperature(agent.policy, t), task, seed, "cpu") for t in TEMPERATURES]
    write_weights(runs / f"mle-{seed}.safetensors", agent.policy.state_dict())  # type: ignore[attr-defined]
    write_json(runs / f"mle-{seed}.json", {"metrics": metrics | {"seconds": seconds}, "frontier": curve})


def train(agent_name: str, source: str, seed: int, rounds: int, runs: Path) -> None:
    """One job: the agent from the seed's MLE policy, `rounds` rounds, its metrics."""
    path = runs / f"{agent_name}-{source}-{rounds}-{seed}.json"
    if path.exists():
        return
    torch.set_num_threads(1)
    options = OPTIONS.get(agent_name, {})
    if source == "constant":
        options = options | control_options(agent_name)
    settings = TrainSettings(seed=seed, agent=agent_name, rounds=rounds, eval_every=rounds, agent_options=options)
    task = build_task(settings)
    agent, rewards = build_agent(settings, task, source)
    agent.policy.load_state_dict(read_weights(runs / f"mle-{seed}.safetensors"))  # type: ignore[attr-defined]
    started = time.perf_counter()
    for _ in train_adversarial(agent, rewards, settings.schedule(), seed):
        pass
    seconds = time.perf_counter() - started
    metrics = evaluate_task(agent.policy, task, seed, "cpu")
    write_json(path, {"metrics": metrics | {"seconds": seconds}})


def with_gain(metrics: dict[str, float], curve: Sequence[dict[str, float]]) -> dict[str, float]:
    """The metrics and the gain over the seed's temperature frontier."""
    frontier = Frontier.from_points(*([row[k] for row in curve] for k in ("temperature", "nll_gen", "nll_oracle")))
    return metrics | {"frontier_gain": frontier.gain(metrics["nll_gen"], metrics["nll_oracle"])}


def collect(agents: Sequence[str], seeds: int, rounds: int, runs: Path) -> dict[str, list[dict[str, float]]]:
    """Metrics by row of the table, one dict a seed."""
    rows: dict[str, list[dict[str, float]]] = {}
    for seed in range(seeds):
        mle = read_json(runs / f"mle-{seed}.json")
        rows.setdefault("mle", []).append(with_gain(mle["metrics"], mle["frontier"]))
        for source, name in [("constant", "reinforce"), *((s, a) for s in SOURCES for a in agents)]:
            metrics = read_json(runs / f"{name}-{source}-{rounds}-{seed}.json")["metrics"]
            rows.setdefault(f"{name}, {source}", []).append(with_gain(metrics, mle["frontier"]))
    return rows


def table(rows: dict[str, list[dict[str, float]]]) -> str:
    """Markdown: means with standard errors, and the paired difference of nll_oracle from MLE in standard errors."""
    lines = ["| agent, source | " + " | ".join(COLUMNS) + " | against MLE |", "|---" * (len(COLUMNS) + 2) + "|"]
    for name, results in rows.items():
        cells = [_cell(column, [r[column] for r in results]) for column in COLUMNS]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {_against(results, rows['mle']) if name != 'mle' else ''} |")
    return "\n".join(lines)


def _cell(column: str, values: Sequence[float]) -> str:
    if column == "seconds":
        return f"{statistics.median(values):.0f}"
    mean, error = mean_and_error(values)
    return f"{mean:.1f} ± {error:.1f}" if column == "effective_vocabulary" else f"{mean:.3f} ± {error:.3f}"


def _against(results: Sequence[dict[str, float]], mle: Sequence[dict[str, float]]) -> str:
    mean, error = mean_and_error([r["nll_oracle"] - m["nll_oracle"] for r, m in zip(results, mle, strict=True)])
    return f"{mean:+.3f} ({mean / error if error else math.nan:+.1f} SE)"


def main() -> None:
    """Runs what is missing, prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="seeds 0..N-1 (default: 5)")
    parser.add_argument("--rounds", type=int, default=40, metavar="N", help="g-steps of 256 sequences (default: 40)")
    parser.add_argument("--agents", nargs="+", default=list(AGENTS), metavar="NAME", help="agents (default: all)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="processes at a time (default: 2)")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs/agents"), metavar="DIR", help="results of jobs (default: runs/agents)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write everything as JSON")
    arguments = parser.parse_args()
    arguments.runs.mkdir(parents=True, exist_ok=True)
    seeds, rounds, runs = range(arguments.seeds), arguments.rounds, arguments.runs
    with ProcessPoolExecutor(arguments.workers, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        for job in track([pool.submit(pretrain, seed, runs) for seed in seeds], "pre-training"):
            job.result()
        wanted = [("reinforce", "constant"), *((a, s) for s in SOURCES for a in arguments.agents)]
        jobs = [pool.submit(train, agent, source, seed, rounds, runs) for seed in seeds for agent, source in wanted]
        for job in track(jobs, "training"):
            job.result()
    rows = collect(arguments.agents, arguments.seeds, rounds, runs)
    print(table(rows))
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        command = f"python -m benchmarks.agent_table --seeds {arguments.seeds} --rounds {rounds}"
        content: dict[str, Any] = {"command": command, "versions": versions(), "table": table(rows).splitlines(), "rows": rows}
        write_json(arguments.out, content)


if __name__ == "__main__":
    main()
