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

# code that decides how a benchmark is run and shown, and no number in it
_UNDECIDING = ("cli", "bench", "sweep")
_DECIDING = ("bench/worker.py",)


def fingerprint(path: Path) -> str:
    """A hash of a file, or of the names and contents of all files below a folder.

    Raises:
        ValueError: it cannot be read.
    """
    files = [path]
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
    else:
        check_regular(path, str(path))
    try:
        state = tuple((file, file.stat().st_size, file.stat().st_mtime_ns) for file in files)
        return _hash(path, state)
    except OSError as problem:
        raise ValueError(f"{path} cannot be read: {problem.strerror}") from problem


@cache
def _hash(root: Path, state: tuple[tuple[Path, int, int], ...]) -> str:
    """A hash of files below `root`; sizes and times tell when a file must be read again."""
    return _hash_of(root, (file for file, _, _ in state))


@cache
def code_of_library() -> str:
    """A hash of this package's modules, those left out that can change no result."""
    root = Path(seqgan_env.__file__).parent
    deciding = []
    for file in sorted(root.rglob("*.py")):
        name = file.relative_to(root).as_posix()
        if name in _DECIDING or name.split("/")[0] not in _UNDECIDING:
            deciding.append(file)
    return _hash_of(root, deciding)


@cache
def code_of_module(name: str) -> str:
    """A hash of the package that a module is part of, so that a changed agent is another job; "" of
    code without files.
    """
    package = importlib.import_module(name.split(".")[0])
    folders = [Path(folder) for folder in getattr(package, "__path__", [])]
    if folders:
        return "".join(_hash_of(folder, sorted(folder.rglob("*.py"))) for folder in folders)
    if package.__file__:
        return _hash_of(Path(package.__file__).parent, [Path(package.__file__)])
    return ""


def _hash_of(root: Path, files: Iterable[Path]) -> str:
    found = hashlib.sha256()
    for file in files:
        content = file.read_bytes()
        found.update(
            json.dumps([file.relative_to(root).as_posix(), len(content)]).encode() + content
        )
    return found.hexdigest()
