"""What stands in the pages is what the results say, however short the results were made."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks import compact
from benchmarks.leaderboard import section
from seqgan_env.training.run_directory import read_json

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


def test_curves_that_are_asked_for_stay(tmp_path: Path) -> None:
    folder = tmp_path / "controls"
    shutil.copytree(CONTROLS / "results", folder / "results")
    before = _curves(folder)

    compact.main([str(folder), "--curves"])

    kept = {"round", "seconds", "task/kl_mean"}
    for name, curve in _curves(folder).items():
        assert len(curve) == len(before[name])
        for row, whole in zip(curve, before[name], strict=True):
            assert row.items() <= whole.items()
            assert kept & whole.keys() <= row.keys()
    assert any(before.values())


def _curves(folder: Path) -> dict[str, list[dict[str, float]]]:
    curves = {}
    for path in (folder / "results").iterdir():
        curves[path.name] = read_json(path)["curve"]
    return curves


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in (folder / "results").iterdir())
