"""What works on a GPU and how fast: tests, every work item of `benchmarks.speed`, a round, the
published run.

    python -m benchmarks.gpu_check --out benchmarks/results/gpu.json
    python -m benchmarks.gpu_check --device cpu --quick            (a dry run without a GPU)

Under eight minutes on a data-centre GPU. Every item is ours and plain torch on the same device, the
median of several turns, beside the device's measured limits of matrix products and memory. The
published run is begun with `seqgan train`'s own trainer and extrapolated. Variants do the same work
step by step and as a CUDA graph, with `--compile` by torch.compile too. What fails is written down
and does not stop the rest; the exit code is 1 then.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.costs import Cost
from benchmarks.measuring import Limits, commit
from benchmarks.speed import ITEMS, QUICK, Bench, Sizes
from seqgan_env import DiscriminatorTrainer
from seqgan_env.generators.sampling import _TorchSoftmax
from seqgan_env.machine import processor
from seqgan_env.streams import RowStreams
from seqgan_env.training.adversarial import Schedule, train_adversarial
from seqgan_env.training.run_directory import versions, write_json
from seqgan_env.training.settings import settings_from
from seqgan_env.training.trainer import Trainer

GOAL_SECONDS = 15 * 60  # of the published run
Found = dict[str, Any]


def seconds_of(work: Callable[[], object], device: str, repeats: int) -> list[float]:
    """Seconds of several calls, after one that warms up; what a device still works on counts."""
    found = []
    for turn in range(repeats + 1):
        _wait(device)
        started = time.perf_counter()
        work()
        _wait(device)
        if turn:
            found.append(time.perf_counter() - started)
    return found


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def device_limits(device: str) -> Found:
    """FLOP/s of matrix products in float32, TF32 and bfloat16, and bytes/s of a triad: the best of
    several tries.
    """
    size, num = (8192, 2**28) if device != "cpu" else (1024, 2**22)

    def gemm(dtype: torch.dtype) -> float:
        a, b = (torch.rand(size, size, device=device).to(dtype) for _ in range(2))
        return 2 * size**3 / min(seconds_of(lambda: a @ b, device, 5))

    a, b, c = (torch.ones(num, device=device) for _ in range(3))
    bandwidth = 12 * num / min(seconds_of(lambda: torch.add(b, c, alpha=2, out=a), device, 5))
    found = {
        "gemm": gemm(torch.float32),
        "gemm_bfloat16": gemm(torch.bfloat16),
        "bandwidth": bandwidth,
    }
    with _tf32():
        return found | {"gemm_tf32": gemm(torch.float32)}


@contextmanager
def _tf32() -> Iterator[None]:
    """Matrix products of float32 in TF32 where the device has it, as convolutions are by torch's
    default.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def item(key: str, sizes: Sizes, device: str, limits: Found) -> Found:
    """One work item on the device: ours, plain torch scaled from its part, and the share of the
    binding limit.
    """
    work_of = ITEMS[key].work
    assert work_of is not None
    work = work_of(Bench(sizes, device))
    ours = seconds_of(work.ours, device, 3)
    seconds = statistics.median(ours)
    found: Found = {"seconds": seconds, "spread": (max(ours) - min(ours)) / 2} | _of_limits(
        work.cost, seconds, limits
    )
    parts = seconds_of(work.plain, device, 2)
    # a part of the work does not fill a GPU, so that this is an upper bound of plain torch's time
    return found | {"plain_seconds_at_most": statistics.median(parts) * sizes.parts}


def _of_limits(cost: Cost, seconds: float, limits: Found) -> Found:
    """The rate, and the shares of the limits with matrix products in float32 and in TF32."""
    found: Found = {"gflops_per_second": cost.all_flops / seconds / 1e9}
    for name, rate in (("share_of_limit", "gemm"), ("share_with_tf32", "gemm_tf32")):
        floor, bound = cost.floor(
            Limits(limits[rate], limits["gemm_bfloat16"], limits["bandwidth"])
        )
        found |= {name: floor / seconds, f"bound_of_{name}": bound}
    return found


def one_round(sizes: Sizes, device: str) -> Found:
    """A round of Algorithm 1 by `train_adversarial`, twice; the second one counts."""
    bench = Bench(sizes, device)
    schedule = Schedule(
        d_pretrain_steps=0,
        rounds=2,
        d_steps=sizes.d_steps,
        d_epochs=sizes.d_epochs,
        num_negatives=sizes.num_sequences,
        num_heldout=10,
        eval_every=100,
    )
    *_, row = train_adversarial(bench.agent, bench.rewards, schedule)
    return {
        "seconds": row["time/g_steps"] + row["time/d_steps"],
        "g_step": row["time/g_steps"],
        "d_steps": row["time/d_steps"],
    }


class PublishedRun:
    """The first steps of `seqgan train --preset paper`, and what they say of the whole schedule."""

    def __init__(self, device: str, quick: bool) -> None:
        self.full = settings_from("paper", {})
        changes: Found = {
            "device": device,
            "knobs": False,
            "control": False,
            "mle_epochs": 6,
            "d_pretrain_steps": 4,
            "rounds": 4,
        }
        if quick:
            changes |= {
                "vocab_size": 500,
                "num_negatives": 256,
                "batch_size": 16,
                "num_rollouts": 2,
            }
            changes |= {"mle_epochs": 3, "d_pretrain_steps": 2, "rounds": 2}
        self.settings = settings_from("paper", changes | {"eval_every": changes["rounds"]})
        self.ends: dict[str, list[float]] = defaultdict(
            list
        )  # times at which steps of a phase ended

    def __call__(self) -> Found:
        """Seconds of each kind of step, and of the whole schedule if each step takes as long."""
        started = time.perf_counter()
        run = Trainer(self.settings, self._note)()
        seconds = time.perf_counter() - started
        rounds = [row for row in run.history if row.get("round")]
        found = {
            "mle_epoch": self._median_of("pre-train policy"),
            "d_pretrain_step": self._median_of("pre-train discriminator"),
            "g_steps": statistics.median(row["time/g_steps"] for row in rounds[1:]),
            "d_steps": statistics.median(row["time/d_steps"] for row in rounds[1:]),
            "evaluation": self._seconds_of("adversarial")[-1]
            - rounds[-1]["time/g_steps"]
            - rounds[-1]["time/d_steps"],
        }
        parts = self._parts(found)
        whole = {
            "parts": parts,
            "seconds_in_all": sum(parts.values()),
            "goal_seconds": GOAL_SECONDS,
        }
        return found | whole | {"seconds_of_short_run": seconds, "phases_of_short_run": run.seconds}

    def _parts(self, steps: Found) -> Found:
        full = self.full
        return {
            "maximum likelihood": full.mle_epochs * steps["mle_epoch"],
            "pre-training of D": full.d_pretrain_steps * steps["d_pretrain_step"],
            "g-steps": full.rounds * steps["g_steps"],
            "d-steps": full.rounds * steps["d_steps"],
            "evaluations": full.rounds / full.eval_every * steps["evaluation"],
        }

    def _note(self, phase: str, done: int, total: int, metrics: dict[str, float]) -> None:
        self.ends[phase].append(time.perf_counter())

    def _median_of(self, phase: str) -> float:
        return statistics.median(self._seconds_of(phase))

    def _seconds_of(self, phase: str) -> list[float]:
        """Of every step of a phase but the first, in which things are made ready."""
        ends = self.ends[phase]
        return [after - before for before, after in pairwise(ends)]


def sampling_variants(sizes: Sizes, device: str) -> Found:
    """Seconds of writing sequences: step by step, and as one CUDA graph of all T steps."""
    bench = Bench(sizes, device)
    policy, num = bench.agent.policy, sizes.num_sequences
    found: Found = {"eager": _median(lambda: policy.sample(num, bench.rng), device)}
    with _tf32():
        found["eager, TF32"] = _median(lambda: policy.sample(num, bench.rng), device)
    empty, streams = (
        torch.full((num, sizes.seq_len), policy.spec.pad_token, device=device),
        RowStreams.draw(bench.rng, num),
    )
    if device != "cpu":
        graph = _graph_of(lambda: policy.complete(empty, empty.new_zeros(num), streams))
        found["CUDA graph"] = _median(graph.replay, device)
    return found


def discriminator_variants(sizes: Sizes, device: str) -> Found:
    """Seconds of an epoch of D: convolutions step by step, and one product in a CUDA graph."""
    bench, found = Bench(sizes, device), {}
    for name, fast in (("eager", False), ("CUDA graph", True)):
        found[name] = _epoch_of_d(
            bench, device, DiscriminatorTrainer(bench.discriminator, fast=fast)
        )
    with _tf32():
        found["CUDA graph, TF32"] = _epoch_of_d(
            bench, device, DiscriminatorTrainer(bench.discriminator)
        )
    return found


def compiled_variants(sizes: Sizes, device: str) -> Found:
    """Seconds with torch.compile, in its default mode: writing with a compiled draw, and D's epoch
    with a compiled network.
    """
    bench, found = Bench(sizes, device), {}
    with mock.patch.object(_TorchSoftmax, "_pick", torch.compile(_TorchSoftmax._pick)):
        found["sampling"] = _median(
            lambda: bench.agent.policy.sample(sizes.num_sequences, bench.rng), device
        )
    bench.discriminator.compile()
    found["D's epoch"] = _epoch_of_d(
        bench, device, DiscriminatorTrainer(bench.discriminator, fast=False)
    )
    return found


def _epoch_of_d(bench: Bench, device: str, trainer: DiscriminatorTrainer) -> float:
    """Of whole batches, so that nothing is compiled for an epoch's rest; scaled to the epoch."""
    num = min(50 * trainer.discriminator.batch_size, bench.sizes.num_sequences)
    real, negatives = bench.task.real_sequences[:num], bench.agent.policy.sample(num, bench.rng)
    return (
        _median(lambda: trainer.fit(real, negatives, 1, bench.rng), device)
        * bench.sizes.num_sequences
        / num
    )


def _median(work: Callable[[], object], device: str) -> float:
    return statistics.median(seconds_of(work, device, 3))


def _graph_of(work: Callable[[], object]) -> torch.cuda.CUDAGraph:
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream):
        work()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        work()
    return graph


def device_tests() -> Found:
    """The tests that need a device, those that are slow too."""
    files = ["tests/test_cuda.py", "tests/test_cuda_graphs.py"]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        "slow or not slow",
        "-p",
        "no:cacheprovider",
        *files,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    counts = {
        kind: int(num)
        for num, kind in re.findall(r"(\d+) (passed|failed|skipped|error)", done.stdout[-500:])
    }
    return counts | {
        "code": done.returncode,
        "output": "" if done.returncode == 0 else done.stdout[-6000:],
    }


class Check:
    """Runs the parts; what fails is kept with its traceback."""

    def __init__(self) -> None:
        self.found: Found = {}
        self.failures: dict[str, str] = {}

    def __call__(self, name: str, part: Callable[..., Any], *arguments: Any) -> Any:
        started = time.perf_counter()
        try:
            self.found[name] = part(*arguments)
        # whatever falls on a machine that nobody has seen is to be read, and not to end the rest
        except Exception:
            self.failures[name] = traceback.format_exc()
        print(
            f"{name}: {self.failures.get(name) or self.found[name]}  "
            f"[{time.perf_counter() - started:.1f} s]",
            flush=True,
        )
        return self.found.get(name)


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--device", default="cuda", metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--no-tests", action="store_true", help="leave the tests out")
    parser.add_argument(
        "--compile", action="store_true", help="measure torch.compile too, which takes minutes"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write everything as JSON")
    return parser.parse_args()


def run_all(check: Check, arguments: argparse.Namespace, about: Found) -> None:
    """Every part; what has been found is written after each, so that it outlasts whatever happens
    then.
    """
    device, sizes = arguments.device, QUICK if arguments.quick else Sizes()

    def part(name: str, function: Callable[..., Any], *given: Any) -> Any:
        result = check(name, function, *given)
        if arguments.out:
            arguments.out.parent.mkdir(parents=True, exist_ok=True)
            write_json(arguments.out, about | {"found": check.found, "failures": check.failures})
        return result

    limits = part("limits", device_limits, device)
    if limits is not None:
        for key in (key for key, of in ITEMS.items() if of.work):
            part(key, item, key, sizes, device, limits)
    part("round", one_round, sizes, device)
    part("published run", PublishedRun(device, arguments.quick))
    if not arguments.no_tests:
        part("tests", device_tests)
    part("variants of sampling", sampling_variants, sizes, device)
    part("variants of D's epoch", discriminator_variants, sizes, device)
    if arguments.compile:
        part("variants of torch.compile", compiled_variants, sizes, device)


def show(found: Found, title: str) -> Table:
    """The work items, the published run and the variants."""
    table = Table(title=title)
    for name in ("work", "seconds", "share of limit", "with TF32", "plain torch, at most"):
        table.add_column(name, justify="left" if name == "work" else "right")
    for key in (key for key in ITEMS if key in found):
        row = found[key]
        shares = [
            f"{row[name]:.1%}" if name in row else ""
            for name in ("share_of_limit", "share_with_tf32")
        ]
        plain = row.get("plain_seconds_at_most")
        table.add_row(key, f"{row['seconds']:.4f}", *shares, f"{plain:.3f}" if plain else "")
    run = found.get("published run", {"parts": {}})
    for name, seconds in run["parts"].items():
        table.add_row(f"published run: {name}", f"{seconds:.0f}")
    if run["parts"]:
        table.add_row("published run, extrapolated", f"{run['seconds_in_all']:.0f}")
    for name in (name for name in found if name.startswith("variants")):
        for variant, seconds in found[name].items():
            table.add_row(f"{name.removeprefix('variants of ')}: {variant}", f"{seconds:.4f}")
    return table


def main() -> int:
    """Runs everything, writes the JSON and prints the table; 1 if something failed."""
    arguments, check = read_arguments(), Check()
    name = processor() if arguments.device == "cpu" else torch.cuda.get_device_name()
    about = {"device": name, "versions": versions(), "commit": commit(), "quick": arguments.quick}
    print(about, flush=True)
    run_all(check, arguments, about)
    Console(width=140).print(show(check.found, f"{name}, torch {torch.__version__}"))
    failed = bool(check.failures) or check.found.get("tests", {"code": 0})["code"] != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
