"""Tokenizers: the built-in ones, those of users, and those of Hugging Face's library."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqgan_env.tasks import make_task
from seqgan_env.tasks.text.settings import CorpusSettings
from seqgan_env.tasks.text.task import CorpusTask
from seqgan_env.tasks.text.tokenizers import English, Tokenizer, make_tokenizer

from .conftest import rng

LINES = [
    f"The {a} {b}s, then {c}!"
    for a in ("cat", "dog", "cow")
    for b in ("see", "eat")
    for c in ("it sleeps", "we don't")
]


class Syllables:
    """Two letters a word."""

    def __call__(self, line: str) -> list[str]:
        return re.findall("..?", line)

    def join(self, words: Sequence[str]) -> str:
        return "".join(words)


def by_comma(line: str) -> list[str]:
    return [part.strip() for part in line.split(",")]


def corpus(folder: Path) -> str:
    path = folder / "corpus.txt"
    path.write_text("\n".join(LINES), encoding="utf-8")
    return str(path)


def task_with(
    folder: Path, tokenizer: str | Callable[[str], Sequence[str]], **changes: Any
) -> CorpusTask:
    return CorpusTask(CorpusSettings(corpus(folder), tokenizer=tokenizer, max_length=30, **changes))


@pytest.mark.parametrize(
    ("level", "words"), [("word", ["a", "bc", "é"]), ("char", list("a  bc é"))]
)
def test_levels_split_at_white_space_or_everywhere(level: str, words: list[str]) -> None:
    tokenizer = make_tokenizer(level)
    assert isinstance(tokenizer, Tokenizer)
    assert list(tokenizer(" a  bc é ")) == words
    assert tokenizer.join(words) == ("a bc é" if level == "word" else "a  bc é")


def test_a_function_from_lines_to_words_is_a_tokenizer(tmp_path: Path) -> None:
    task = task_with(tmp_path, by_comma)
    assert task.spec.lengths(task.real_sequences).tolist() == [3] * len(task.real_sequences)
    assert task.decode(task.encode(LINES[0])) == LINES[0].replace(",", "")


def test_an_object_may_say_how_words_are_joined(tmp_path: Path) -> None:
    task = task_with(tmp_path, Syllables(), vocab_size=None)
    assert all(task.decode(row) in LINES for row in task.real_sequences)


def test_a_name_is_a_module_and_what_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_words.py").write_text(
        "class Words:\n    def __call__(self, line):\n        return line.split('e')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    task = make_task("text", corpus=corpus(tmp_path), tokenizer="my_words:Words")
    assert isinstance(task, CorpusTask)
    assert "Th" in task.vocabulary
    sys.modules.pop("my_words")


def test_the_fingerprint_is_of_the_words_that_a_tokenizer_gives(tmp_path: Path) -> None:
    one, same, other = (
        task_with(tmp_path, tokenizer) for tokenizer in (Syllables(), Syllables(), by_comma)
    )
    assert one.fingerprint == same.fingerprint != other.fingerprint


def test_lower_case_comes_before_the_tokenizer(tmp_path: Path) -> None:
    assert "Th" in task_with(tmp_path, Syllables()).vocabulary
    assert "th" in task_with(tmp_path, Syllables(), lowercase=True).vocabulary


# ---- English ----


@pytest.mark.parametrize(
    ("text", "num_words"),
    [
        ("A man, a plan (of sorts), a canal.", 13),
        ("Well-known doesn't end; does it?", 7),
        ("It costs 3.14 euros! Buy <unk> now.", 9),
        ("我 爱 你", 3),
    ],
)
def test_english_is_split_into_words_and_marks_and_reads_well_again(
    text: str, num_words: int
) -> None:
    tokenizer = English()
    assert len(tokenizer(text)) == num_words
    assert tokenizer.join(tokenizer(text)) == text


def test_captions_that_were_split_before_read_well() -> None:
    line = "a man 's dog , which does n't bark , sits . it waits ( here ) ."
    assert English().join(line.split()) == "A man's dog, which doesn't bark, sits. It waits (here)."


@given(
    st.lists(
        st.sampled_from(
            ["cat", "Dog", ",", ".", "(", ")", "don't", "3.14", "x-ray", "<unk>", "né"]
        ),
        max_size=9,
    )
)
def test_what_was_joined_is_split_into_the_same_words(words: list[str]) -> None:
    def lower(words: list[str]) -> list[str]:
        return [word.lower() for word in words]

    assert lower(English()(English().join(words))) == lower(words)


# ---- Hugging Face ----


@pytest.fixture
def bpe(tmp_path: Path) -> str:
    """A small byte-level tokenizer, trained on the corpus."""
    tokenizers = pytest.importorskip(
        "tokenizers", reason="needs pip install 'seqgan-env[tokenizers]'"
    )
    trained = tokenizers.ByteLevelBPETokenizer()
    trained.train_from_iterator(LINES, vocab_size=300, min_frequency=2, show_progress=False)
    path = tmp_path / "bpe.json"
    trained.save(str(path))
    return str(path)


def test_a_tokenizer_file_splits_and_joins_by_its_own_rules(tmp_path: Path, bpe: str) -> None:
    import tokenizers

    task = task_with(tmp_path, bpe, vocab_size=None)
    theirs = tokenizers.Tokenizer.from_file(bpe)
    assert [
        task.vocabulary[token] for token in task.encode(LINES[0]).tolist()[:3]
    ] == theirs.encode(LINES[0]).tokens[:3]
    assert all(task.decode(row) in LINES for row in task.real_sequences)
    assert task.measure(task.draw_real(20, rng()))["copied_share"] == 1


def test_lines_are_neither_truncated_nor_padded(tmp_path: Path, bpe: str) -> None:
    content = json.loads(Path(bpe).read_text(encoding="utf-8"))
    content["truncation"] = {
        "direction": "Right",
        "max_length": 2,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    content["padding"] = {
        "strategy": {"Fixed": 50},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "!",
    }
    (tmp_path / "cut.json").write_text(json.dumps(content))
    assert make_tokenizer("word", str(tmp_path / "cut.json"))(LINES[0]) == make_tokenizer(
        "word", bpe
    )(LINES[0])


def test_without_the_library_the_command_that_installs_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ValueError, match=r"pip install 'seqgan-env\[tokenizers\]'"):
        make_tokenizer("word", "some.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        (b"{", "is no tokenizer"),
        (b'{"version": "1.0"}', "is no tokenizer"),
        (b"\xff\xfe", "is damaged: 'utf-8' codec"),
    ],
)
def test_a_missing_or_damaged_file_is_named(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    pytest.importorskip("tokenizers", reason="needs pip install 'seqgan-env[tokenizers]'")
    path = tmp_path / "bad.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"bad\.json {message}"):
        make_tokenizer("word", str(path))


# ---- bad input ----


@pytest.mark.parametrize(
    ("tokenizer", "message"),
    [
        (
            "englsh",
            "unknown tokenizer 'englsh'; allowed are english, FILE.json, FOLDER, "
            "package.module:name. Did you mean 'english'",
        ),
        ("no_such_module:words", "cannot be imported: No module named 'no_such_module'"),
        ("json:no_such_name", "module json has no 'no_such_name'"),
        ("sys:maxsize", "is a int; expected a function from a line to its words"),
        (":", "cannot be imported"),
        (3, "tokenizer 3 is a int"),
    ],
)
def test_what_is_no_tokenizer_is_refused(tokenizer: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_tokenizer("word", tokenizer)


@pytest.mark.parametrize(
    ("tokenizer", "message"),
    [
        (lambda line: 1 // 0, "the tokenizer failed in line 1 of corpus .*: ZeroDivisionError"),
        (lambda line: line, "gave 'The cat sees, then it sleeps!' for line 1 of"),
        (lambda line: [1, 2], r"gave \[1, 2\] for line 1 of .*; expected a list of strings"),
        (lambda line: None, "gave None for line 1"),
    ],
)
def test_a_tokenizer_that_fails_is_told_in_which_line(
    tmp_path: Path, tokenizer: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        task_with(tmp_path, tokenizer)


def test_a_level_and_a_tokenizer_are_too_much() -> None:
    with pytest.raises(
        ValueError, match="level is 'char' and tokenizer 'english'; give one of them"
    ):
        CorpusSettings(level="char", tokenizer="english")
