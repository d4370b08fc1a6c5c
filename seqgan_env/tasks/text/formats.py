"""Texts in files of several formats; the name of a file says which it is.

| name | a text is |
| .csv, .tsv | a row's entry in the column that is named; the first row has the names |
| .jsonl, .ndjson | a line's entry under the key that is named |
| .fasta, .fa, .faa, .fna | the sequence of a record |
| .smi, .smiles | a line's first word: one molecule |
| anything else | a line |

Behind each of these `.gz` or `.zst` may stand. A line break within an entry is a space.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seqgan_env.names import choose
from seqgan_env.tasks.reading import iterate_lines

_COMPRESSED = (".gz", ".zst", ".zstd")
_TABLES = {".csv": ",", ".tsv": "\t"}
_JSON_LINES = (".jsonl", ".ndjson")
_FASTA = (".fasta", ".fa", ".faa", ".fna")
_SMILES = (".smi", ".smiles")


def format_of(path: str) -> str:
    """The suffix that says what a file holds, in lower case, that of a compression left out."""
    plain = Path(path)
    if plain.suffix.lower() in _COMPRESSED:
        plain = plain.with_suffix("")
    return plain.suffix.lower()


def natural_level(path: str | None) -> str:
    """The level at which a file's texts have parts: "char" for molecules and proteins."""
    if path is not None and format_of(path) in (*_FASTA, *_SMILES):
        return "char"
    return "word"


def iterate_texts(path: str, column: str | None = None, kind: str = "corpus") -> Iterator[str]:
    """The texts of a file, one after the other.

    Args:
        path: of the file.
        column: of a table, or key of JSON lines.
        kind: what errors call it.

    Raises:
        ValueError: the file cannot be read, does not have its format, or has no such column; or a
            column is named where there is none, or none where there are some.
    """
    suffix, source = format_of(path), f"{kind} {path}"
    lines = iterate_lines(path, kind)
    if suffix in _TABLES:
        return _of_table(lines, _TABLES[suffix], column, source)
    if suffix in _JSON_LINES:
        return _of_json(lines, column, source)
    if column is not None:
        raise ValueError(
            f"column {column!r} was given for {source}; only "
            f"{', '.join([*_TABLES, *_JSON_LINES])} have columns"
        )
    if suffix in _FASTA:
        return _of_fasta(lines, source)
    if suffix in _SMILES:
        return map(_first_word, lines)
    return lines


def _first_word(line: str) -> str:
    """The first word of a line, "" of a blank one."""
    if not line.strip():
        return ""
    return line.split(maxsplit=1)[0]


def _of_table(
    lines: Iterator[str], delimiter: str, column: str | None, source: str
) -> Iterator[str]:
    """The entries of one column, a row after the other; a blank line is an empty text."""
    # A quoted entry may go over several lines, so the reader needs their ends.
    ended = (f"{line}\n" for line in lines)
    if delimiter == ",":
        rows = csv.reader(ended, strict=True)
    else:  # a tab within an entry is not possible, quoted or not
        rows = csv.reader(ended, delimiter=delimiter, quoting=csv.QUOTE_NONE, strict=True)
    index = -1  # of the column; below 0 until the names have been read
    try:
        for row in rows:
            if index < 0:
                index = row.index(_chosen(row, column, source))
            elif not row:
                yield ""
            elif index < len(row):
                yield _one_line(row[index])
            else:
                raise ValueError(
                    f"{source}, line {rows.line_num}, has {len(row)} entries; column {column} is "
                    f"number {index + 1}"
                )
    except csv.Error as problem:
        raise ValueError(f"{source}, line {rows.line_num}: {problem}") from problem


def _of_json(lines: Iterator[str], column: str | None, source: str) -> Iterator[str]:
    """The entries under one key, a line after the other; a blank line is an empty text."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            yield ""
            continue
        where = f"{source}, line {number}"
        content = _parsed(line, where)
        name = _chosen(list(content), column, where)
        if not isinstance(content[name], str):
            raise ValueError(
                f"{where}: {name} is a {type(content[name]).__name__}; expected a string"
            )
        yield _one_line(content[name])


def _parsed(line: str, where: str) -> dict[str, Any]:
    """The object that a line of JSON holds; errors say `where` it stands."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as problem:
        raise ValueError(f"{where} is no JSON: {problem}") from problem
    if not isinstance(content, dict):
        raise ValueError(f"{where} is a {type(content).__name__}; expected an object")
    return content


def _of_fasta(lines: Iterator[str], source: str) -> Iterator[str]:
    """The sequence of every record; lines that begin with ";" are comments."""
    sequence: list[str] | None = None  # the lines of the record so far; None before the first
    for number, line in enumerate(lines, start=1):
        if line.startswith(">"):
            if sequence is not None:
                yield "".join(sequence)
            sequence = []
        elif line.strip() and not line.startswith(";"):
            if sequence is None:
                raise ValueError(f"{source}, line {number}: a record of FASTA begins with '>'")
            sequence.append("".join(line.split()))
    if sequence is not None:
        yield "".join(sequence)


def _chosen(names: list[str], column: str | None, where: str) -> str:
    """The column that is meant, which must be named."""
    if column is None:
        raise ValueError(
            f"{where}: say by --column which entry is the text; there are {', '.join(names)}"
        )
    try:
        return choose(names, column, "column")
    except ValueError as problem:
        raise ValueError(f"{where}: {problem}") from problem


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())
