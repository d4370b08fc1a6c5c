"""What a large text was read into: the same data without reading, and never those of another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqgan_env.cli.main import main
from seqgan_env.tasks import real_data
from seqgan_env.tasks.text import kept, task
from seqgan_env.tasks.text.kept import ABOUT, NUMBERS, kept_in
from seqgan_env.tasks.text.settings import CorpusSettings
from seqgan_env.tasks.text.task import CorpusTask

from .test_corpus import LINES

PARTS = ("real_sequences", "validation", "held_out")
SETTINGS: list[dict[str, Any]] = [
    {},
    {"level": "char", "lowercase": True},
    {"tokenizer": "english", "max_length": 4, "long_lines": "cut"},
    {"max_length": 4, "fixed_length": True, "vocab_size": 9},
]


@pytest.fixture(autouse=True)
def every_text_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "LARGE", 0)


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join([*LINES, "", "Caf\u00e9 " * 30]))
    return str(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("the text was read")

    monkeypatch.setattr(task, "NumberedLines", refuse)


@pytest.mark.parametrize("changes", SETTINGS)
def test_the_data_are_the_same_to_the_bit_and_nothing_is_read(
    corpus: str, folder: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = CorpusSettings(corpus=corpus, **changes)
    read = CorpusTask(settings)
    read.keep_data(folder)
    with monkeypatch.context() as patched, kept_in(folder):
        forbid_reading(patched)
        found = CorpusTask(settings)
    for part in PARTS:
        assert getattr(found, part).dtype == getattr(read, part).dtype
        assert torch.equal(getattr(found, part), getattr(read, part))
    for name in ("vocabulary", "summary", "fingerprint", "spec", "settings", "max_length"):
        assert getattr(found, name) == getattr(read, name)
    assert found.essentials() == read.essentials()


def test_very_many_numbers_stay_in_the_file(
    corpus: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(real_data, "MOST_IN_MEMORY", 100)
    read = CorpusTask(CorpusSettings(corpus=corpus))
    read.keep_data(folder)
    with kept_in(folder):
        found = CorpusTask(CorpusSettings(corpus=corpus))
    assert found.real_sequences.dtype == read.real_sequences.dtype == torch.int16
    assert torch.equal(found.real_sequences, read.real_sequences)


def test_another_text_or_other_settings_are_read_anew(corpus: str, folder: Path) -> None:
    CorpusTask(CorpusSettings(corpus=corpus)).keep_data(folder)
    longer = CorpusSettings(corpus=corpus, max_length=30)
    path = Path(corpus)
    with kept_in(folder):
        assert CorpusTask(longer).fingerprint == _read(longer).fingerprint
        path.write_text(path.read_text().replace("cat", "cow"))
        changed = CorpusTask(CorpusSettings(corpus=corpus))
    assert "cow" in changed.vocabulary
    assert "cat" not in changed.vocabulary


def test_what_was_read_is_kept_only_if_the_text_is_still_that(corpus: str, folder: Path) -> None:
    read = CorpusTask(CorpusSettings(corpus=corpus))
    Path(corpus).write_text("\n".join(LINES * 2))
    read.keep_data(folder)
    assert not list(folder.iterdir())


def test_small_texts_and_tokenizers_of_the_users_own_are_not_kept(
    corpus: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    CorpusTask(CorpusSettings(corpus=corpus, tokenizer=str.split)).keep_data(folder)
    CorpusTask(CorpusSettings()).keep_data(folder)
    monkeypatch.setattr(kept, "LARGE", 5_000_000)
    CorpusTask(CorpusSettings(corpus=corpus)).keep_data(folder)
    assert not list(folder.iterdir())


def _bad_numbers(folder: Path, numbers: np.ndarray) -> None:
    """Numbers that a stranger wrote, under the right hash."""
    np.save(folder / NUMBERS, numbers, allow_pickle=True)
    about = json.loads((folder / ABOUT).read_text())
    about["digest"] = kept._digest(folder / NUMBERS)
    (folder / ABOUT).write_text(json.dumps(about))


def _read(settings: CorpusSettings) -> CorpusTask:
    """The task without what is kept."""
    with kept_in(Path("nowhere")):
        return CorpusTask(settings)


@pytest.mark.parametrize("how", ["cut", "bit", "objects", "range", "shape", "words", "json"])
def test_what_is_damaged_is_refused_in_one_line_that_names_it(
    corpus: str, folder: Path, how: str
) -> None:
    settings = CorpusSettings(corpus=corpus)
    CorpusTask(settings).keep_data(folder)
    file, about = folder / NUMBERS, folder / ABOUT
    numbers = np.load(file)
    if how == "cut":
        file.write_bytes(file.read_bytes()[:-3])
    elif how == "bit":
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(bytes(content))
    elif how == "objects":
        _bad_numbers(folder, np.array([[{"a": 1}]], dtype=object))
    elif how == "range":
        numbers[0, 0] = 9999
        _bad_numbers(folder, numbers)
    elif how == "shape":
        _bad_numbers(folder, numbers[:, :-1])
    elif how == "words":
        content = json.loads(about.read_text())
        content["vocabulary"] = content["vocabulary"][:-1]
        about.write_text(json.dumps(content))
    else:
        about.write_text("{")
    with kept_in(folder), pytest.raises(ValueError, match=r"corpus\.(npy|json)") as told:
        CorpusTask(settings)
    assert "\n" not in str(told.value)


def test_a_run_is_resumed_and_used_without_reading_its_text_again(
    corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    few = ["--mle-epochs", "1", "--rounds", "1", "--num-negatives", "20", "--batch-size", "4"]
    few += ["--no-knobs", "--no-control", "--num-rollouts", "1", "--num-eval", "20"]
    assert main(["train", "--corpus", corpus, "--out", str(run), *few]) == 0
    result = json.loads((run / "result.json").read_text())
    assert (run / NUMBERS).exists()
    forbid_reading(monkeypatch)
    (run / "result.json").unlink()  # as if it had been killed at the end
    assert main(["train", "--resume", str(run)]) == 0
    again = json.loads((run / "result.json").read_text())
    assert again["agent"] == result["agent"]
    assert main(["sample", str(run), "--num", "3"]) == 0
    assert main(["evaluate", str(run)]) == 0
    capsys.readouterr()
