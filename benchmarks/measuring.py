"""What the speed benchmarks share: timing, peak memory, a process for each measurement, the machine
and its measured limits.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch

from seqgan_env import native
from seqgan_env.machine import processor
from seqgan_env.training.run_directory import versions

Result = TypeVar("Result")


def measure(
    work: Callable[[], object], repeats: int, warm_up: Callable[[], object] | None = None
) -> tuple[float, float]:
    """Median and half the range of the seconds of `work`, after one call of `warm_up`, or of
    itself.
    """
    (warm_up or work)()
    seconds = [_seconds(work) for _ in range(repeats)]
    return statistics.median(seconds), (max(seconds) - min(seconds)) / 2


def measure_in_turns(
    ours: Callable[[], object], other: Callable[[], object], repeats: int
) -> tuple[list[float], list[float]]:
    """Seconds of both, a call of each in turn, so that what else the machine does disturbs both
    alike.
    """
    seconds = seconds_in_turns({"ours": ours, "other": other}, repeats)
    return seconds["ours"], seconds["other"]


def seconds_in_turns(
    works: Mapping[str, Callable[[], object]], repeats: int
) -> dict[str, list[float]]:
    """Seconds of each by name, of `repeats` turns in which every one is called once."""
    turns = [{name: _seconds(work) for name, work in works.items()} for _ in range(repeats)]
    return {name: [turn[name] for turn in turns] for name in works}


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@dataclass(frozen=True)
class Limits:
    """What the machine can do at best, each the best of several tries.

    Attributes:
        gemm: float32 matrix products, FLOP/s.
        gemm_bfloat16: the same in bfloat16; slower than float32 where a processor emulates it.
        bandwidth: of memory, bytes/s, by a triad of arrays that no cache holds.
    """

    gemm: float
    gemm_bfloat16: float
    bandwidth: float

    @classmethod
    def measured(cls) -> Limits:
        """With the threads that torch has now."""
        return cls(1e9 * gemm_gflops(), 1e9 * gemm_gflops(torch.bfloat16), memory_bandwidth())

    def best_with(self, other: Limits) -> Limits:
        """The better of both in each."""
        return Limits(
            max(self.gemm, other.gemm),
            max(self.gemm_bfloat16, other.gemm_bfloat16),
            max(self.bandwidth, other.bandwidth),
        )


def gemm_gflops(dtype: torch.dtype = torch.float32, seconds: float = 2.0) -> float:
    """The machine's rate of matrix products with the present threads, GFLOP/s: the best of several
    sizes, in about `seconds`.
    """
    best, end = 0.0, time.perf_counter() + seconds
    for size in (512, 1024, 2048):
        a, b = (torch.rand(size, size).to(dtype) for _ in range(2))
        for _ in range(10):
            best = max(best, 2 * size**3 / _seconds(partial(torch.matmul, a, b)) / 1e9)
            if time.perf_counter() > end:
                return best
    return best


def memory_bandwidth(num: int = 2**25, repeats: int = 5) -> float:
    """Bytes/s of a = b + 2 c over `num` float32 each: two are read and one is written."""
    a, b, c = (torch.ones(num) for _ in range(3))
    return (
        3 * 4 * num / min(_seconds(lambda: torch.add(b, c, alpha=2, out=a)) for _ in range(repeats))
    )


def peak_memory() -> int | None:
    """Bytes this process has held at most; None where the system does not tell.

    Linux's VmHWM comes first: `ru_maxrss` of a new process begins at what its parent held.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return _maximum_resident_set()


def _maximum_resident_set() -> int | None:
    try:
        import resource  # Windows has none
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def in_own_process(
    function: Callable[..., Result],
    *arguments: Any,
    threads: int = 1,
    environment: Mapping[str, str] | None = None,
) -> Result:
    """What `function` returns in a new process with so many torch threads, so that its peak memory
    is its own.

    Args:
        function: of a module, so that the process can import it.
        arguments: of it.
        threads: of torch, and of what else reads OMP_NUM_THREADS.
        environment: variables to set besides.

    Raises:
        BrokenProcessPool: the process was killed, most likely for memory. Whatever the function
            raises.
    """
    changes = {"OMP_NUM_THREADS": str(threads)} | dict(environment or {})
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        with ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), torch_threads, (threads,)
        ) as pool:
            return pool.submit(function, *arguments).result()
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def torch_threads(num: int) -> None:
    """Sets the threads of this process."""
    torch.set_num_threads(num)


def machine() -> dict[str, Any]:
    """What was measured on, and with which versions."""
    return {
        "cpu": processor(),
        "cores": os.cpu_count(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "kernels": native.variant(),
        "platform": platform.platform(),
        "versions": versions(),
        "commit": commit(),
    }


def commit() -> str:
    """The commit that is measured, or "unknown" outside a checkout."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
        )
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def read_arguments(doc: str | None) -> argparse.Namespace:
    """The command line of a benchmark with a picture; `doc` is its module's."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0] if doc else "")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, to check that everything runs"
    )
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default: 1)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the measurements as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write the picture as PNG")
    arguments = parser.parse_args()
    if arguments.threads < 1:
        parser.error(f"--threads {arguments.threads}; allowed is 1 or more")
    return arguments
