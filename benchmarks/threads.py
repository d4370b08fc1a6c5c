r"""What does a second thread bring to every agent, and a second process to a benchmark?

    python -m benchmarks.threads [--quick] [--size default|paper] [--out FILE.json]

Every agent trains some rounds of Algorithm 1 with one thread and with two, each in a process of its
own; a gain is how many times as fast its g-step is with two. Then one and two processes with one
thread each train at once, which is what `seqgan bench --workers 2` does. Both are asked at the
default size and at the paper's vocabulary and length. The machine must be idle:
threads of one process wait for each other, so that one busy core stops both.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.measuring import gemm_gflops, in_own_process, machine, memory_bandwidth
from seqgan_env.training.run_directory import write_json
from seqgan_env.training.settings import settings_from
from seqgan_env.training.trainer import Trainer

AGENTS = (
    *("reinforce", "rloo", "rank", "maligan", "raft", "grpo", "sequence_ppo", "actor_critic"),
    *("ppo", "a2c", "trpo", "maskable_ppo", "recurrent_ppo", "dqn", "qrdqn"),
    *("seqgan", "pg_bleu"),
)
WARM_UP = 2  # rounds that are not counted


@dataclass(frozen=True)
class Size:
    """Settings of a run, by the name that the table has."""

    name: str
    settings: dict[str, Any]


_OF_PAPER = {
    "task": "oracle-paper",
    "num_real": 500,
    "num_validation": 200,
    "num_held_out": 200,
    "num_negatives": 500,
    "batch_size": 64,
    "rounds": 6,
}
SIZES = {
    "default": Size("default", {"task": "oracle-tiny", "rounds": 12}),
    "paper": Size("V 5000, T 20", _OF_PAPER),
}


def seconds_of_rounds(agent: str, settings: dict[str, Any]) -> dict[str, float]:
    """Median seconds of an agent's g-step and of the d-step in this process."""
    rounds = settings["rounds"]
    common = {
        "agent": agent,
        "knobs": False,
        "control": False,
        "mle_epochs": 1,
        "d_pretrain_epochs": 1,
        "eval_every": rounds,
    }
    trainer = Trainer(settings_from("tiny", common | settings))
    found: dict[str, list[float]] = {"time/g_steps": [], "time/d_steps": []}

    def note(row: dict[str, float]) -> None:
        for name, seconds in found.items():
            if name in row and row["round"] > WARM_UP:
                seconds.append(row[name])

    trainer.on_row = note
    trainer()
    return {name: statistics.median(seconds) for name, seconds in found.items() if seconds}


def limits() -> dict[str, float]:
    """The machine's rates in this process: products in GFLOP/s and memory in GB/s."""
    return {"gemm": gemm_gflops(), "memory": memory_bandwidth() / 1e9}


def by_threads(agents: Sequence[str], sizes: Sequence[Size]) -> list[dict[str, Any]]:
    """A row for every agent, size and number of threads."""
    rows = []
    jobs = [(size, agent, threads) for size in sizes for agent in agents for threads in (1, 2)]
    for size, agent, threads in track(jobs, "threads", console=Console(stderr=True)):
        settings = size.settings | {"threads": threads}
        found = in_own_process(seconds_of_rounds, agent, settings, threads=threads)
        rows.append({"size": size.name, "agent": agent, "threads": threads} | found)
    return rows


def by_processes(sizes: Sequence[Size], largest: int = 2) -> list[dict[str, Any]]:
    """A row for every size and number of processes at once, the mean over processes."""
    rows = []
    jobs = [(size, num) for size in sizes for num in range(1, largest + 1)]
    for size, num in track(jobs, "processes", console=Console(stderr=True)):
        one = partial(in_own_process, seconds_of_rounds, "reinforce", size.settings)
        with ThreadPoolExecutor(num) as pool:
            found = [future.result() for future in [pool.submit(one) for _ in range(num)]]
        means = {name: statistics.fmean(row[name] for row in found) for name in found[0]}
        rows.append({"size": size.name, "processes": num} | means)
    return rows


def show(document: dict[str, Any]) -> list[Table]:
    """Gains of two threads by agent, then of two processes."""
    of_threads = {(r["size"], r["agent"], r["threads"]): r for r in document["threads"]}
    sizes = list(dict.fromkeys(size for size, _, _ in of_threads))
    table = Table(title="seconds of a g-step with one thread, and the gain of a second")
    table.add_column("agent")
    for size in sizes:
        table.add_column(size, justify="right")
        table.add_column("gain", justify="right")
    for agent in dict.fromkeys(agent for _, agent, _ in of_threads):
        cells = []
        for size in sizes:
            one, two = (of_threads[size, agent, n]["time/g_steps"] for n in (1, 2))
            cells += [f"{one:.3f}", f"{one / two:.2f}"]
        table.add_row(agent, *cells)
    cells = []
    for size in sizes:
        agent = next(iter(of_threads))[1]
        one, two = (of_threads[size, agent, n]["time/d_steps"] for n in (1, 2))
        cells += [f"{one:.3f}", f"{one / two:.2f}"]
    table.add_row("(a d-step)", *cells)

    together = Table(title="seconds in one process, and in each of two at once")
    for name in ("size", "g-step", "of two", "d-step", "of two"):
        together.add_column(name, justify="left" if name == "size" else "right")
    of_processes = {(r["size"], r["processes"]): r for r in document["processes"]}
    for size in sizes:
        cells = []
        for part in ("time/g_steps", "time/d_steps"):
            cells += [f"{of_processes[size, num][part]:.3f}" for num in (1, 2)]
        together.add_row(size, *cells)
    return [table, together]


def main() -> int:
    """Measures, prints two tables, writes the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two agents, the default size")
    parser.add_argument("--size", choices=SIZES, help="this size alone")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where the seconds go")
    chosen = parser.parse_args()
    agents: Sequence[str] = AGENTS
    sizes = list(SIZES.values())
    if chosen.size:
        sizes = [SIZES[chosen.size]]
    if chosen.quick:
        agents, sizes = AGENTS[:2], [SIZES["default"]]
    document: dict[str, Any] = {"machine": machine()}
    document["limits"] = {threads: in_own_process(limits, threads=threads) for threads in (1, 2)}
    document["threads"] = by_threads(agents, sizes)
    document["processes"] = by_processes(sizes)
    console = Console(width=140)
    console.print(document["limits"])
    for table in show(document):
        console.print(table)
    if chosen.out:
        write_json(chosen.out, document)
    return 0


if __name__ == "__main__":
    sys.exit(main())
