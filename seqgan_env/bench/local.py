"""Jobs as processes of this machine, which end with this one."""

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
from seqgan_env.bench.worker import ENVIRONMENT

_POLL_SECONDS = 0.02


class LocalPool:
    """So many processes of one thread at a time; each writes its result itself."""

    def __init__(self, folder: Path, num_workers: int) -> None:
        """
        Args:
            folder: of the benchmark.
            num_workers: processes at a time.
        """
        self._folder, self._num_workers = folder, num_workers
        self._workers: list[_Worker] = []

    def num_slots(self) -> int:
        return self._num_workers

    def start(self, job: Job) -> None:
        self._workers.append(_Worker(job, path_of(self._folder, job.key)))

    def wait(self, seconds: float) -> list[Ended]:
        deadline = time.monotonic() + seconds
        while (
            not (over := [w for w in self._workers if w.process.poll() is not None])
            and time.monotonic() < deadline
        ):
            time.sleep(_POLL_SECONDS)
        self._workers = [worker for worker in self._workers if worker not in over]
        return [worker.ended() for worker in over]

    def close(self) -> None:
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.wait()
        self._workers = []


class _Worker:
    """A job in a process of its own, which ends when its standard input closes, and so with this
    process.
    """

    def __init__(self, job: Job, result: Path) -> None:
        self.job, self._result = job, result
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed in `ended`
        command = [sys.executable, "-P", "-m", "seqgan_env.bench.worker", str(result)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            env=os.environ | ENVIRONMENT,
        )
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(job.to_json().encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:  # it died at once; its log says why
            pass

    def ended(self) -> Ended:
        """What became of it."""
        with self._log as log:
            if self.process.returncode == 0 and self._result.exists():
                return Ended(self.job, None)
            log.seek(0)
            said = log.read().decode(errors="replace").strip()
        return Ended(self.job, f"{said}\nended with code {self.process.returncode}".strip())
