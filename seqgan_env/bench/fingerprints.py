"""Hashes of what determines a job besides its settings: the data it reads and the code it runs."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import seqgan_env
from seqgan_env.files import check_regular

# Code that decides how a benchmark is run and shown, and no number in it ...
_UNDECIDING = ("cli", "bench", "sweep")
# ... but for the module that turns a run into a result.
_DECIDING = ("bench/worker.py",)


def fingerprint(path: Path) -> str:
    """A hash of a file, or of the names and contents of all files below a folder.

    Raises:
        ValueError: it cannot be read.
    """
    files = [path]
    if path.is_dir():
        files = sorted(filter(Path.is_file, path.rglob("*")))
    else:
        check_regular(path, str(path))
    try:
        state = []
        for file in files:
            state.append((file, file.stat().st_size, file.stat().st_mtime_ns))
        return _hash(path, tuple(state))
    except OSError as problem:
        raise ValueError(f"{path} cannot be read: {problem.strerror}") from problem


@cache
def _hash(root: Path, state: tuple[tuple[Path, int, int], ...]) -> str:
    """A hash of files below `root`.

    Args:
        root: the folder that names are relative to.
        state: each file with its size and time of change, by which the cache knows when a file
            must be read again.
    """
    return _hash_of(root, [file for file, _, _ in state])


@cache
def code_of_library() -> str:
    """A hash of those of this package's modules that can change a result."""
    root = Path(seqgan_env.__file__).parent
    deciding = []
    for file in sorted(root.rglob("*.py")):
        name = file.relative_to(root).as_posix()
        if name in _DECIDING or name.split("/")[0] not in _UNDECIDING:
            deciding.append(file)
    return _hash_of(root, deciding)


@cache
def code_of_module(name: str) -> str:
    """A hash of the package that a module is part of, so that a changed agent is another job.

    It is "" where the code has no files.
    """
    package = importlib.import_module(name.split(".")[0])
    # A namespace package may lie in several folders.
    hashes = []
    for folder in map(Path, getattr(package, "__path__", [])):
        hashes.append(_hash_of(folder, sorted(folder.rglob("*.py"))))
    if hashes:
        return "".join(hashes)
    file = getattr(package, "__file__", None)  # what is built into Python has none
    if file:
        return _hash_of(Path(file).parent, [Path(file)])
    return ""


def _hash_of(root: Path, files: Iterable[Path]) -> str:
    """A hash of the names, below `root`, and the contents of files."""
    found = hashlib.sha256()
    for file in files:
        content = file.read_bytes()
        # With its length, a content cannot pass for the head of the next file.
        head = json.dumps([file.relative_to(root).as_posix(), len(content)])
        found.update(head.encode() + content)
    return found.hexdigest()
