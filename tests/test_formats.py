"""Texts in files of many formats, and what is refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from seqgan_env.extras import is_installed, load
from seqgan_env.tasks.reading import MOST_BYTES, read_lines, reported
from seqgan_env.tasks.text.formats import iterate_texts, natural_level
from seqgan_env.tasks.text.settings import CorpusSettings
from seqgan_env.tasks.text.task import CorpusTask


def zstd(content: bytes) -> bytes:
    """Compressed by zstd; nothing where the library is missing."""
    if not is_installed("zstandard"):
        return b""
    compressed: bytes = load("zstandard", "this test").compress(content)
    return compressed


def needs_zstd(name: str) -> None:
    if name.endswith(".zst") and not is_installed("zstandard"):
        pytest.skip("the library zstandard is not installed")


TEXTS = ["the first, with a comma", 'a "second" text', "", "dritter Text: ä"]
PLAIN = "".join(f"{text}\n" for text in TEXTS).encode()
CSV = (
    'id,text\n1,"the first, with a comma"\n2,"a ""second"" text"\n3,""\n4,"dritter Text: ä"\n'
).encode()
TSV = "".join(["text\tid\n", *(f"{text}\t{i}\n" for i, text in enumerate(TEXTS))]).encode()
JSONL = "".join(json.dumps({"id": 1, "text": text}) + "\n" for text in TEXTS).encode()
FASTA = b"; a comment\n>one first\nMKV\nLAA\n\n>two\n>three\nM K\n"
FILES: dict[str, tuple[bytes, str | None, list[str]]] = {
    "a.txt": (PLAIN, None, TEXTS),
    "windows.txt": (PLAIN.replace(b"\n", b"\r\n"), None, TEXTS),
    "macintosh.txt": (PLAIN.replace(b"\n", b"\r"), None, TEXTS),
    "mark.txt": (b"\xef\xbb\xbf" + PLAIN, None, TEXTS),
    "a.txt.gz": (gzip.compress(PLAIN), None, TEXTS),
    "named_otherwise": (gzip.compress(PLAIN), None, TEXTS),
    "a.zst": (zstd(PLAIN), None, TEXTS),
    "frames.zst": (zstd(PLAIN) * 2, None, TEXTS * 2),
    "members.gz": (gzip.compress(PLAIN) * 2, None, TEXTS * 2),
    "a.csv": (CSV, "text", TEXTS),
    "A.CSV.GZ": (gzip.compress(CSV), "text", TEXTS),
    "lines.csv": (b'text\n"two\nlines"\n', "text", ["two lines"]),
    "a.tsv": (TSV, "text", TEXTS),
    "a.jsonl": (JSONL, "text", TEXTS),
    "a.ndjson.zst": (zstd(JSONL), "text", TEXTS),
    "a.fasta": (FASTA, None, ["MKVLAA", "", "MK"]),
    "a.smi": (b"CCO ethanol\n\nc1ccccc1\tbenzene\n", None, ["CCO", "", "c1ccccc1"]),
}


def write(folder: Path, name: str, content: bytes) -> str:
    path = folder / name
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize("name", FILES)
def test_the_texts_of_a_file_are_found_whatever_its_format(tmp_path: Path, name: str) -> None:
    needs_zstd(name)
    content, column, texts = FILES[name]
    assert list(iterate_texts(write(tmp_path, name, content), column)) == texts


REFUSED: dict[str, tuple[str, bytes, str | None, str]] = {
    "a column is needed": (
        "a.csv",
        CSV,
        None,
        ": say by --column which entry is the text; there are id, text",
    ),
    "a key is needed": ("a.jsonl", JSONL, None, "line 1: say by --column .*; there are id, text"),
    "typo": ("a.csv", CSV, "texts", "unknown column 'texts'; allowed are id, text. Did you mean"),
    "no columns": ("a.txt", PLAIN, "text", "column 'text' was given .* only .csv, .tsv, .jsonl"),
    "short row": ("a.csv", b"id,text\n1\n", "text", "line 2, has 1 entries; .* is number 2"),
    "open quote": ("a.csv", b'id,text\n1,"a\n', "text", "line 2: unexpected end of data"),
    "no JSON": ("a.jsonl", b"{\n", "text", "line 1 is no JSON"),
    "deep JSON": ("a.jsonl", b"[" * 100_000, "text", "line 1 is no JSON"),
    "no object": ("a.jsonl", b"[1]\n", "text", "line 1 is a list; expected an object"),
    "no text": ("a.jsonl", b'{"text": 1}\n', "text", "text is a int; expected a string"),
    "no FASTA": ("a.fa", b"MKV\n", None, "line 1: a record of FASTA begins with '>'"),
    "cut gzip": ("a.gz", gzip.compress(PLAIN)[:-9], None, "is damaged"),
    "bad gzip": ("a.gz", gzip.compress(PLAIN)[:-8] + b"12345678", None, "is damaged"),
    "bad zstd": ("a.zst", zstd(PLAIN)[:-1] + b"?" * 99, None, "is damaged"),
    "cut zstd": ("a.zst", zstd(PLAIN)[:-9], None, "ends within a frame"),
    "bytes in gzip": ("a.gz", gzip.compress(b"good\n\xff"), None, "0xff at offset 5, in line 2"),
    "bytes on a Macintosh": ("a", b"good\rbad \xff", None, "0xff at offset 9, in line 2"),
    "no line ends": ("a", b"a" * (MOST_BYTES + 1), None, "line 1, has over 16777216 bytes"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_refused_with_its_place(tmp_path: Path, case: str) -> None:
    name, content, column, message = REFUSED[case]
    needs_zstd(name)
    path = write(tmp_path, name, content)
    with pytest.raises(ValueError, match=message) as problem:
        list(iterate_texts(path, column))
    assert path in str(problem.value)


def test_reading_reports_how_far_it_is(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", b"a line\n" * 50_000)
    told: list[tuple[str, int, int]] = []
    with reported(lambda *values: told.append(values)):
        read_lines(path)
    read_lines(path)
    assert [name for name, _, _ in told] == [f"corpus {path}"] * 3
    assert [done for _, done, _ in told] == sorted({done for _, done, _ in told})
    assert told[-1][1] == told[-1][2] == 350_000


LINES = [f"{a} {b} {c}" for a in "abcde" for b in "fghij" for c in "kl"]


def task(folder: Path, **changes: Any) -> CorpusTask:
    path = write(folder, "corpus.txt", "\n".join(LINES).encode())
    return CorpusTask(CorpusSettings(corpus=path, **changes))


def texts_of(made: CorpusTask, part: Tensor) -> list[str]:
    return [made.decode(row) for row in part]


def test_molecules_and_proteins_are_written_by_characters(tmp_path: Path) -> None:
    assert natural_level("x.smi.gz") == natural_level("x.fasta") == "char"
    assert natural_level("x.csv") == natural_level(None) == "word"
    smiles = "\n".join("C" * i + "O" * j for i in range(1, 9) for j in range(5))
    path = write(tmp_path, "a.smi", smiles.encode())
    molecules = CorpusTask(CorpusSettings(corpus=path))
    assert molecules.decode(molecules.encode("CCO")) == "CCO"
    by_words = CorpusTask(CorpusSettings(corpus=path, level="word"))
    assert "WARNING: only 0.0% of held-out words are known" in str(by_words.summary)
    assert "--level char" in str(by_words.summary)
    assert "WARNING" not in str(molecules.summary)


def test_files_of_ones_own_to_select_and_to_report_on_are_taken_whole(tmp_path: Path) -> None:
    selected, reported_on = [*LINES[:3], "new words here"], [LINES[2], LINES[7]]
    made = task(
        tmp_path,
        validation_corpus=write(tmp_path, "v.txt", "\n".join(selected).encode()),
        held_out_corpus=write(tmp_path, "h.txt", "\n".join(reported_on).encode()),
    )
    assert texts_of(made, made.held_out) == reported_on
    assert texts_of(made, made.validation)[:2] == LINES[:2]
    assert len(made.validation) == 3
    expected = [line for line in LINES if line not in [*selected, *reported_on]]
    assert texts_of(made, made.real_sequences) == expected
    assert "5 lines were left out that stand in a file" in str(made.summary)


@pytest.mark.parametrize("name", ["validation_corpus", "held_out_corpus"])
def test_one_file_of_ones_own_leaves_the_other_part_to_the_split(tmp_path: Path, name: str) -> None:
    made = task(tmp_path, **{name: write(tmp_path, "o.txt", b"x y z\n")})
    assert sorted([len(made.validation), len(made.held_out)])[0] == 1
    assert len(made.real_sequences) + len(made.validation) + len(made.held_out) == len(LINES) + 1
    with pytest.raises(ValueError, match=r"o\.txt has no line to use among 1 \(1 blank\)"):
        task(tmp_path, **{name: write(tmp_path, "o.txt", b"\n")})


def test_a_cap_draws_some_of_the_training_lines_and_judges_on_the_same(tmp_path: Path) -> None:
    whole, some = task(tmp_path), task(tmp_path, max_train_lines=10)
    assert texts_of(some, some.held_out) == texts_of(whole, whole.held_out)
    drawn = texts_of(some, some.real_sequences)
    assert len(drawn) == 10
    assert drawn == [line for line in texts_of(whole, whole.real_sequences) if line in drawn]
    assert some.fingerprint != whole.fingerprint


def test_what_looks_the_same_is_the_same(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "\n".join(f"cafe\u0301 café {i}" for i in range(40)).encode())
    made = CorpusTask(CorpusSettings(corpus=path))
    assert "café" in made.vocabulary
    assert "cafe\u0301" not in made.vocabulary
    raw = CorpusTask(CorpusSettings(corpus=path, unicode_form="none"))
    assert {"café", "cafe\u0301"} < set(raw.vocabulary)
    assert made.fingerprint != raw.fingerprint


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_train_lines": 0}, "max_train_lines is 0; allowed is 1 or more"),
        ({"unicode_form": "NFD"}, "unknown unicode_form 'NFD'; allowed are NFC, NFKC, none"),
        ({"held_out_corpus": "x"}, "held_out_corpus is 'x', but there is no corpus"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CorpusTask(CorpusSettings(**changes))


def test_a_file_that_is_too_small_is_told_how_many_lines_are_needed(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "\n".join(LINES[:3]).encode())
    with pytest.raises(ValueError, match="3 distinct lines to use; 11 or more are needed"):
        CorpusTask(CorpusSettings(corpus=path))
    enough = write(tmp_path, "b.txt", "\n".join(LINES[:11]).encode())
    assert len(CorpusTask(CorpusSettings(corpus=enough)).validation) == 1
