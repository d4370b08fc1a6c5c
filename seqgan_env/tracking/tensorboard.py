"""TensorBoard: event files in the folder of the run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from seqgan_env.tracking.base import Row, markdown

FOLDER = "tensorboard"


class TensorBoardTracker:
    """Writes to `tensorboard/` in the run's folder; a resumed run writes one more file there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / FOLDER
        self._writer: SummaryWriter | None = None

    @property
    def writer(self) -> SummaryWriter:
        """What writes the events; there is one once the run has begun."""
        if self._writer is None:
            self._writer = SummaryWriter(str(self.folder))
        return self._writer

    def begin(self, config: Mapping[str, Any]) -> None:
        """The configuration is a text."""
        self.text("config", json.dumps(config, indent=2, default=str))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """A scalar for every number."""
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, step)

    def text(self, name: str, text: str) -> None:
        """Lines as they stand."""
        self.writer.add_text(name, "\n".join(f"    {line}" for line in text.splitlines()))

    def table(self, name: str, rows: Sequence[Row]) -> None:
        """A text with a table."""
        self.writer.add_text(name, markdown(rows))

    def image(self, name: str, file: Path) -> None:
        """A picture, if it can be opened."""
        from PIL import Image

        with Image.open(file) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        self.writer.add_image(name, pixels, dataformats="HWC")

    def end(self, status: str) -> None:
        """Writes what is buffered."""
        self.writer.close()
