"""Whether two benchmarks found the same: everything in their results but seconds, memory and
machines, bit for bit.

python -m seqgan_env.bench.compare DIR DIR2
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import Any

from seqgan_env.bench.results import OF_THE_MACHINE, RESULTS, SECONDS
from seqgan_env.training import run_directory


def differences(first: Path, second: Path) -> list[str]:
    """What differs, a line each; none where both have the same results with the same content.

    Raises:
        ValueError: a result is damaged, or a folder has none.
    """
    ours, theirs = _contents(first), _contents(second)
    found = _only_in(first, ours, theirs) + _only_in(second, theirs, ours)
    for name in sorted(set(ours) & set(theirs)):
        our, their = ours[name], theirs[name]
        parts = [part for part in our if our[part] != their.get(part)]
        if parts:
            found.append(f"{name} ({our['label']}, {our['task']}) differs in {', '.join(parts)}")
    return found


def _only_in(folder: Path, own: Iterable[str], others: Container[str]) -> list[str]:
    """A line for every name of a folder that the other folder lacks."""
    return [f"{name} is only in {folder}" for name in own if name not in others]


def _contents(folder: Path) -> dict[str, dict[str, Any]]:
    """What is compared of every result of a folder, by the name of its file.

    The name has a hash of settings, data, code and versions: other code makes other names.
    """
    found = {}
    for path in sorted((folder / RESULTS).glob("*.json")):
        found[path.name] = _content(path)
    if not found:
        raise ValueError(f"{folder} has no results ({RESULTS}/*.json)")
    return found


def _content(path: Path) -> dict[str, Any]:
    """A result as its JSON file has it, without what depends on the machine."""
    # JSON writes every digit of a number, so that equal numbers are equal in all bits.
    content: dict[str, Any] = run_directory.read_json(path)
    for name in OF_THE_MACHINE:
        content.pop(name, None)
    for row in content["curve"]:
        row.pop(SECONDS, None)
    return content


def main(argv: Sequence[str] | None = None) -> int:
    """Prints what differs; 0 where nothing does, 2 where they cannot be compared."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", type=Path, nargs=2, metavar="DIR", help="folder of a benchmark")
    first, second = parser.parse_args(argv).folders
    try:
        found = differences(first, second)
    except ValueError as problem:
        print(problem, file=sys.stderr)
        return 2
    print("\n".join(found) or f"{len(_contents(first))} results, and all are the same")
    if found:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
