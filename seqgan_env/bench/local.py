"""Runs jobs as processes of this machine, which end when this process does."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from seqgan_env.bench.jobs import Job
from seqgan_env.bench.results import path_of
from seqgan_env.bench.runner import Ended
from seqgan_env.bench.worker import ENVIRONMENT, PHASE_BYTES

_POLL_SECONDS = 0.02


class LocalPool:
    """A pool of processes with one thread each; every process writes its own result."""

    def __init__(self, folder: Path, num_workers: int) -> None:
        """Makes a pool without processes.

        Args:
            folder: folder of the benchmark.
            num_workers: number of processes at a time.
        """
        self._folder, self._num_workers = folder, num_workers
        self._workers: list[_Worker] = []

    def num_slots(self) -> int:
        return self._num_workers

    def start(self, job: Job) -> None:
        self._workers.append(_Worker(job, path_of(self._folder, job.key)))

    def wait(self, seconds: float) -> list[Ended]:
        deadline = time.monotonic() + seconds
        over = self._take_over()
        while not over and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
            over = self._take_over()
        return list(map(_Worker.ended, over))

    def phases(self) -> dict[str, str]:
        return {worker.job.key: worker.phase() for worker in self._workers}

    def _take_over(self) -> list[_Worker]:
        """Takes the workers that are over out of the pool."""
        over, running = [], []
        for worker in self._workers:
            if worker.process.poll() is None:
                running.append(worker)
            else:
                over.append(worker)
        self._workers = running
        return over

    def close(self) -> None:
        # All are told to end before the first is waited for.
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.wait()
        self._workers = []


class _Worker:
    """A job in a process of its own.

    It ends when its standard input closes, and so with this process.
    """

    def __init__(self, job: Job, result: Path) -> None:
        self.job, self._result = job, result
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed in `ended`
        self._phase = tempfile.TemporaryFile()  # noqa: SIM115  closed there, too
        told_in = self._phase.fileno()
        # -P: the working folder is no place for modules that hide those of the library.
        command = [sys.executable, "-P", "-m", "seqgan_env.bench.worker"]
        command += [str(result), str(told_in)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            pass_fds=[told_in],
            env=os.environ | ENVIRONMENT,
        )
        assert self.process.stdin is not None
        # The pipe stays open: the worker takes its end for the end of this process.
        try:
            self.process.stdin.write(job.to_json().encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:  # it died at once; its log says why
            pass

    def phase(self) -> str:
        """What the job is at, as its process said last; "" before it said anything."""
        return os.pread(self._phase.fileno(), PHASE_BYTES, 0).decode(errors="replace").strip()

    def ended(self) -> Ended:
        """What became of the job, once its process is over."""
        # A process that ended well but wrote nothing has failed too.
        self._phase.close()
        with self._log as log:
            if self.process.returncode == 0 and self._result.exists():
                return Ended(self.job, None)
            log.seek(0)
            said = log.read().decode(errors="replace").strip()
        return Ended(self.job, f"{said}\nended with code {self.process.returncode}".strip())
