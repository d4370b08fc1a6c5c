"""The README is short, has the two commands, and its code runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import words_of_prose

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
INSTALL = "$ python3 -m venv .venv && . .venv/bin/activate && pip install -c constraints.txt -e"


def test_the_first_two_commands_run_the_main_job_and_the_tests() -> None:
    first, second = re.findall(r"```console\n(.*?)\n```", TEXT, flags=re.DOTALL)[:2]
    assert first == f"{INSTALL} '.[plots,sb3]' && seqgan train"
    assert second == f"{INSTALL} '.[sb3,test]' && pytest -n 2"


def test_it_is_read_in_two_minutes() -> None:
    assert len(words_of_prose(TEXT)) <= 2 * 250  # words a minute


def test_its_links_lead_to_files() -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", TEXT)
    assert targets
    for target in targets:
        assert (ROOT / target).is_file(), target


@pytest.mark.slow
@pytest.mark.parametrize("code", BLOCKS)
def test_its_code_runs(code: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", code]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}  # two would wait for each other in vain
    ran = subprocess.run(
        command, cwd=tmp_path, env=one_thread, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert len(ran.stdout.splitlines()) == 5


def test_there_is_code() -> None:
    assert BLOCKS
