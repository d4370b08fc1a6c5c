"""Reading a text: UTF-8, a sentence a line; other bytes are refused, with line and byte.

Files may be compressed by gzip or zstd, whatever they are called: their first bytes tell.
"""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, BinaryIO, cast

from seqgan_env.extras import load
from seqgan_env.files import check_regular
from seqgan_env.tasks.text.docstrings import docstring_sentences

MOST_BYTES = 2**24  # of a line; a file without line ends would otherwise fill the memory

_MOST_GROWTH = 200  # characters that a byte of a file may become; a bomb makes a thousand

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_PEEK = 2**16  # bytes that decide how a file is read
_LINES_BETWEEN_REPORTS = 20_000

Report = Callable[[str, int, int], None]  # what is read, bytes so far, bytes in all
_REPORT: ContextVar[Report | None] = ContextVar("report of reading", default=None)


@contextmanager
def reported(report: Report) -> Iterator[None]:
    """Within this context `report` is called, every so many lines, with how far a file is read."""
    token = _REPORT.set(report)
    try:
        yield
    finally:
        _REPORT.reset(token)


def read_lines(corpus: str | None, kind: str = "corpus") -> list[str]:
    """The lines of a text; as `iterate_lines`.

    Args:
        corpus: path of a file, or None for the built-in English.
        kind: what errors call it.
    """
    return list(docstring_sentences() if corpus is None else iterate_lines(corpus, kind))


def iterate_lines(path: str, kind: str = "corpus") -> Iterator[str]:
    """The lines of a file, one after the other; a byte-order mark is dropped.

    Line ends may be those of Windows, or those of the classic Macintosh, a carriage return, where
    the beginning of the file has no others.

    Args:
        path: of the file.
        kind: what errors call it.

    Raises:
        ValueError: the file cannot be read, is damaged or is not UTF-8 text; the message says in
            which line and at which byte.
    """
    source = f"{kind} {path}"
    check_regular(Path(path), source)
    try:
        with Path(path).open("rb") as file:
            yield from _lines(file, source)
    except OSError as problem:
        if isinstance(problem, gzip.BadGzipFile):
            raise ValueError(f"{source} is damaged: {problem}") from problem
        raise ValueError(f"{source} cannot be read: {problem.strerror or problem}") from problem
    except (EOFError, zlib.error) as problem:
        raise ValueError(f"{source} is damaged: {problem}") from problem


def _lines(file: BinaryIO, source: str) -> Iterator[str]:
    """The decoded lines of an open file, with reports of how far it is."""
    report, size = _REPORT.get(), Path(file.name).stat().st_size
    # A small file may grow by more: the least of all limits is that of one line.
    most, num_characters = _MOST_GROWTH * size + MOST_BYTES, 0
    for number, line in enumerate(_decoded(_decompressed(file, source), source), start=1):
        num_characters += len(line) + 1
        if num_characters > most:
            raise ValueError(
                f"{source} becomes over {_MOST_GROWTH} times as large when it is decompressed; no "
                "text does"
            )
        yield line
        if report is not None and number % _LINES_BETWEEN_REPORTS == 0:
            # The file is read ahead of its lines; only the report below says that all is done.
            report(source, min(file.tell(), size - 1), size)
    if report is not None and size:
        report(source, size, size)


def _decompressed(file: BinaryIO, source: str) -> io.BufferedReader:
    """The plain bytes of a file, whose first bytes tell how it is compressed."""
    reader = cast(io.BufferedReader, file)
    start = reader.peek(4)[:4]
    if start.startswith(_GZIP):
        return io.BufferedReader(cast(io.RawIOBase, gzip.GzipFile(fileobj=file)))
    if start == _ZSTD:
        return io.BufferedReader(_ZstdBytes(file, source))
    return reader


class _ZstdBytes(io.RawIOBase):
    """The plain bytes of frames of zstd, the last of which must be whole."""

    def __init__(self, file: BinaryIO, source: str) -> None:
        self._file, self._source = file, source
        zstandard = load("zstandard", f"{source}, which is compressed by zstd,")
        self._library, self._frame = zstandard, zstandard.ZstdDecompressor().decompressobj()
        self._read, self._plain = b"", b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills a part of the buffer; how many bytes these are, 0 at the end."""
        # Decompress until something comes out: a chunk may hold nothing but the head of a frame.
        while not self._plain:
            self._read = self._read or self._file.read(_PEEK)
            if not self._read:
                if not self._frame.eof:
                    raise ValueError(f"{self._source} is damaged: it ends within a frame of zstd")
                return 0
            if self._frame.eof:  # what was read begins another frame
                self._frame = self._library.ZstdDecompressor().decompressobj()
            try:
                self._plain = self._frame.decompress(self._read)
            except self._library.ZstdError as problem:
                raise ValueError(f"{self._source} is damaged: {problem}") from problem
            self._read = b""
            if self._frame.eof:
                self._read = self._frame.unused_data
        # Hand out what fits, and keep the rest for the next call.
        num = min(len(buffer), len(self._plain))
        buffer[:num], self._plain = self._plain[:num], self._plain[num:]
        return num


def _decoded(reader: io.BufferedReader, source: str) -> Iterator[str]:
    """The lines of a file of UTF-8 as text, without their ends.

    Raises:
        ValueError: a byte is not of such a text; the message says which, and where it stands.
    """
    offset, hint = 0, ""  # of the line from the beginning of the file, in bytes
    start = reader.peek(_PEEK)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        hint = "; it looks like UTF-16"
    raw_lines = _plain_lines(reader, source)
    if b"\r" in start and b"\n" not in start:
        raw_lines = _mac_lines(reader, source)
    for number, (raw, end) in enumerate(raw_lines, start=1):
        try:
            text, bad = raw.decode(), len(raw)
        except UnicodeDecodeError as problem:
            text, bad = "", problem.start
        zero = raw.find(b"\0", 0, bad)  # valid UTF-8, but in no text
        if zero >= 0:
            bad = zero
        if bad < len(raw):
            raise ValueError(
                f"{source} is not UTF-8 text: byte {raw[bad]:#04x} at offset {offset + bad}, in "
                f"line {number}{hint}"
            )
        if number == 1:
            text = text.removeprefix("\ufeff")  # the byte-order mark
        yield text
        offset += len(raw) + end


def _plain_lines(reader: io.BufferedReader, source: str) -> Iterator[tuple[bytes, int]]:
    """Lines without their ends, and how many bytes each end has."""
    number = 0
    # With room for the two bytes of an end, so that a line that is one too long is seen below.
    while raw := reader.readline(MOST_BYTES + 2):
        number += 1
        line = raw.removesuffix(b"\n")
        if len(line) < len(raw):
            line = line.removesuffix(b"\r")
        _check_length(line, number, source)
        yield line, len(raw) - len(line)


def _mac_lines(reader: io.BufferedReader, source: str) -> Iterator[tuple[bytes, int]]:
    """Lines that carriage returns separate, and how many bytes each end has."""
    number, rest = 0, b""  # the line that the next chunk goes on with
    while chunk := reader.read(_PEEK):
        *lines, rest = (rest + chunk).split(b"\r")
        for line in lines:
            number += 1
            yield line, 1
        _check_length(rest, number + 1, source)
    if rest:
        yield rest, 0


def _check_length(line: bytes, number: int, source: str) -> None:
    """Raises a ValueError for a line that no text has."""
    if len(line) > MOST_BYTES:
        raise ValueError(
            f"{source}, line {number}, has over {MOST_BYTES} bytes; a text has a sentence a line"
        )
