"""Reading a text: UTF-8, a sentence a line; other bytes are refused, with line and byte."""

from __future__ import annotations

import codecs
from pathlib import Path

from seqgan_env.tasks.text.docstrings import docstring_sentences


def read_lines(corpus: str | None, kind: str = "corpus") -> list[str]:
    """The lines of a text; a byte-order mark is dropped, and line ends may be those of Windows.

    Args:
        corpus: path of a file, or None for the built-in English.
        kind: what errors call it.

    Raises:
        ValueError: the file cannot be read or is not UTF-8 text; the message says in which line and
            at which byte.
    """
    if corpus is None:
        return list(docstring_sentences())
    try:
        data = Path(corpus).read_bytes()
    except OSError as problem:
        raise ValueError(
            f"{kind} {corpus} cannot be read: {problem.strerror or problem}"
        ) from problem
    text = _decode_utf8(data, f"{kind} {corpus}").removeprefix("\ufeff").replace("\r\n", "\n")
    return text.removesuffix("\n").split("\n") if text else []


def _decode_utf8(data: bytes, source: str) -> str:
    bad = data.find(b"\0")  # valid UTF-8, but in no text
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as problem:
        text, bad = "", problem.start if bad < 0 else min(bad, problem.start)
    if bad >= 0:
        line = data.count(b"\n", 0, bad) + 1
        hint = (
            "; it looks like UTF-16"
            if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
            else ""
        )
        raise ValueError(
            f"{source} is not UTF-8 text: byte {data[bad]:#04x} at offset {bad}, in line "
            f"{line}{hint}"
        )
    return text
