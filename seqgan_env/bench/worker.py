"""Runs one job as a process of its own.

It reads the job from a line of stdin, writes its result, and ends when its parent does.

python -m seqgan_env.bench.worker RESULT.json [DESCRIPTOR] < job

Where an open file is handed over by its descriptor, the phase that the job is at stands at its
beginning.
"""

from __future__ import annotations

import os
import platform
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch

from seqgan_env import native
from seqgan_env.bench.jobs import Job
from seqgan_env.bench.places import told
from seqgan_env.bench.results import Result
from seqgan_env.machine import processor
from seqgan_env.metrics.likelihood import unigram_metrics
from seqgan_env.metrics.score import SCORES
from seqgan_env.registry import find_in_working_folder
from seqgan_env.training import run_directory
from seqgan_env.training.adversarial import Progress, silent
from seqgan_env.training.trainer import Trainer
from seqgan_env.types import DrawsPictures

NUM_SAMPLES = 10

# A report measures scores anew, against the knobs of the reference's run.
_SCORE_NAMES = {score.name for score in SCORES}
# What is kept of a row of the training log.
_CURVE = ("task/", "discriminator/", "validation/", "budget/")


ENVIRONMENT = {
    "PYTHONHASHSEED": "0"
} | dict.fromkeys(  # one thread, whatever the machine has, and sets in one order
    (
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
    ),
    "1",
)


# Longer phases are cut; a shorter one is filled with spaces, so that it covers the one before it.
PHASE_BYTES = 120


def run_job(job: Job, key: str, progress: Progress = silent) -> Result:
    """Runs a job in this process, which must have been started with `ENVIRONMENT`.

    Args:
        job: the job.
        key: the job's key where the benchmark began.
        progress: called with phase, done, total and metrics.

    Raises:
        RuntimeError: the job has another key here, since code, data or versions differ.
    """
    if job.key != key:
        raise RuntimeError(
            f"{job.name} would be another job here than where the benchmark began: the code, the "
            "data or a version has changed since, or is another one on this machine"
        )

    # Times cover pre-training and evaluation too, since every run pays for its own.
    started, started_cpu = time.perf_counter(), time.process_time()
    torch.set_num_threads(job.settings.threads)
    trainer = Trainer(job.settings, progress)
    curve: list[dict[str, float]] = []

    def note(row: dict[str, float]) -> None:
        point = _point(row, time.perf_counter() - started)
        if point:
            curve.append(point)

    trainer.on_row = note
    run = trainer()
    if run.interrupted:
        raise KeyboardInterrupt

    metrics = dict(run.metrics["agent"])
    for name in _SCORE_NAMES:
        metrics.pop(name, None)
    samples, drawing = run.samples["agent"][:NUM_SAMPLES], ""
    if isinstance(trainer.task, DrawsPictures):
        drawing = trainer.task.drawing(samples)
    return Result(
        label=job.label,
        task=job.task,
        seed=job.settings.seed,
        metrics=metrics,
        key=job.key,
        knobs=run.knobs,
        curve=curve,
        real=unigram_metrics(trainer.task.spec, trainer.task.held_out),
        budget=_spent(trainer),
        costs={
            "wall_seconds": time.perf_counter() - started,
            "cpu_seconds": time.process_time() - started_cpu,
            "peak_bytes": float(_peak_bytes()),
        },
        samples=samples,
        drawing=drawing,
        settings=told(job.settings),
        origin=origin(),
    )


def _point(row: dict[str, float], seconds: float) -> dict[str, float]:
    """The point of a curve that a row of the training log makes; empty where it makes none."""
    if row["phase"] != 1:  # the curve begins where pre-training ends
        return {}
    point = {"round": row["round"], "seconds": seconds}
    for name, value in row.items():
        if name.startswith(_CURVE):
            point[name] = value
    # Rounds without an evaluation have no point.
    if any(name.startswith("task/") for name in point):
        return point
    return {}


def _spent(trainer: Trainer) -> dict[str, float]:
    """What a run has spent, by the names of a result's budget."""
    spent = {}
    for name, value in trainer.rewards.budget.metrics().items():
        spent[name.removeprefix("budget/")] = value
    return spent


def origin() -> dict[str, Any]:
    """What made a result: the versions, the machine and the commit."""
    machine = {
        "machine": platform.machine(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "kernels": native.variant(),
    }
    return run_directory.versions() | machine | {"commit": _commit()}


def _commit() -> str | None:
    """The commit of the checkout that this package lies in; None where it lies in none."""
    # Asking for this file first tells a checkout from a folder that a checkout merely ignores.
    folder = str(Path(__file__).parent)
    for command in (["ls-files", "--error-unmatch", __file__], ["describe", "--always", "--dirty"]):
        try:
            done = subprocess.run(
                ["git", "-C", folder, *command], capture_output=True, text=True, check=False
            )
        except OSError:
            return None
        if done.returncode:
            return None
    return done.stdout.strip()


def _peak_bytes() -> int:
    """The most memory that this process has had; Linux counts in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if sys.platform == "darwin":
        return peak
    return 1024 * peak


def _end_with_parent() -> None:
    """Ends this process when the parent's end of stdin closes, however the parent died."""

    def wait() -> None:
        sys.stdin.read()  # returns when the other end of the pipe is closed
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _telling(descriptor: int) -> Progress:
    """Writes the phase of a job to an open file of the parent's."""

    def tell(phase: str, done: int, total: int, metrics: dict[str, float]) -> None:
        told = f"{phase} {done}/{total}".encode()[:PHASE_BYTES]
        os.pwrite(descriptor, told.ljust(PHASE_BYTES), 0)

    return tell


def main() -> None:
    """Runs the job on stdin."""
    # Ctrl-C reaches the whole group; the parent ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    line, path = sys.stdin.readline(), Path(sys.argv[1])
    find_in_working_folder([line])  # an agent can be a module of the user's own
    job = Job.from_json(line)
    _end_with_parent()
    progress: Progress = silent
    if sys.argv[2:]:
        progress = _telling(int(sys.argv[2]))
    run_job(job, path.stem, progress).write(path)


if __name__ == "__main__":
    main()
