"""What a run writes is what `seqgan evaluate --samples` reads."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgan_env.bench.samples import read_samples
from seqgan_env.tasks import make_task
from seqgan_env.tasks.text.settings import CorpusSettings
from seqgan_env.tasks.text.task import chosen_length

_LINES = [
    "the cat sat on the mat",
    "a dog, a cat",
    "zwei   Hunde sitzen",
    " one two three four five six seven eight",
    "x\ry \ufffd z\ufeff",
    "é 日本 🙂 <unk> <eos>",
    "\u0301e\u0301\u0323q\u0308 \u200d \u1112\u1161\u11ab \u11ab",
    "👩\u200d🚀👍🏽🇩🇪 🇫👩\u200d",
    "b",
    "d e",
] * 4
_SHARES = {"validation_share": 0.2, "held_out_share": 0.2}


def text(folder: Path, **changes: Any) -> Any:
    path = folder / "lines.txt"
    path.write_text("\n".join(f"{line}{i % 7}" for i, line in enumerate(_LINES)), newline="")
    return make_task("text", corpus=str(path), num_eval=2, **_SHARES | changes)


TASKS: dict[str, Any] = {
    "word": lambda folder: text(folder),
    "word, short": lambda folder: text(folder, max_length=5, long_lines="cut"),
    "word, few are known": lambda folder: text(folder, vocab_size=6),
    "word, lowercase": lambda folder: text(folder, lowercase=True),
    "word, one length": lambda folder: text(folder, max_length=2, fixed_length=True),
    "char": lambda folder: text(folder, level="char"),
    "char, short": lambda folder: text(folder, level="char", max_length=6, long_lines="cut"),
    "char, marks as they are": lambda folder: text(folder, level="char", unicode_form="none"),
    "char, few are known": lambda folder: text(folder, level="char", vocab_size=6),
    "char, one length": lambda folder: text(
        folder, level="char", max_length=9, fixed_length=True, long_lines="cut"
    ),
    "music": lambda folder: make_task("music", num_eval=2),
    "oracle-tiny": lambda folder: make_task(
        "oracle-tiny", num_real=2, num_validation=2, num_held_out=2
    ),
}


@pytest.fixture(scope="module", params=TASKS)
def task(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return TASKS[request.param](tmp_path_factory.mktemp("corpus"))


def anything(task: Any, seed: int) -> torch.Tensor:
    """Whatever a policy may write, (5, T): any tokens, with an end or up to T without one."""
    spec, rng = task.spec, random.Random(seed)
    samples = torch.full((5, spec.seq_len), spec.pad_token)
    for row in samples:
        for t in range(spec.seq_len):
            row[t] = rng.randrange(spec.vocab_size)
            if t < spec.min_length and row[t] == spec.eos_token:
                row[t] = spec.vocab_size - 1
            if row[t] == spec.eos_token:
                break
    return samples


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_samples_come_back_from_a_file_as_they_were(
    task: Any, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    samples = anything(task, seed)
    path = tmp_path_factory.mktemp("samples") / "s.txt"
    path.write_text("".join(f"{task.decode(row)}\n" for row in samples), "utf-8", newline="")
    assert torch.equal(read_samples(path, task), samples)


class Pairs:
    """Two characters a word; joined, they cannot be told apart."""

    def __call__(self, line: str) -> list[str]:
        return [line[i : i + 2] for i in range(0, len(line), 2)]

    def join(self, words: Sequence[str]) -> str:
        return "".join(words)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32))
@pytest.mark.parametrize("tokenizer", [None, Pairs()])
def test_lists_of_words_come_back_whatever_the_tokenizer(
    tmp_path_factory: pytest.TempPathFactory, tokenizer: Pairs | None, seed: int
) -> None:
    task = text(tmp_path_factory.mktemp("corpus"), tokenizer=tokenizer, max_length=9)
    samples = anything(task, seed)
    path = tmp_path_factory.mktemp("samples") / "s.jsonl"
    path.write_text("".join(f"{json.dumps(task.words(row))}\n" for row in samples), "utf-8")
    assert torch.equal(read_samples(path, task), samples)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a b", "line 2: it is no JSON"),
        ('"a"', "line 2: it is no list of strings"),
        ("[1]", "line 2: it is no list of strings"),
        (json.dumps(["a"] * 99), r"line 2: the list \['a'.* has 99 words"),
    ],
)
def test_a_line_that_is_no_list_of_words_is_refused(
    tmp_path: Path, line: str, message: str
) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text(f'["a"]\n{line}\n')
    with pytest.raises(ValueError, match=message):
        read_samples(path, text(tmp_path))


def test_the_samples_of_a_run_are_refused_since_they_are_of_several_policies(
    tmp_path: Path,
) -> None:
    path = tmp_path / "samples.txt"
    path.write_text("## mle\na b\n\n## agent\na b\n")
    with pytest.raises(ValueError, match=r"of several policies .* `seqgan sample RUN"):
        read_samples(path, text(tmp_path))


def test_the_length_follows_the_lines_where_none_is_given(tmp_path: Path) -> None:
    path = tmp_path / "poems.txt"
    path.write_text("\n".join(" ".join(["word"] * (24 + i % 5) + [str(i)]) for i in range(200)))
    task = make_task("text", corpus=str(path))
    assert task.spec.seq_len == 30  # 28 words, a number and the end
    assert "30 tokens are the longest sequence, chosen" in str(task.summary)  # type: ignore[attr-defined]
    assert make_task("text", corpus=str(path), max_length=27).spec.seq_len == 27


@pytest.mark.parametrize(
    ("lengths", "chosen"), [([3] * 90 + [50] * 10, 20), ([3] * 80 + [50] * 20, 51), ([900], 128)]
)
def test_the_usual_length_stays_where_most_lines_fit(lengths: list[int], chosen: int) -> None:
    assert chosen_length(np.array(lengths), CorpusSettings()) == chosen
