"""Weights & Biases: a run of its service, or with `WANDB_MODE=offline` of the run's folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb

from seqgan_env.tracking.base import FINISHED, INTERRUPTED, PRETRAIN, Row

PROJECT = "seqgan-env"

_EXIT_CODES = {FINISHED: 0, INTERRUPTED: 130}


class WandbTracker:
    """Variables of wandb hold (`WANDB_PROJECT`, `WANDB_MODE`, ...); its files are in the run's
    folder.

    A resumed run goes on under the same id. Offline that is one more folder, and `wandb sync` joins
    them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # It looks for modules named `agents` and takes ours for those of OpenAI.
        os.environ.setdefault("WANDB_DISABLE_WEAVE", "true")
        self._run: Any = None
        self._known: set[str] = set()

    def begin(self, config: Mapping[str, Any]) -> None:
        """Begins, or goes on with, the run of this id."""
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=os.environ.get("WANDB_NAME", self.folder.name),
            id=config["run_id"],
            resume="allow",
            dir=str(self.folder),
            config=dict(config),
            settings=wandb.Settings(console="off"),
        )

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Numbers over the epoch or the round; its own steps only count calls."""
        if not metrics:
            return
        axis = "round"
        if all(name.startswith(PRETRAIN) for name in metrics):
            axis = f"{PRETRAIN}epoch"
        for name in metrics.keys() - self._known:
            self._run.define_metric(name, step_metric=axis)
        self._known |= metrics.keys()
        self._run.log({axis: step} | dict(metrics))

    def text(self, name: str, text: str) -> None:
        """A table of lines."""
        lines = [[line] for line in text.splitlines()]
        self._run.log({name: wandb.Table(columns=["line"], data=lines)})

    def table(self, name: str, rows: Sequence[Row]) -> None:
        """A table."""
        data = [list(row.values()) for row in rows]
        self._run.log({name: wandb.Table(columns=list(rows[0]), data=data)})

    def image(self, name: str, file: Path) -> None:
        """A picture."""
        self._run.log({name: wandb.Image(str(file))})

    def end(self, status: str) -> None:
        """Waits until everything is written or sent."""
        if self._run is not None:
            self._run.finish(exit_code=_EXIT_CODES.get(status, 1))
