"""The scripts of the guides run as they stand, with little training."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GUIDES = sorted((ROOT / "examples" / "guides").glob("*.py"))


def test_every_script_stands_on_a_page() -> None:
    pages = [*(ROOT / "docs" / "guides").glob("*.md"), *(ROOT / "docs" / "start").glob("*.md")]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    for path in GUIDES:
        assert f'--8<-- "{path.relative_to(ROOT).as_posix()}"' in text


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
