"""The documentation site: it builds without a warning, and reads without a network."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import pytest

import seqgan_env
from seqgan_env import registry
from seqgan_env.envs.env import TokenEnv
from tests.conftest import words_of_prose

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a site that was just built."""
    pytest.importorskip("mkdocstrings", reason="needs the extra docs")
    pytest.importorskip("material", reason="needs the extra docs")
    folder: Path = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_the_page_of_the_learned_signal_is_read_in_five_minutes() -> None:
    page = (ROOT / "docs" / "learned-signal.md").read_text(encoding="utf-8")
    assert len(words_of_prose(page)) <= 1150


def test_the_arguments_of_the_environments_have_a_meaning() -> None:
    pytest.importorskip("griffe", reason="needs the extra docs")
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec
    assert spec.loader
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    table = generate._argument_table(TokenEnv.__init__, without=("self", "rewards"))
    for row in table.splitlines()[2:]:
        assert row.split("|")[-2].strip(), row


@pytest.mark.slow
def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    loads = re.compile(r'<(?:script|img|iframe)[^>]*\ssrc="?(https?:[^" >]+)')
    styles = re.compile(
        r'<link[^>]*rel="?(?:stylesheet|preconnect|preload)[^>]*href="?(https?:[^" >]+)'
    )
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not loads.findall(text) + styles.findall(text), page


@pytest.mark.slow
def test_the_search_index_can_be_read_from_disk(site: Path) -> None:
    index = (site / "search" / "search_index.js").read_text(encoding="utf-8")
    assert index.startswith("var __index = ")
    assert "divergence" in index


@pytest.mark.slow
def test_every_id_agent_and_public_name_has_a_place(site: Path) -> None:
    for name in (name for name in gym.registry if name.startswith("SeqGAN/")):
        page = site / "environments" / f"{name.split('/')[1].split('-')[0].lower()}.html"
        assert name in page.read_text(encoding="utf-8")
    for name in registry.AGENTS.names():
        assert (site / "agents" / f"{name}.html").exists(), name
    anchors = "".join(page.read_text(encoding="utf-8") for page in (site / "api").glob("*.html"))
    for name in seqgan_env.__all__:
        assert re.search(rf'id="?seqgan_env\.[\w.]+\.{name}[" >]', anchors), name
