"""The folder of a run: made once, never overwritten unasked, every file whole or absent."""

from __future__ import annotations

import csv
import functools
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqgan_env.files import MIB, check_regular, read_text

if TYPE_CHECKING:  # a run that is missing is told before torch is loaded
    from torch import Tensor

try:
    import fcntl
except ImportError:  # Windows: two runs in one folder are not told apart
    fcntl = None  # type: ignore[assignment]

MOST_BYTES_OF_JSON = 64 * MIB

CONFIG, RESULT, METRICS, LOCK = "config.json", "result.json", "metrics.csv", ".lock"
KNOBS = "knobs.csv"
LOG = "train.log"
CHECKPOINT = "checkpoint.pt"  # what an unfinished run goes on from
DIVERGED = "diverged.txt"  # why a run broke off


@contextmanager
def created(path: Path, force: bool = False) -> Iterator[Path]:
    """A new run directory, empty but for its lock, for this process alone.

    Raises:
        ValueError: it exists and `force` is false, exists and is no run, is written by another
            process, or cannot be written.
    """
    check_available(path, force)
    with locked(path, "run"):
        try:
            for entry in path.iterdir():
                if entry.name != LOCK:
                    _remove(entry)
        except OSError as problem:
            raise unwritable(path, problem) from problem
        yield path


def is_finished(path: Path) -> bool:
    """Whether a run has come to its end."""
    return (path / RESULT).is_file() and not read_json(path / RESULT).get("interrupted")


@contextmanager
def locked(folder: Path, kind: str) -> Iterator[None]:
    """The folder, made if need be, for one process at a time.

    Args:
        folder: that is written.
        kind: of what writes there, as in "another run".

    Raises:
        ValueError: it cannot be written, or another process writes there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("w")
    except OSError as problem:
        raise unwritable(folder, problem) from problem
    with lock:
        try:
            if fcntl is not None:
                # The system lets go of it however this process ends.
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            raise ValueError(
                f"another {kind} writes to {folder}; wait for it, or choose another folder"
            ) from problem
        yield


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink()


def unwritable(path: Path, problem: OSError) -> ValueError:
    """The error of a file or folder that cannot be written, with the system's reason."""
    return ValueError(f"{path} cannot be written: {problem.strerror or problem}")


def check_available(path: Path, force: bool = False) -> None:
    """Raises a ValueError if `path` is taken: by a run that `force` does not give up, or by
    anything that is no run.
    """
    if path.is_symlink():
        raise ValueError(f"run directory {path} is a symbolic link; give the folder it points to")
    try:
        taken = path.exists() and (
            not path.is_dir() or any(entry.name != LOCK for entry in path.iterdir())
        )
    except OSError as problem:
        raise unwritable(path, problem) from problem
    if taken and not force:
        unfinished = (path / CONFIG).is_file() and not is_finished(path)
        resume = ""
        if unfinished:
            resume = f", go on with it by `seqgan train --resume {path}`"
        raise ValueError(
            f"run directory {path} exists; choose another with --out{resume}, or overwrite it with "
            "--force"
        )
    if taken and not (path / CONFIG).is_file():
        raise ValueError(
            f"{path} exists and is not a run directory (no {CONFIG}); it is left as it is, choose "
            "another with --out"
        )


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Has `write` fill a file beside `path`, then fsyncs and renames it.

    So `path` is whole or as it was.

    Raises:
        ValueError: it cannot be written; the message says why.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as problem:
        raise unwritable(path, problem) from problem
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Makes a rename last through a loss of power; not every system lets a folder be opened."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text, atomically."""

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_atomically(path, write)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes JSON, atomically; numbers that are not finite become null."""
    write_text(path, json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")


def read_json(path: Path, most_bytes: int = MOST_BYTES_OF_JSON) -> dict[str, Any]:
    """Reads a JSON object; a ValueError names the file if it is missing, damaged or too large."""
    text = read_text(path, str(path), most_bytes)
    try:
        content = json.loads(text)
    except ValueError as problem:
        raise ValueError(f"{path} is damaged: {problem}") from problem
    except RecursionError as problem:
        raise ValueError(f"{path} is damaged: it is nested too deeply") from problem
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged: it holds a {type(content).__name__}, not an object")
    return content


def write_weights(path: Path, state: Mapping[str, Tensor]) -> None:
    """Writes tensors by name as safetensors, atomically."""
    from safetensors.torch import save

    tensors = {}
    for name, tensor in state.items():
        tensors[name] = tensor.detach().cpu().contiguous().clone()  # none shares its memory
    write_bytes(path, save(tensors))  # save_file would give the file a mode of its own


def write_bytes(path: Path, content: bytes) -> None:
    """Writes bytes, atomically."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    write_atomically(path, write)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Reads tensors by name; a ValueError names the file if it is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        check_regular(path, f"weights file {path}")
        return load_file(path)
    except (OSError, SafetensorError, MemoryError, RuntimeError, KeyError) as problem:
        raise ValueError(
            f"weights file {path} is missing or damaged: {problem or 'out of memory'}"
        ) from problem


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows that may have different keys as one table, atomically; what a row lacks stays
    empty.
    """
    columns: dict[str, None] = {}  # in the order in which rows bring them
    for row in rows:
        columns.update(dict.fromkeys(row))

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(columns))
            writer.writeheader()
            writer.writerows(rows)

    write_atomically(path, write)


def versions() -> dict[str, str]:
    """What a run depends on besides its settings."""
    packages = (
        "seqgan-env",
        "torch",
        "numpy",
        "gymnasium",
        "stable-baselines3",
        "sb3-contrib",
        "transformers",
        "peft",
    )
    found = {"python": sys.version.split()[0], "platform": platform.platform()}
    for package in packages:
        installed = _version(package)
        if installed is not None:
            found[package] = installed
    return found


@functools.cache
def _version(package: str) -> str | None:
    """The installed version of a package, read once; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
