"""The folder of a run: made once, never overwritten unasked, every file whole or absent."""

from __future__ import annotations

import csv
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

CONFIG, RESULT, METRICS = "config.json", "result.json", "metrics.csv"


def create(path: Path, force: bool = False) -> Path:
    """A new, empty run directory.

    Raises:
        ValueError: it exists and `force` is false, exists and is no run, or cannot be written.
    """
    check_available(path, force)
    try:
        if path.is_dir() and any(path.iterdir()):
            shutil.rmtree(path)
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as problem:
        raise ValueError(f"run directory {path} cannot be written: {problem.strerror}") from problem
    return path


def check_available(path: Path, force: bool = False) -> None:
    """Raises a ValueError if `path` is taken: by a run that `force` does not give up, or by
    anything that is no run.
    """
    try:
        taken = path.exists() and (not path.is_dir() or any(path.iterdir()))
    except OSError as problem:
        raise ValueError(f"run directory {path} cannot be written: {problem.strerror}") from problem
    if taken and not force:
        raise ValueError(
            f"run directory {path} exists; choose another with --out, or overwrite it with --force"
        )
    if taken and not (path / CONFIG).is_file():
        raise ValueError(
            f"{path} exists and is not a run directory (no {CONFIG}); it is left as it is, choose "
            "another with --out"
        )


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Has `write` fill a file beside `path`, then fsyncs and renames it, so that `path` is whole or
    as it was.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text, atomically."""

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_atomically(path, write)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes JSON, atomically; numbers that are not finite become null."""
    write_text(path, json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object; a ValueError names the file if it is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise ValueError(f"{path} cannot be read: {problem.strerror}") from problem
    except ValueError as problem:
        raise ValueError(f"{path} is damaged: {problem}") from problem
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged: it holds a {type(content).__name__}, not an object")
    return content


def write_weights(path: Path, state: Mapping[str, Tensor]) -> None:
    """Writes tensors by name as safetensors, atomically."""
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    write_atomically(path, lambda temporary: save_file(tensors, temporary))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Reads tensors by name; a ValueError names the file if it is missing or damaged."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as problem:
        raise ValueError(f"weights file {path} is missing or damaged: {problem}") from problem


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows that may have different keys as one table, atomically; what a row lacks stays
    empty.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)

    write_atomically(path, write)


def versions() -> dict[str, str]:
    """What a run depends on besides its settings."""
    packages = ("seqgan-env", "torch", "numpy", "gymnasium", "stable-baselines3", "sb3-contrib")
    found = {"python": sys.version.split()[0], "platform": platform.platform()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
