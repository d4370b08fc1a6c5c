"""What works on a GPU and how fast: tests, every work item of `benchmarks.speed`, a round, an extrapolation.

    python -m benchmarks.gpu_check --out benchmarks/results/gpu.json
    python -m benchmarks.gpu_check --device cpu --quick            (a dry run without a GPU)

Under eight minutes on a data-centre GPU. Every item is ours and plain torch on the same device, the median of several turns,
beside the device's measured limits of matrix products and memory. What fails is written down and does not stop the rest; the
exit code is 1 then.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.costs import Cost
from benchmarks.measuring import Limits
from benchmarks.speed import ITEMS, QUICK, Bench, Sizes
from seqgan_env.adversarial import Schedule, train_adversarial
from seqgan_env.run_directory import versions, write_json

PUBLISHED = {
    "mle": 120,
    "discriminator": 150 + 200 * 15,
    "g_step": 200,
    "sample": 50 + 200 * 5,
}  # of each item in the paper's run
GOAL_SECONDS = 15 * 60
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


def device_limits(device: str) -> Limits:
    """Matrix products in float32 and bfloat16, FLOP/s, and a triad in memory, bytes/s: the best of several tries."""

    def gemm(dtype: torch.dtype, size: int) -> float:
        a, b = (torch.rand(size, size, device=device).to(dtype) for _ in range(2))
        return 2 * size**3 / min(seconds_of(lambda: a @ b, device, 5))

    size, num = (8192, 2**28) if device != "cpu" else (1024, 2**22)
    a, b, c = (torch.ones(num, device=device) for _ in range(3))
    bandwidth = 12 * num / min(seconds_of(lambda: torch.add(b, c, alpha=2, out=a), device, 5))
    return Limits(gemm(torch.float32, size), gemm(torch.bfloat16, size), bandwidth)


def item(key: str, sizes: Sizes, device: str, limits: Limits) -> Found:
    """One work item on the device: ours, plain torch scaled from its part, and the share of the binding limit."""
    work_of = ITEMS[key].work
    assert work_of is not None
    work = work_of(Bench(sizes, device))
    ours = seconds_of(work.ours, device, 3)
    seconds = statistics.median(ours)
    found: Found = {"seconds": seconds, "spread": (max(ours) - min(ours)) / 2} | _of_limits(work.cost, seconds, limits)
    parts = seconds_of(work.plain, device, 2)
    # a part of the work does not fill a GPU, so that this is an upper bound of plain torch's time
    return found | {"plain_seconds_at_most": statistics.median(parts) * sizes.parts}


def _of_limits(cost: Cost, seconds: float, limits: Limits) -> Found:
    floor, bound = cost.floor(limits)
    return {"gflops_per_second": cost.all_flops / seconds / 1e9, "share_of_limit": floor / seconds, "bound_by": bound}


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
    return {"seconds": row["time/g_steps"] + row["time/d_steps"], "g_step": row["time/g_steps"], "d_steps": row["time/d_steps"]}


def published_run(items: dict[str, Found]) -> Found:
    """Seconds of the paper's whole run as the sum of its items."""
    parts = {key: count * items[key]["seconds"] for key, count in PUBLISHED.items()}
    return {"parts": parts, "seconds": sum(parts.values()), "goal_seconds": GOAL_SECONDS}


def device_tests() -> Found:
    """tests/test_cuda.py, those that are slow too."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "slow or not slow", "-p", "no:cacheprovider", "tests/test_cuda.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return {"code": done.returncode, "summary": done.stdout.strip().splitlines()[-1:], "output": done.stdout[-6000:]}


class Check:
    """Runs the parts; what fails is kept with its traceback."""

    def __init__(self) -> None:
        self.found: Found = {}
        self.failures: dict[str, str] = {}

    def __call__(self, name: str, part: Callable[..., Any], *arguments: Any) -> Any:
        started = time.perf_counter()
        try:
            self.found[name] = part(*arguments)
        except Exception:  # whatever falls on a machine that nobody has seen is to be read, and not to end the rest
            self.failures[name] = traceback.format_exc()
        print(f"{name}: {self.failures.get(name) or self.found[name]}  [{time.perf_counter() - started:.1f} s]", flush=True)
        return self.found.get(name)


def main() -> int:
    """Runs everything and writes the JSON; 1 if something failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--device", default="cuda", metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--no-tests", action="store_true", help="leave tests/test_cuda.py out")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write everything as JSON")
    arguments = parser.parse_args()
    device, sizes = arguments.device, QUICK if arguments.quick else Sizes()
    check = Check()
    name = platform.processor() if device == "cpu" else torch.cuda.get_device_name()
    about = {"device": name, "versions": versions(), "tf32": torch.backends.cuda.matmul.allow_tf32}
    print(about, flush=True)
    if not arguments.no_tests:
        check("tests", device_tests)
    limits = check("limits", device_limits, device)
    if limits is not None:
        for key in (key for key, of in ITEMS.items() if of.work):
            check(key, item, key, sizes, device, limits)
    check("round", one_round, sizes, device)
    if set(PUBLISHED) <= set(check.found):
        check("published run", published_run, check.found)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        found = check.found | {"limits": vars(limits) if limits else None}
        write_json(arguments.out, about | {"found": found, "failures": check.failures})
    failed = bool(check.failures) or check.found.get("tests", {"code": 0})["code"] != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
