"""The built-in corpus: English sentences from the docstrings of the Python standard library on the
user's own machine.

The files are parsed, never imported. Of one Python version the sentences are always the same.
"""

from __future__ import annotations

import ast
import functools
import gc
import itertools
import re
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

MIN_TOKENS, MAX_TOKENS = 4, 40

_SKIPPED = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)

# No digits, no CamelCase, no snake_case, no abbreviation in capitals.
_WORD = r"[A-Z]?[a-z]+(?:[-'][a-z]+)*"
_SENTENCE = re.compile(rf"(?=[A-Z])(?:A|{_WORD})(?:[,;]? (?:I|{_WORD}))+\.")
_TOKEN = re.compile(r"[a-z]+(?:[-'][a-z]+)*|[.,;]")
_CODE_LIKE = re.compile(r"\b[^aeiouy\W]{2,}\b")  # cls, str, tcl: English has a vowel in every word


@functools.cache
def docstring_sentences() -> tuple[str, ...]:
    """Distinct sentences in lower case, tokens separated by spaces; no word stands in one of them
    only.

    Raises:
        ValueError: this Python has no sources of its standard library.
    """
    root = Path(sysconfig.get_path("stdlib"))
    with _no_garbage_collection():  # which takes as long as the parsing
        sentences: dict[str, None] = {}  # each once, in order
        for path in _source_files(root):
            for text in _docstrings(path):
                sentences |= dict.fromkeys(sentences_of(text))
    if not sentences:
        raise ValueError(
            f"the built-in corpus needs the sources of the standard library; {root} has none: give "
            "a corpus file"
        )
    return tuple(_without_lone_words(sentences))


def sentences_of(docstring: str) -> Iterator[str]:
    """The sentences of a docstring that are plain English, in lower case, tokens separated by
    spaces.
    """
    for paragraph in _paragraphs(docstring):
        for sentence in re.split(r"(?<=[.!?]) ", paragraph):
            tokens = _TOKEN.findall(sentence.lower())
            is_english = _SENTENCE.fullmatch(sentence) and not _CODE_LIKE.search(sentence.lower())
            if is_english and MIN_TOKENS <= len(tokens) <= MAX_TOKENS:
                yield " ".join(tokens)


def _paragraphs(docstring: str) -> Iterator[str]:
    """Neighbouring lines with the same indentation as one line.

    So neither a list nor code, which are indented, runs into a sentence.
    """
    for indentation, block in itertools.groupby(docstring.splitlines(), _indentation):
        if indentation is not None:
            yield " ".join(" ".join(block).split())


def _indentation(line: str) -> int | None:
    """The white space that a line begins with; None for a blank one."""
    if not line.strip():
        return None
    return len(line) - len(line.lstrip())


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Syntax trees hold no cycles; looking for some takes as long as parsing."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _source_files(folder: Path) -> Iterator[Path]:
    """Python files below `folder` in the order of their names, without tests and what was installed
    later.
    """
    for path in sorted(folder.glob("*"), key=lambda path: path.name):
        if path.suffix == ".py":
            yield path
        elif path.name not in _SKIPPED and path.is_dir():
            yield from _source_files(path)


def _docstrings(path: Path) -> Iterator[str]:
    """Docstrings of a file's module, classes and functions.

    A file that is no valid Python, such as a template or test data, has none.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # invalid escapes in old code
            tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    yield from _docstrings_below(tree)


def _docstrings_below(
    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef,
) -> Iterator[str]:
    yield ast.get_docstring(node) or ""
    for child in node.body:
        if isinstance(child, _DOCUMENTED):
            yield from _docstrings_below(child)


def _without_lone_words(sentences: Iterable[str]) -> Iterator[str]:
    """The sentences all of whose words stand in another one too.

    Names of things in the code mostly stand in one sentence only.
    """
    words = {sentence: set(sentence.split()) for sentence in sentences}
    counts = Counter(itertools.chain.from_iterable(words.values()))  # sentences with each word
    for sentence, its_words in words.items():
        if min(map(counts.__getitem__, its_words)) > 1:
            yield sentence
