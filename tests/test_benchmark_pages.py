"""What stands in the pages is what the results say, however short the results were made."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks import compact, learned_signal, one_correction, performance_tables
from benchmarks.leaderboard import section
from seqgan_env.training.run_directory import read_json, write_json

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"
DOCS = RESULTS.parent.parent / "docs"
CONTROLS = RESULTS / "controls"
SIGNAL, CHEATS, SETTINGS = (
    str(RESULTS / name)
    for name in ("learned-signal", "learned-signal-cheats", "learned-signal-settings")
)


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


def test_the_tables_of_the_signal_and_those_beside_it_have_pages_of_their_own(
    tmp_path: Path,
) -> None:
    page, evidence = _page(tmp_path, learned_signal.MARKERS), _page(tmp_path, learned_signal.BESIDE)
    command = [SIGNAL, "--cheats", CHEATS, "--settings", SETTINGS]
    command += ["--page", str(page), "--evidence", str(evidence)]
    assert learned_signal.main([*command, "--check"]) == 1

    assert learned_signal.main(command) == 0

    assert learned_signal.main([*command, "--check"]) == 0
    main, beside = page.read_text(encoding="utf-8"), evidence.read_text(encoding="utf-8")
    assert "| **ratio** |" in main
    assert "**The ratio against its rivals**" in main
    assert "power 1.2" not in main
    assert "**cheats on tiny, 1,000 sequences**" in beside
    assert "| power 1.2, rate 5e-3 |" in beside
    assert "distillation" not in beside


def test_one_stale_page_of_two_fails_the_check(tmp_path: Path) -> None:
    page, evidence = _page(tmp_path, learned_signal.MARKERS), _page(tmp_path, learned_signal.BESIDE)
    command = [SETTINGS, "--settings", SETTINGS, "--page", str(page), "--evidence", str(evidence)]
    assert learned_signal.main(command) == 0
    for stale in (page, evidence):
        fresh = stale.read_text(encoding="utf-8")
        stale.write_text(fresh.replace("power 1.2", "power 1.3"), encoding="utf-8")
        assert learned_signal.main([*command, "--check"]) == 1
        stale.write_text(fresh, encoding="utf-8")


def test_tables_without_a_page_are_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = _page(tmp_path, learned_signal.MARKERS)

    assert learned_signal.main([SETTINGS, "--settings", SETTINGS, "--page", str(page)]) == 0

    printed = capsys.readouterr().out
    assert "**settings on tiny, 1,000 sequences**" in printed
    assert "**tiny, 1,000 sequences**" not in printed


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--evidence", "page.md"], "--cheats"),
        (["--check"], "--page"),
        (["--check", "--page", "page.md", "--plot", "picture.png"], "--plot"),
    ],
)
def test_a_flag_that_would_be_ignored_is_refused(
    flags: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        learned_signal.main([SETTINGS, *flags])
    assert refused.value.code == 2
    assert named in capsys.readouterr().err.splitlines()[-1]


def test_one_correction_for_all_tests_never_helps_a_test() -> None:
    """A suite by itself has its own p-values; beside another one none of them falls."""
    columns = [_p_values([SETTINGS]), _p_values([SETTINGS, CHEATS])]
    tests = list(columns[0])
    assert tests
    for test in tests:
        own, in_suite, alone = columns[0][test]
        assert own <= in_suite == alone
        assert columns[1][test][:2] == (own, in_suite)
        assert in_suite <= columns[1][test][2]


def test_a_measurement_that_is_not_what_a_page_says_fails_the_check(tmp_path: Path) -> None:
    docs, results = tmp_path / "docs", tmp_path / "results"
    docs.mkdir()
    results.mkdir()
    for each in performance_tables.SECTIONS:
        shutil.copy(RESULTS / each.file, results)
        shutil.copy(DOCS / each.page, docs)
    check = [str(results), "--docs", str(docs), "--check"]
    assert performance_tables.main(check) == 0

    path = results / "likelihood-speed.json"
    content = read_json(path)
    content["rows"][0]["milliseconds"]["torch"] *= 2
    write_json(path, content)

    assert performance_tables.main(check) == 1
    path.unlink()
    assert performance_tables.main(check) == 2


def _p_values(folders: list[str]) -> dict[str, tuple[float, ...]]:
    """By suite and test the p-values: alone, in the suite, among all."""
    tests: list[one_correction.Tested] = []
    for folder in folders:
        tests += one_correction.of_oracles(Path(folder), learned_signal.Evidence)
    found = {}
    for line in one_correction.section(tests).splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0].startswith("learned-signal"):
            found[cells[0] + cells[1]] = tuple(float(cell.strip("< ")) for cell in cells[3:])
    return found


def _page(folder: Path, markers: tuple[str, str]) -> Path:
    """A page without a table, named after its markers."""
    page = folder / f"{markers[0].strip('<!- >').split(':')[0]}.md"
    page.write_text("\n".join(markers), encoding="utf-8")
    return page


def _curves(folder: Path) -> dict[str, list[dict[str, float]]]:
    curves = {}
    for path in (folder / "results").iterdir():
        curves[path.name] = read_json(path)["curve"]
    return curves


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in (folder / "results").iterdir())
