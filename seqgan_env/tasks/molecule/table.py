"""Properties of many molecules: computed once each, on as many cores as torch may use."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from seqgan_env.tasks.molecule.chemistry import PROPERTIES

MOST_KEPT = 500_000  # values of a property, before the oldest ones are forgotten
_WORTH_A_PROCESS = 200  # molecules whose computing takes longer than the way there and back

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
        missing = list(itertools.filterfalse(known.__contains__, dict.fromkeys(smiles)))
        known.update(zip(missing, self._computed(key, missing), strict=True))
        found = list(map(known.__getitem__, smiles))
        # Forget only now: what was asked for may be the oldest.
        if len(known) > MOST_KEPT:
            for text in list(known)[: MOST_KEPT // 2]:
                del known[text]
        return found

    def numbers(self, key: str | Key, smiles: Sequence[str]) -> np.ndarray:
        """As `values`, of a property that is a number: (B,), NaN for texts that are none."""
        return np.array(self.values(key, smiles), dtype=float)  # which makes NaN of None

    def _computed(self, key: Key, smiles: list[str]) -> list[Any]:
        """The values of a property of different molecules, in one process or in several."""
        name, *arguments = key
        processes = min(torch.get_num_threads(), len(smiles) // _WORTH_A_PROCESS)
        if processes < 2:
            return [PROPERTIES[name](text, *arguments) for text in smiles]
        # Deal the texts out like cards: neighbours in a file are often of one size.
        parts = [smiles[i::processes] for i in range(processes)]
        found: list[Any] = [None] * len(smiles)
        for i, part in enumerate(self._ask(key, parts)):
            found[i::processes] = part
        return found

    def _ask(self, key: Key, parts: Sequence[Sequence[str]]) -> list[list[Any]]:
        """The values of each part, which a process of its own computes."""
        # Processes stay for the next call, for each takes a while to load RDKit.
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
        # Give all of them their work before waiting for the first.
        for worker, part in zip(workers, parts, strict=True):
            assert worker.stdin is not None
            worker.stdin.write(json.dumps([key, part]) + "\n")
            worker.stdin.flush()
        return list(map(self._answer, workers))

    def _answer(self, worker: subprocess.Popen[str]) -> list[Any]:
        """The values that a process writes, a line of JSON."""
        assert worker.stdout is not None
        line = worker.stdout.readline()
        if not line:
            self._workers.clear()  # what the others answer would be taken for the next question's
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
