"""What stands in the pages is what the results say, however short the results were made."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks import compact
from benchmarks.leaderboard import section

CONTROLS = Path(__file__).parent.parent / "benchmarks" / "results" / "controls"


def test_shortened_results_have_the_same_standings(tmp_path: Path) -> None:
    folder = tmp_path / "controls"
    shutil.copytree(CONTROLS / "results", folder / "results")
    before, size = section([folder]), _size(folder)

    compact.main([str(folder)])

    assert section([folder]) == before
    assert _size(folder) < size / 2


def test_to_shorten_twice_changes_nothing_more(tmp_path: Path) -> None:
    folder = tmp_path / "controls"
    shutil.copytree(CONTROLS / "results", folder / "results")
    compact.main([str(folder)])
    once = {path.name: path.read_bytes() for path in (folder / "results").iterdir()}

    compact.main([str(folder)])

    assert {path.name: path.read_bytes() for path in (folder / "results").iterdir()} == once


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in (folder / "results").iterdir())
