"""Libraries that are extras: imported where they are used, and named where they are missing."""

from __future__ import annotations

import ast
import configparser
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from seqgan_env.extras import EXTRAS, is_installed, load, remedy
from seqgan_env.tasks.music.midi import read_score, write_melody
from seqgan_env.tasks.music.piano_roll import plot_piano_rolls

ROOT = Path(__file__).parents[1]
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")
LIBRARY = sorted((ROOT / "seqgan_env").rglob("*.py"))

WITHOUT = """
import sys
for library in ("matplotlib", "mido", "tensorboard"):
    sys.modules[library] = None
from seqgan_env.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def seqgan(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line where the libraries of three extras are missing."""
    command = [sys.executable, "-c", WITHOUT, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def imported(nodes: Iterable[ast.AST]) -> set[str]:
    """The modules that import statements among `nodes` name."""
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def test_a_library_of_an_extra_is_imported_by_what_is_loaded_when_it_is_asked_for() -> None:
    """That is inside a function, or in a module that the registry alone loads, by its name."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in LIBRARY}
    used = {name for tree in trees.values() for name in imported(ast.walk(tree))}
    for path, tree in trees.items():
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        roots = {name.partition(".")[0] for name in imported(tree.body)}
        assert not roots & set(EXTRAS) or module not in used, path


def test_every_extra_that_messages_name_is_declared_and_part_of_all() -> None:
    declared = SETUP["options.extras_require"]
    assert set(EXTRAS.values()) <= set(declared)
    every = declared["all"].strip().removeprefix("seqgan-env[").removesuffix("]").split(",")
    assert set(every) == set(declared) - {"all", "dev", "docs", "test"}


def test_what_an_extra_installs_is_not_required() -> None:
    required = SETUP["options"]["install_requires"]
    for library in ("matplotlib", "mido", "tensorboard"):
        assert library not in required


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mido", None)
    assert not is_installed("mido")
    with pytest.raises(ValueError, match=r"MIDI needs mido \(pip install 'seqgan-env\[midi\]'\)"):
        load("mido", "MIDI")
    assert remedy("a_library_of_the_users") == ""


def test_midi_and_piano_rolls_ask_for_their_extras(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for library in ("mido", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, library, None)
    tune = tmp_path / "tune.mid"
    tune.write_bytes(b"MThd")
    with pytest.raises(ValueError, match=r"seqgan-env\[midi\]"):
        read_score(tune)
    with pytest.raises(ValueError, match=r"seqgan-env\[midi\]"):
        write_melody(tmp_path / "new.mid", [(0, 1, 60)], 4, 4)
    with pytest.raises(ValueError, match=r"seqgan-env\[plots\]"):
        plot_piano_rolls([[(0, 1, 60)]], 4, 4, tmp_path / "roll.png")


@pytest.mark.slow
def test_a_run_without_them_goes_on_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    tiny = ["--rounds", "1", "--mle-epochs", "1", "--num-negatives", "20", "--batch-size", "8"]
    done = seqgan("train", *tiny, "--no-knobs", "--no-control", "--out", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert "curves.png will not be written" in said
    assert "seqgan-env[plots]" in said
    assert "seqgan-env[tensorboard]" in said
    written = {path.name for path in (tmp_path / "run").iterdir()}
    assert "result.json" in written
    assert not {"curves.png", "tensorboard"} & written


@pytest.mark.slow
def test_a_folder_of_midi_without_its_library_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "tune.mid").write_bytes(b"MThd")
    done = seqgan("train", "--corpus", str(tmp_path), "--task", "music")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "MIDI needs mido (pip install 'seqgan-env[midi]')" in done.stderr
