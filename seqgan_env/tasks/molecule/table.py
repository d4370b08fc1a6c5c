"""Properties of many molecules: computed once each, on as many cores as torch may use."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from seqgan_env.tasks.molecule.chemistry import PROPERTIES

MOST_KEPT = 500_000  # values, before the oldest half is forgotten
_WORTH_A_PROCESS = 200  # molecules that take longer than the way there and back

Key = tuple[str, ...]  # the name of a property and what it is asked with


class PropertyTable:
    """Values of properties by SMILES.

    A value is a function of the text alone, so neither the cache nor the number of processes
    changes any number. `torch.set_num_threads` says how many cores are used; with one there is no
    other process.
    """

    def __init__(self) -> None:
        self._known: dict[Key, dict[str, Any]] = {}
        self._workers: list[subprocess.Popen[str]] = []

    def __getstate__(self) -> dict[str, Any]:
        """Without what is known and the processes: a copy computes again."""
        return {"_known": {}, "_workers": []}

    def values(self, key: str | Key, smiles: Sequence[str]) -> list[Any]:
        """What a property is of each molecule; None of texts that are none.

        Args:
            key: the name of a property, or a tuple of it and further arguments.
            smiles: texts.
        """
        if isinstance(key, str):
            key = (key,)
        known = self._known.setdefault(key, {})
        missing = [text for text in dict.fromkeys(smiles) if text not in known]
        known.update(zip(missing, self._computed(key, missing), strict=True))
        found = [known[text] for text in smiles]
        if len(known) > MOST_KEPT:
            for text in list(known)[: MOST_KEPT // 2]:
                del known[text]
        return found

    def numbers(self, key: str | Key, smiles: Sequence[str]) -> np.ndarray:
        """The same of a property that is a number, (B,); NaN of texts that are no molecules."""
        found = self.values(key, smiles)
        return np.array([np.nan if value is None else value for value in found], dtype=float)

    def _computed(self, key: Key, smiles: list[str]) -> list[Any]:
        name, *arguments = key
        processes = min(torch.get_num_threads(), len(smiles) // _WORTH_A_PROCESS)
        if processes < 2:
            return [PROPERTIES[name](text, *arguments) for text in smiles]
        parts = [smiles[i::processes] for i in range(processes)]
        found: list[Any] = [None] * len(smiles)
        for i, part in enumerate(self._ask(key, parts)):
            found[i::processes] = part
        return found

    def _ask(self, key: Key, parts: Sequence[Sequence[str]]) -> list[list[Any]]:
        """The values of each part, of a process each."""
        while len(self._workers) < len(parts):
            self._workers.append(
                subprocess.Popen(
                    [sys.executable, "-m", "seqgan_env.tasks.molecule.worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        workers = self._workers[: len(parts)]
        for worker, part in zip(workers, parts, strict=True):
            assert worker.stdin is not None
            worker.stdin.write(json.dumps([key, part]) + "\n")
            worker.stdin.flush()
        return [self._answer(worker) for worker in workers]

    def _answer(self, worker: subprocess.Popen[str]) -> list[Any]:
        assert worker.stdout is not None
        line = worker.stdout.readline()
        if not line:
            self._workers.clear()
            raise RuntimeError(f"a process for properties of molecules ended with {worker.wait()}")
        answer: list[Any] = json.loads(line)
        return answer

    def __del__(self) -> None:
        """Ends the processes: their input ends."""
        for worker in getattr(self, "_workers", []):
            for pipe in (worker.stdin, worker.stdout):
                if pipe is not None:
                    pipe.close()
            worker.wait()
