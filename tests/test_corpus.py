"""The text task: what becomes of every line, and what a bad corpus gets."""

import ast
import dataclasses
import gc
import math
import sysconfig
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgan_env.metrics.ngram import BleuReferences
from seqgan_env.tasks import make_task
from seqgan_env.tasks.reading import read_lines
from seqgan_env.tasks.text import docstrings
from seqgan_env.tasks.text.corpus_summary import CorpusSummary
from seqgan_env.tasks.text.settings import CorpusSettings
from seqgan_env.tasks.text.task import SPECIAL, CorpusTask
from seqgan_env.types import Task

from .conftest import Successor, needs_data, random_model, rng

SUBJECTS, VERBS, OBJECTS = (
    ("a cat", "a dog", "the old man"),
    ("sees", "eats", "finds"),
    tuple("bcdefg"),
)
LINES = [f"{s} {v} {o}" for s in SUBJECTS for v in VERBS for o in OBJECTS]  # 54 of 4 or 5 words
THIRDS = {"validation_share": 0.3, "held_out_share": 0.3}


def write(folder: Path, text: str | bytes, name: str = "corpus.txt") -> str:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def task_of(folder: Path, text: str | bytes, **changes: object) -> CorpusTask:
    return CorpusTask(CorpusSettings(corpus=write(folder, text), **changes))  # type: ignore[arg-type]


@pytest.fixture
def task(tmp_path: Path) -> CorpusTask:
    return task_of(tmp_path, "\n".join(LINES), max_length=8)


def lines_of(task: CorpusTask, part: torch.Tensor) -> list[str]:
    return [task.decode(row) for row in part]


def parts(task: CorpusTask) -> list[torch.Tensor]:
    return [task.real_sequences, task.validation, task.held_out]


# ---- sequences ----


def test_every_part_holds_finished_sequences(task: CorpusTask) -> None:
    assert isinstance(task, Task)
    for part in parts(task):
        task.spec.check_sequences(part)


def test_the_parts_together_are_the_corpus(tmp_path: Path) -> None:
    lines = LINES + LINES[:10] * 3
    task = task_of(tmp_path, "\n".join(lines))
    known = Counter(
        line for part in parts(task) for line in lines_of(task, part) if "<unk>" not in line
    )
    assert sum(map(len, parts(task))) == len(lines)
    assert all(count == lines.count(line) for line, count in known.items())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, len(LINES)))
def test_a_line_never_straddles_the_split_however_often_it_stands_there(
    tmp_path_factory: pytest.TempPathFactory, seed: int, repeats: int
) -> None:
    text = "\n".join(LINES + LINES[:repeats])
    task = task_of(
        tmp_path_factory.mktemp("split"),
        text,
        split_seed=seed,
        validation_share=0.3,
        held_out_share=0.3,
    )
    train, validation, held_out = (set(lines_of(task, part)) for part in parts(task))
    seen_in_training = {line for line in validation | held_out if "<unk>" not in line} & train
    assert not seen_in_training
    assert not {line for line in validation & held_out if "<unk>" not in line}


def test_the_split_is_the_same_for_the_same_seed_only(tmp_path: Path) -> None:
    one, same, other = (task_of(tmp_path, "\n".join(LINES), split_seed=seed) for seed in (1, 1, 2))
    assert one.held_out.equal(same.held_out)
    assert one.real_sequences.equal(same.real_sequences)
    assert one.vocabulary == same.vocabulary
    assert lines_of(one, one.held_out) != lines_of(other, other.held_out)


def test_lines_that_are_cut_to_the_same_words_do_not_straddle_the_split(tmp_path: Path) -> None:
    text = "\n".join(f"{line} and so on {i}" for i in range(5) for line in LINES)
    task = task_of(tmp_path, text, max_length=4, long_lines="cut", held_out_share=0.4)
    assert not set(map(tuple, task.held_out.tolist())) & set(
        map(tuple, task.real_sequences.tolist())
    )


# ---- vocabulary ----


def test_words_are_numbered_by_their_frequency_in_the_training_part_and_ties_by_code_points(
    task: CorpusTask,
) -> None:
    counts = Counter(word for line in lines_of(task, task.real_sequences) for word in line.split())
    assert task.vocabulary == (*SPECIAL, *sorted(counts, key=lambda word: (-counts[word], word)))


def test_words_beyond_the_cap_are_unknown(tmp_path: Path) -> None:
    full, capped = (task_of(tmp_path, "\n".join(LINES), vocab_size=size) for size in (None, 7))
    assert capped.vocabulary == full.vocabulary[:7]
    assert capped.spec.vocab_size == 7
    assert capped.decode(capped.encode("a cat eats zebras")).endswith("<unk>")
    assert capped.summary.coverage < full.summary.coverage <= 1


def test_special_tokens_spelled_in_the_text_are_unknown_words(tmp_path: Path) -> None:
    task = task_of(tmp_path, "\n".join(f"{line} <eos> <unk>" for line in LINES))
    for part in parts(task):
        task.spec.check_sequences(part)
        assert ((part == 1).sum(1) >= 2).all()
    assert len(set(task.vocabulary)) == len(task.vocabulary)


# ---- encode and decode ----


@pytest.fixture(scope="module", params=["word", "char"])
def either_level(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> CorpusTask:
    return task_of(
        tmp_path_factory.mktemp(request.param), "\n".join(LINES), level=request.param, max_length=40
    )


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(["a", "cat", "old", "sees", "finds"]), max_size=6))
def test_known_words_and_characters_survive_the_round_trip(
    either_level: CorpusTask, words: list[str]
) -> None:
    outside = "  " if either_level.settings.level == "word" else ""  # a character like any other
    tokens = either_level.encode(outside + " ".join(words))
    either_level.spec.check_sequences(tokens.unsqueeze(0))
    assert either_level.decode(tokens) == " ".join(words)


def test_decoding_stops_at_the_end(task: CorpusTask) -> None:
    assert task.decode(torch.tensor([2, 3, 0, 4, 4])) == " ".join(task.vocabulary[2:4])
    assert task.decode(torch.tensor([0, *[task.spec.pad_token] * 7])) == ""


@pytest.mark.parametrize(
    "words", ["我 爱 你 们", "кот видит мышь тут", "γάτα و कुत्ता 犬", "a\u3000b\u3000c\u3000d"]
)
def test_lines_split_by_spaces_work_in_any_script(tmp_path: Path, words: str) -> None:
    task = task_of(tmp_path, "\n".join(f"{words} {line}" for line in LINES), max_length=12)
    assert task.decode(task.encode(words)) == " ".join(words.split())


def test_a_line_that_would_have_been_dropped_is_not_encoded(tmp_path: Path) -> None:
    task = task_of(tmp_path, "\n".join(LINES), max_length=8, min_length=2)
    with pytest.raises(ValueError, match=r"has 9 words or characters; this task allows 2..8"):
        task.encode("a cat a " * 3)
    with pytest.raises(ValueError, match=r"has 1 words or characters; this task allows 2..8"):
        task.encode("cat")
    assert task.spec.lengths(task.encode("a cat " * 4)[None]) == 8  # has no end, as a sample may
    assert task.spec.eos_token not in task.encode("a cat " * 4)


# ---- what becomes of a line ----


LINE = st.lists(st.sampled_from(["a", "bc", "d", "e"]), max_size=7).map(" ".join)


@settings(max_examples=50, deadline=None)
@given(st.lists(LINE, max_size=12), st.sampled_from(["cut", "drop"]), st.integers(0, 3))
def test_kept_and_dropped_lines_are_all_lines(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], long_lines: str, min_length: int
) -> None:
    text = "".join(line + "\n" for line in [*LINES, *lines])
    task = task_of(
        tmp_path_factory.mktemp("lines"),
        text,
        max_length=6,
        long_lines=long_lines,
        min_length=min_length,
    )
    summary, lengths = task.summary, [len(line.split()) for line in lines]
    assert summary.lines == len(LINES) + len(lines) == summary.kept + sum(summary.dropped.values())
    assert (
        summary.kept
        == sum(map(len, parts(task)))
        == sum(summary.parts)
        == sum(summary.length_histogram)
    )
    assert summary.dropped["blank"] == sum(length == 0 for length in lengths)
    assert summary.dropped["too short"] == sum(0 < length < min_length for length in lengths)
    too_long = sum(length >= 6 for length in lengths)
    assert (summary.cut, summary.dropped["too long"]) == (
        (too_long, 0) if long_lines == "cut" else (0, too_long)
    )


def test_a_cut_line_fills_all_positions_and_has_no_end(tmp_path: Path) -> None:
    task = task_of(tmp_path, "\n".join(LINES), max_length=3, long_lines="cut", validation_share=0.1)
    assert task.summary.cut == len(LINES)
    assert not (task.real_sequences == 0).any()
    assert task.real_sequences.shape[1] == task.spec.seq_len == 3
    assert not (task.real_sequences == task.spec.pad_token).any()


def test_a_byte_order_mark_windows_line_ends_and_blank_lines_change_nothing(tmp_path: Path) -> None:
    plain = task_of(tmp_path, "\n".join(LINES))
    windows = task_of(tmp_path, b"\xef\xbb\xbf" + "\r\n".join(["", *LINES, "  ", ""]).encode())
    assert windows.vocabulary == plain.vocabulary
    assert windows.real_sequences.equal(plain.real_sequences)
    assert windows.summary.dropped["blank"] == 2


@pytest.mark.parametrize("level", ["word", "char"])
def test_windows_files_are_the_same_at_every_level(tmp_path: Path, level: str) -> None:
    plain = task_of(tmp_path, "\n".join(LINES), level=level, max_length=40)
    windows = task_of(
        tmp_path, b"\xef\xbb\xbf" + "\r\n".join(LINES).encode(), level=level, max_length=40
    )
    assert not {"\r", "\ufeff"} & set("".join(windows.vocabulary))
    assert windows.vocabulary == plain.vocabulary


def test_a_repeated_sentence_is_on_one_side_and_counts_as_often_as_it_stands_there(
    tmp_path: Path,
) -> None:
    task = task_of(tmp_path, "\n".join([LINES[0]] * 1000 + LINES[1:3]), **THIRDS)
    assert sum(LINES[0] in lines_of(task, part) for part in parts(task)) <= 1
    assert sorted(task.summary.parts) == [1, 1, 1000]


def test_numbers_are_words_like_any_other(tmp_path: Path) -> None:
    lines = [f"{i} {i * i} 3.14 0" for i in range(30)]
    task = task_of(tmp_path, "\n".join(lines))
    assert {"0", "3.14"} <= set(task.vocabulary)
    assert set(lines_of(task, task.real_sequences)) <= set(lines)
    assert task.decode(task.encode("0 0 3.14 0")) == "0 0 3.14 0"


POEMS = [
    " ".join(a + b)
    for a in ("春眠不", "床前明", "白日依")
    for b in ("觉晓处", "月光疑", "山尽黄", "闻啼鸟")
]


@pytest.mark.parametrize(
    ("changes", "length"), [({}, 7), ({"fixed_length": True, "max_length": 6}, 6)]
)
def test_poems_with_characters_split_by_spaces_work_as_they_are(
    tmp_path: Path, changes: dict[str, object], length: int
) -> None:
    task = task_of(tmp_path, "\n".join(POEMS), **changes)
    assert task.summary.kept == len(POEMS)
    assert set(task.spec.lengths(task.real_sequences).tolist()) == {length}
    assert {word for word in task.vocabulary if word not in SPECIAL} <= set("".join(POEMS))
    assert set(lines_of(task, task.real_sequences)) <= set(POEMS)


# ---- one length ----


def test_with_one_length_every_sequence_is_full_and_has_no_end(tmp_path: Path) -> None:
    task = task_of(tmp_path, "\n".join(LINES), fixed_length=True, max_length=4)
    four = [line for line in LINES if len(line.split()) == 4]
    assert task.spec.eos_token is None
    assert task.vocabulary[0] == "<unk>"
    assert "<eos>" not in task.vocabulary
    assert (task.summary.kept, task.summary.cut, task.summary.dropped["too long"]) == (
        len(four),
        0,
        len(LINES) - len(four),
    )
    for part in parts(task):
        task.spec.check_sequences(part)
        assert {line for line in lines_of(task, part) if "<unk>" not in line} <= set(four)
    assert task.decode(task.encode("a cat sees zebras")).split()[-1] == "<unk>"


@settings(max_examples=30, deadline=None)
@given(st.lists(LINE, max_size=12), st.sampled_from(["cut", "drop"]))
def test_with_one_length_lines_are_kept_cut_or_dropped_by_their_number_of_words(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], long_lines: str
) -> None:
    folder, text = (
        tmp_path_factory.mktemp("fixed"),
        "".join(line + "\n" for line in [*LINES, *lines]),
    )
    summary = task_of(folder, text, fixed_length=True, max_length=4, long_lines=long_lines).summary
    lengths = [len(line.split()) for line in [*LINES, *lines]]
    long = sum(length > 4 for length in lengths)
    assert summary.dropped["blank"] == lengths.count(0)
    assert summary.dropped["too short"] == sum(0 < length < 4 for length in lengths)
    assert (summary.cut, summary.dropped["too long"]) == (
        (long, 0) if long_lines == "cut" else (0, long)
    )
    assert (
        summary.kept
        == lengths.count(4) + summary.cut
        == summary.length_histogram[4]
        == sum(summary.parts)
    )


def test_with_one_length_only_lines_of_that_length_are_encoded(tmp_path: Path) -> None:
    task = task_of(tmp_path, "\n".join(LINES), fixed_length=True, max_length=4)
    for text, num in (("a cat sees", 3), ("the old man sees b", 5), ("", 0)):
        with pytest.raises(
            ValueError, match=rf"has {num} words or characters; this task allows 4..4"
        ):
            task.encode(text)
    with pytest.raises(
        ValueError, match=r"54 too short\); lower --max-length \(9\) or leave --fixed-length"
    ):
        task_of(tmp_path, "\n".join(LINES), fixed_length=True, max_length=9)


def test_a_task_of_one_length_is_measured_and_told_apart(tmp_path: Path) -> None:
    text = "\n".join(LINES)
    fixed, free = (
        task_of(tmp_path, text, fixed_length=value, max_length=4, long_lines="cut")
        for value in (True, False)
    )
    assert fixed.fingerprint != free.fingerprint
    metrics = fixed.evaluate(random_model(fixed.spec), rng())
    assert all(map(math.isfinite, metrics.values()))


def test_lower_case_is_a_choice(tmp_path: Path) -> None:
    text = "\n".join(line.title() for line in LINES)
    assert "Cat" in task_of(tmp_path, text).vocabulary
    assert "Cat" not in task_of(tmp_path, text, lowercase=True).vocabulary


def test_the_summary_says_what_happened(tmp_path: Path) -> None:
    text = str(task_of(tmp_path, "\n".join([*LINES, "", "far too many words " * 9])).summary)
    assert "56 lines, 54 kept" in text
    assert "1 blank, 1 too long" in text


# ---- identity ----


def test_the_fingerprint_tells_texts_and_settings_apart_but_not_places(tmp_path: Path) -> None:
    text = "\n".join(LINES)
    same = [
        task_of(tmp_path, text),
        CorpusTask(CorpusSettings(write(tmp_path, text, "moved.txt"), num_eval=7)),
    ]
    other = [
        task_of(tmp_path, text + "x"),
        task_of(tmp_path, text, split_seed=1),
        task_of(tmp_path, text, vocab_size=9),
    ]
    assert len({task.fingerprint for task in same}) == 1
    assert len({task.fingerprint for task in same + other}) == 4


def test_the_settings_rebuild_the_task(task: CorpusTask) -> None:
    again = make_task("text", **dataclasses.asdict(task.settings))
    assert isinstance(again, CorpusTask)
    assert again.fingerprint == task.fingerprint
    assert again.vocabulary == task.vocabulary
    assert all(map(torch.equal, parts(again), parts(task)))


# ---- evaluation ----


def test_a_policy_with_likelihoods_gets_every_metric(task: CorpusTask) -> None:
    metrics = task.evaluate(random_model(task.spec), rng())
    assert metrics.keys() == task.measure(task.held_out).keys() | {"nll_gen", "perplexity_heldout"}
    assert {f"{name}{n}" for name in ("bleu", "self_bleu") for n in (2, 3, 4, 5)} < metrics.keys()
    assert metrics["perplexity_heldout"] == pytest.approx(math.exp(metrics["nll_gen"]))
    assert all(map(math.isfinite, metrics.values()))


def test_evaluation_is_reproducible(task: CorpusTask) -> None:
    policy = random_model(task.spec)
    assert (
        task.evaluate(policy, rng(3))
        == task.evaluate(policy, rng(3))
        != task.evaluate(policy, rng(4))
    )


def test_one_sentence_for_ever_has_the_diversity_of_one_sentence(task: CorpusTask) -> None:
    metrics = task.evaluate(Successor(task.spec), rng())  # the end comes first
    none = (
        "bleu4",
        "self_bleu4",
        "distinct1",
        "distinct2",
        "distinct3",
        "mean_length",
        "copied_share",
        "length_p",
    )
    assert {name: metrics[name] for name in none} == dict.fromkeys(none, 0)
    assert metrics["unique_share"] == 1 / task.settings.num_eval
    assert metrics["unique_tokens"] == metrics["effective_vocabulary"] == metrics["length_ks"] == 1

    class Parrot:
        def complete(
            self, tokens: torch.Tensor, lengths: torch.Tensor, rng: torch.Generator
        ) -> torch.Tensor:
            return task.held_out[:1].repeat(len(tokens), 1)

    metrics, num_words = task.evaluate(Parrot(), rng()), len(task.decode(task.held_out[0]).split())
    assert "nll_gen" not in metrics
    assert metrics["mean_length"] == num_words
    assert metrics["unique_tokens"] == len(set(task.held_out[0].tolist()) - {task.spec.pad_token})
    assert [
        metrics[f"{name}{n}"] for name in ("bleu", "self_bleu") for n in (2, 3, 4)
    ] == pytest.approx([1] * 6)


def test_estimates_are_the_metrics_with_intervals(task: CorpusTask) -> None:
    policy = random_model(task.spec)
    estimates = task.estimates(policy, rng(3))
    assert {name: estimate.value for name, estimate in estimates.items()} == task.evaluate(
        policy, rng(3)
    )


def test_only_finished_sequences_of_the_task_are_measured(task: CorpusTask) -> None:
    with pytest.raises(ValueError, match=r"samples has shape \(2, 3\); expected \(B, 8\)"):
        task.measure(torch.zeros(2, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match="tokens behind the end"):
        task.measure(torch.zeros(2, 8, dtype=torch.int64))
    with pytest.raises(ValueError, match="at least 2 sentences"):
        task.measure(task.held_out[:1])


def test_bleu_is_that_of_the_samples_against_the_held_out_lines(task: CorpusTask) -> None:
    policy, empty = (
        random_model(task.spec),
        torch.full((task.settings.num_eval, task.spec.seq_len), task.spec.pad_token),
    )
    samples = policy.complete(empty, empty.new_zeros(len(empty)), rng(5)).numpy()
    expected = BleuReferences(task.held_out.numpy(), task.spec, 3).sentence_scores(samples).mean()
    assert task.evaluate(policy, rng(5))["bleu3"] == pytest.approx(expected)


def test_drawing_gives_every_training_sequence_once_before_any_comes_again(
    task: CorpusTask,
) -> None:
    drawn = task.draw_real(len(task.real_sequences), rng())
    assert sorted(drawn.tolist()) == sorted(task.real_sequences.tolist())


def test_a_corpus_smaller_than_a_batch_is_drawn_evenly(tmp_path: Path) -> None:
    task = task_of(tmp_path, "\n".join(LINES[:7]), **THIRDS)
    num = len(task.real_sequences)
    drawn = Counter(map(tuple, task.draw_real(64, rng()).tolist()))
    assert num < 64
    assert len(drawn) == num
    assert set(drawn.values()) <= {64 // num, 64 // num + 1}
    again = task.draw_real(num * 3, rng(1)).tolist()
    for start in range(0, num * 3, num):
        assert sorted(again[start : start + num]) == sorted(task.real_sequences.tolist())


# ---- bad input ----


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "no line to use among 0"),
        (b"\n \r\n\n", r"no line to use among 3 \(3 blank\)"),
        (
            "\n".join(["word " * 200] * 9),
            r"no line to use among 9 \(9 too long\); raise --max-length \(128\), or keep "
            r"their beginnings by --long-lines cut",
        ),
        (b"a b\nc d", "2 distinct lines to use; 11 or more are needed"),
        (b"a b\n" * 1000, "1 distinct lines to use; 11 or more are needed"),
        ("Le café\nfermé".encode("latin-1"), "byte 0xe9 at offset 6, in line 1"),
        ("a b\nc d".encode("utf-16-le"), "byte 0x00 at offset 1, in line 1"),
        (b"good line\nbad \xff line", "not UTF-8 text: byte 0xff at offset 14, in line 2"),
        (b"\xef\xbb\xbfgood\n\xe9", "byte 0xe9 at offset 8, in line 2"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "byte 0x89 at offset 0, in line 1"),
        (b"text\nthen\x00zero", "byte 0x00 at offset 9, in line 2"),
        ("Grüße".encode("utf-16"), "it looks like UTF-16"),
    ],
)
def test_a_bad_corpus_is_refused(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as problem:
        task_of(tmp_path, text)
    assert "corpus.txt" in str(problem.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"missing.txt cannot be read: No such file"):
        read_lines(str(tmp_path / "missing.txt"))
    with pytest.raises(ValueError, match="cannot be read"):
        read_lines(str(tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"level": "words"}, "unknown level 'words'; allowed are word, char. Did you mean 'word'"),
        (
            {"long_lines": "crop"},
            "unknown long_lines 'crop'; allowed are drop, cut. Did you mean 'drop'",
        ),
        ({"vocab_size": 2}, "vocab_size is 2; allowed is 3 or more"),
        (
            {"vocab_size": 1},
            r"vocab_size is 1; allowed is 3 or more \(<eos>, <unk> and a word\), or None",
        ),
        (
            {"fixed_length": True, "min_length": 2},
            "min_length is 2, but with fixed_length all sequences have 20 words",
        ),
        ({"tokeniser": "english"}, "Did you mean 'tokenizer'"),
        ({"max_length": 1}, "max_length is 1; allowed is 2 or more"),
        ({"min_length": 20, "max_length": 20}, r"min_length is 20; allowed is 0..19"),
        ({"min_length": -1}, r"min_length is -1; allowed is 0 or more"),
        ({"held_out_share": 0.0}, "held_out_share is 0.0; allowed is above 0 and below 0.5"),
        ({"validation_share": 0.5}, "validation_share is 0.5"),
        ({"num_eval": 1}, "num_eval is 1; allowed is 2 or more"),
        ({"levl": "char"}, "Did you mean 'level'"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_task("text", **changes)


# ---- built-in English ----


@pytest.mark.parametrize(
    ("docstring", "sentences"),
    [
        ("Return the list, sorted.\n\nSee also: x.y().", ["return the list , sorted ."]),
        (
            "It doesn't wrap\nat line ends.  It's well-known; isn't it.",
            ["it doesn't wrap at line ends .", "it's well-known ; isn't it ."],
        ),
        ("Too short.", []),
        ("Calls foo_bar before the end.", []),
        ("Calls fooBar before the end.", []),
        ("Sets it to 3 for now.", []),
        ("Use str for the name.", []),
        ("starts in the middle of things.", []),
        ("Says nothing at the end", []),
        ("A list of words\n    indented code follows here.", []),
        (">>> Example of a doctest here.", []),
    ],
)
def test_only_plain_sentences_are_read_from_a_docstring(
    docstring: str, sentences: list[str]
) -> None:
    assert list(docstrings.sentences_of(docstring)) == sentences


def test_words_of_one_sentence_only_go_with_it() -> None:
    kept = docstrings._without_lone_words(["a cat sees", "a cat eats", "a cat sees eats"])
    assert list(kept) == ["a cat sees", "a cat eats", "a cat sees eats"]
    assert list(docstrings._without_lone_words(["a cat", "a cat", "a zebra"])) == []


def test_files_are_read_in_the_order_of_their_names_without_tests_and_never_run(
    tmp_path: Path,
) -> None:
    for name in ("b.py", "a.py", "test/c.py", "d/e.py", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f'"""Of {name}."""\nraise SystemExit')
    (tmp_path / "broken.py").write_text("def")
    files = list(docstrings._source_files(tmp_path))
    assert [path.name for path in files] == ["a.py", "b.py", "broken.py", "e.py"]
    assert [text for path in files for text in docstrings._docstrings(path)] == [
        "Of a.py.",
        "Of b.py.",
        "Of d/e.py.",
    ]


def test_docstrings_of_modules_classes_and_functions_are_found() -> None:
    source = (
        '"""M"""\nclass C:\n    """C"""\n    def f(self):\n        """F"""\nasync def g():\n    '
        '"""G"""\ndef h(): pass'
    )
    assert list(docstrings._docstrings_below(ast.parse(source))) == ["M", "C", "F", "G", ""]


def test_a_python_without_sources_is_told_to_give_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="give a corpus file"):
        docstrings.docstring_sentences.__wrapped__()
    assert gc.isenabled()


@pytest.mark.slow
def test_the_built_in_corpus_is_thousands_of_english_sentences_always_the_same() -> None:
    task = make_task("text")
    assert isinstance(task, CorpusTask)
    assert len(task.real_sequences) > 2000
    again = docstrings.docstring_sentences.__wrapped__()
    assert again == docstrings.docstring_sentences()
    assert len(set(again)) == len(again)
    assert all(sentence.endswith(" .") and sentence == sentence.lower() for sentence in again)


@pytest.mark.slow
def test_real_captions_make_a_task() -> None:
    path = needs_data("text/image_coco.txt")
    task = CorpusTask(CorpusSettings(str(path)))
    assert task.summary.lines == task.summary.kept + sum(task.summary.dropped.values()) == 10_000
    assert task.summary.coverage > 0.9


@pytest.mark.parametrize("longest", [3, 20, 128, 9_999])
def test_the_histogram_of_lengths_fits_into_a_line_of_a_terminal(longest: int) -> None:
    counts = tuple(range(longest + 1))
    summary = CorpusSummary("a", 1, 1, 0, {}, (1, 1, 1), 1, 2, 3, 1.0, counts)
    line = next(line for line in str(summary).splitlines() if line.startswith("tokens in"))
    assert len(line) <= 79
    assert line.count("|") == 2
