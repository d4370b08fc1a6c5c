"""The scripts of the guides run as they stand, with little training."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from seqgan_env.bench.jobs import read_suite

ROOT = Path(__file__).parents[1]
GUIDES = sorted((ROOT / "examples" / "guides").glob("*.py"))


def test_every_script_stands_on_a_page() -> None:
    pages = [*(ROOT / "docs" / "guides").glob("*.md"), *(ROOT / "docs" / "start").glob("*.md")]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    for path in GUIDES:
        assert f'--8<-- "{path.relative_to(ROOT).as_posix()}"' in text


def test_the_suites_of_the_guides_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)  # they name the scripts in examples/
    suites = []
    for page in (ROOT / "docs" / "guides").glob("*.md"):
        text = page.read_text(encoding="utf-8")
        for block in re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL):
            if "[tasks." in block:
                suites.append(block)
    assert suites
    for block in suites:
        path = tmp_path / "suite.toml"
        path.write_text(block, encoding="utf-8")
        assert read_suite(path, trust=True).jobs()


@pytest.mark.slow
@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_a_guide_runs(path: Path, tmp_path: Path) -> None:
    if path.stem == "molecules":
        pytest.importorskip("rdkit", reason="needs the extra molecules")
    if path.stem in ("comparing", "cluster"):
        pytest.importorskip("vl_convert", reason="needs the extra bench")
    command = [sys.executable, str(path), "--quick"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout
