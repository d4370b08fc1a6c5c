"""Checkpoints: everything that a run needs to go on as if it had never stopped, in one file.

A state is made of tensors, numbers, strings, None, and lists and dicts of these, so that loading
one runs nothing that stands in the file.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from seqgan_env.files import check_regular
from seqgan_env.training.run_directory import CHECKPOINT, write_bytes

LAST, BEFORE = CHECKPOINT, "checkpoint.before.pt"

_SCHEMA = 3


def write_checkpoint(folder: Path, state: Mapping[str, Any]) -> None:
    """Writes a checkpoint, whole or not at all, and keeps the one before it.

    Raises:
        ValueError: it cannot be written.
    """
    buffer = io.BytesIO()
    torch.save({"schema": _SCHEMA, "state": dict(state)}, buffer)
    last = folder / LAST
    if last.exists():
        last.replace(folder / BEFORE)
    write_bytes(last, buffer.getvalue())


def read_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The last checkpoint of a run that can be read; None where there is none.

    Raises:
        ValueError: there are checkpoints, and all of them are damaged.
    """
    problems = []
    for path in (folder / LAST, folder / BEFORE):
        if not path.exists():
            continue
        try:
            check_regular(path, f"checkpoint {path}")
            content = torch.load(path, weights_only=True)
            schema, state = content["schema"], content["state"]
            if schema != _SCHEMA:
                problems.append(f"{path} has schema {schema!r}; this version reads {_SCHEMA}")
            elif not isinstance(state, dict):
                problems.append(f"{path} is damaged: its state is a {type(state).__name__}")
            else:
                return state
        except Exception as problem:  # damage makes torch raise almost anything
            problems.append(f"{path} is damaged: {problem or type(problem).__name__}")
    if problems:
        raise ValueError("; ".join(problems))
    return None


def remove_checkpoints(folder: Path) -> None:
    """Removes the checkpoints of a run that has come to its end."""
    for name in (LAST, BEFORE):
        (folder / name).unlink(missing_ok=True)
